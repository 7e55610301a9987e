"""Pod templates in which every field has a distinct, non-default value."""

from typing import Any

ENGINE: dict[str, Any] = {
    "metadata": {"labels": {"team": "serving"}, "annotations": {"example.org/topology": "rack"}},
    "spec": {
        "runtimeClassName": "nvidia",
        "serviceAccountName": "engine-account",
        "automountServiceAccountToken": True,
        "hostIPC": True,
        "securityContext": {"runAsUser": 1001, "runAsGroup": 1002, "fsGroup": 1003},
        "containers": [
            {
                "name": "runner",
                "imagePullPolicy": "Always",
                "env": [
                    {"name": "NCCL_ALGO", "value": "Ring"},
                    {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}},
                    {"name": "SITE", "valueFrom": {"configMapKeyRef": {"name": "site", "key": "site-key"}}},
                    {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                ],
                "volumeMounts": [
                    {"name": "nccl", "mountPath": "/etc/nccl.conf", "subPath": "nccl.conf", "readOnly": True},
                    {"name": "keys", "mountPath": "/keys"},
                    {"name": "data", "mountPath": "/data"},
                ],
            }
        ],
        "volumes": [
            {"name": "nccl", "configMap": {"name": "nccl", "items": [{"key": "conf", "path": "nccl.conf"}]}},
            {"name": "keys", "secret": {"secretName": "keys", "items": [{"key": "hub", "path": "hub/key"}]}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
        ],
    },
}
POOL: dict[str, Any] = {
    "metadata": {"labels": {"rack": "one", "team": "tuning"}, "annotations": {"example.org/topology": "block"}},
    "spec": {
        "runtimeClassName": "nvidia-cdi",
        "securityContext": {"runAsUser": 2001},
        "containers": [
            {
                "name": "runner",
                "env": [
                    {"name": "NCCL_ALGO", "value": "Tree"},
                    {"name": "NCCL_IB_HCA", "valueFrom": {"secretKeyRef": {"name": "fabric", "key": "hca"}}},
                    {"name": "SITE", "valueFrom": {"configMapKeyRef": {"name": "pool-site", "key": "pool-key"}}},
                ],
                "volumeMounts": [{"name": "topology", "mountPath": "/etc/nccl.conf"}],
            }
        ],
        "volumes": [
            {"name": "topology", "configMap": {"name": "topology", "items": [{"key": "xml", "path": "t.xml"}]}},
            {"name": "pool-keys", "secret": {"secretName": "pool-keys", "items": [{"key": "a", "path": "b"}]}},
        ],
    },
}
