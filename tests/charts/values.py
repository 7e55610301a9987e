"""Values that set every option of the chart, so that every template branch is rendered."""

from charts.boards import Document

NODES: list[Document] = [{"name": "n1", "capacity": {"cpu": 8}}]
EVERYTHING: Document = {
    "metrics": {part: {"enabled": True} for part in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboards")},
    "networkPolicy": {"enabled": True, "egress": [{}]},
    "priorityClassName": "system-cluster-critical",
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "commonLabels": {"team": "serving", "c": "all"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-map", "namespace": "team"}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Values.watchNamespace }}-text, namespace: team}",
    ],
    "prometheus": {
        "url": "https://prometheus:9090",
        "secretName": "prometheus",
        **{key: key for key in ("tokenKey", "caKey", "certKey", "privateKeyKey", "headersKey")},
    },
    "operator": {"nodeSelectorForPools": "gpu=true"},
    "watchNamespace": "team",
    "rbac": {"readNodes": False},
    "nodes": NODES,
}
