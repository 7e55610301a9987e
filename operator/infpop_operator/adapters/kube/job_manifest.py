"""Build the Job manifest of a run, from values and never from text.

The Pod satisfies Pod Security "restricted", unless the study's Pod template shares memory with the node (`hostIPC`):
nothing else in a study can give it more rights, a host path or a shell. The
user's values reach the runner as JSON in one environment variable, in which Kubernetes expands nothing. The manifest
sets no time to live: the Job stays until the operator has stored its result.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.scale_up import NodeLabels
from infpop_operator.adapters.kube.templated_pod import with_metadata, with_template
from infpop_operator.api.convert import WORKLOAD_DIRECTORY
from infpop_operator.api.resource import API_VERSION, KIND
from infpop_operator.api.spec_pod_template import PodTemplate
from infpop_operator.api.spec_pool import Toleration
from infpop_operator.core.model import Run
from infpop_runner.contract import RunSpec

CPU = "cpu"  # the resource of a pool whose devices are CPU ranks

_USER = 65532  # "nonroot" of distroless images; the runner image's own user too
_SHM_GIB_PER_GPU = 2  # NCCL's segments; vLLM's Kubernetes example mounts 2Gi
_GRACE_SECONDS = 30  # the runner needs about two to end its engine and to write its result
_CACHE = "/cache"
_TMP = "/tmp"  # noqa: S108 - of the container, whose root is read-only
_ENVIRONMENT = {
    "HOME": _TMP,
    "USER": "infpop",  # torch asks for the user's name, and the image may not know the uid
    "HF_HOME": f"{_CACHE}/huggingface",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "XDG_CACHE_HOME": f"{_CACHE}/xdg",
    "VLLM_CACHE_ROOT": f"{_CACHE}/vllm",
    "TRITON_CACHE_DIR": f"{_CACHE}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{_CACHE}/torchinductor",
    "CUDA_CACHE_PATH": f"{_CACHE}/cuda",
    "FLASHINFER_WORKSPACE_BASE": _CACHE,
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """The settings of a run's Pod that come from the study and its pool, in addition to the run spec.

    `token_secret` and `workload_config_map` are (name, key). `avoided_hosts` are the hostname labels of Nodes that the
    Pod must not use. If a device is a CPU rank, `gpu_resource` is "cpu" and `cpu` is None. `template` is the pool's
    Pod template over the engine's.
    """

    image: str
    image_pull_secrets: tuple[str, ...] = ()
    token_secret: tuple[str, str] | None = None
    cache_claim: str | None = None
    workload_config_map: tuple[str, str] | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    node_labels: NodeLabels = field(default_factory=NodeLabels)
    avoided_hosts: tuple[str, ...] = ()
    gpu_resource: str = "nvidia.com/gpu"
    cpu: str | None = None
    memory: str | None = None
    queue_name: str | None = None
    priority_class: str | None = None
    template: PodTemplate = field(default_factory=PodTemplate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The study that owns the Job: deleting it deletes the Job."""

    name: str
    namespace: str
    uid: str


def build_job(owner: Owner, run: Run, spec: RunSpec, settings: PodSettings, *, deadline_seconds: int) -> Json:
    """Return the manifest of the only Job of `run`; the same arguments give the same manifest.

    Args:
        owner: the study; the Job is in its namespace.
        run: the run; the Job has its name.
        spec: the run spec for the runner.
        settings: the settings of the Pod.
        deadline_seconds: time from the Job's start after which Kubernetes ends it, whatever the operator does.
    """
    metadata: Json = {
        "name": run.name,
        "namespace": owner.namespace,
        "labels": _labels(owner, run)
        | ({} if settings.queue_name is None else {labels.KUEUE_QUEUE: settings.queue_name}),
        "annotations": _annotations(owner, run),
        "ownerReferences": [owner_reference(owner)],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,  # the operator explains and retries a failed Pod
            "podReplacementPolicy": "Failed",  # no second Pod while the first one still holds its GPUs
            "podFailurePolicy": {"rules": [_ignore_disruptions()]},
            "activeDeadlineSeconds": deadline_seconds,
            "suspend": settings.queue_name is not None,  # Kueue unsuspends it
            "template": {
                "metadata": with_metadata(_pod_metadata(owner, run), settings.template),
                "spec": with_template(_pod(run, spec, settings), settings.template),
            },
        },
    }


def escape_expansion(text: str) -> str:
    """Return `text` escaped so that Kubernetes does not expand `$(NAME)` in it when it sets environment variables."""
    return text.replace("$", "$$")


def owner_reference(owner: Owner) -> Json:
    """Return the reference that makes the study the controlling owner of an object in its namespace."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # true needs the right to write the study's finalizers
    }


def _labels(owner: Owner, run: Run) -> dict[str, str]:
    return labels.run_labels(
        study=owner.name, run=run.name, pool=run.pool, gpu_count=str(run.gpu_count), round_number=str(run.round)
    )


def _annotations(owner: Owner, run: Run) -> dict[str, str]:
    trials = [
        {
            "index": trial.index,
            "batchSize": trial.configuration.batch_size,
            "extra": dict(trial.configuration.extra),
        }
        for trial in run.trials
    ]
    return {
        labels.STUDY_KEY: f"{owner.namespace}/{owner.name}/{owner.uid}",
        labels.ATTEMPT: str(run.attempt),
        labels.TRIALS: json.dumps(trials),
    }


def _pod_metadata(owner: Owner, run: Run) -> Json:
    return {
        "labels": _labels(owner, run) | {labels.ISTIO_INJECT: "false"},
        "annotations": _annotations(owner, run)
        | labels.UNDISTURBED
        | labels.SCRAPED
        | {labels.LINKERD_INJECT: "disabled"},
    }


def _ignore_disruptions() -> Json:
    """Return the rule by which a disrupted Pod (drained, preempted, its Node gone) is replaced without failing the Job.

    It also covers a Pod that its own kubelet evicts, because a rule cannot name the condition's reason; `observe`
    handles that case.
    """
    return {"action": "Ignore", "onPodConditions": [{"type": labels.DISRUPTED, "status": "True"}]}


def _pod(run: Run, spec: RunSpec, settings: PodSettings) -> Json:
    optional: Json = {
        "affinity": _affinity(settings),
        "nodeSelector": dict(settings.node_selector),
        "tolerations": _tolerations(settings),
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "priorityClassName": settings.priority_class,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",  # avoids a walk through a 200 GB cache for each run
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(run, spec, settings)],
        "volumes": _volumes(run, settings),
    } | {key: value for key, value in optional.items() if value}


def _container(run: Run, spec: RunSpec, settings: PodSettings) -> Json:
    return {
        "name": labels.RUNNER_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["infpop-runner"],
        "args": ["--metrics-address", "::", "--metrics-port", str(labels.METRICS_PORT)],  # IPv4 as well
        "env": _environment(spec, settings),
        "ports": [{"name": labels.METRICS_PORT_NAME, "containerPort": labels.METRICS_PORT, "protocol": "TCP"}],
        "resources": _resources(run, settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(settings),
    }


def _resources(run: Run, settings: PodSettings) -> Json:
    """Return the resource requests and limits; devices and memory have both.

    In a GPU pool CPUs have a request only: a CPU limit is a quota of time, which would throttle an engine although the
    Node has idle CPUs. The memory limit is the study's value unchanged. /dev/shm counts against it, and the size of
    /dev/shm is only an upper bound.
    """
    limits = {settings.gpu_resource: str(run.gpu_count)}
    if settings.memory is not None:
        limits["memory"] = settings.memory
    cpus = {} if settings.cpu is None else {CPU: settings.cpu}
    return {"requests": cpus | limits, "limits": limits}


def _environment(spec: RunSpec, settings: PodSettings) -> list[Json]:
    texts = {labels.RUN_SPEC: spec.model_dump_json(), **_ENVIRONMENT}
    node: Json = {"name": "INFPOP_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    variables: list[Json] = [{"name": name, "value": escape_expansion(text)} for name, text in texts.items()]
    variables.append(node)
    if settings.token_secret is not None:
        name, key = settings.token_secret
        reference = {"name": name, "key": key, "optional": False}
        variables.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return variables


def _mounts(settings: PodSettings) -> list[Json]:
    mounts: list[Json] = [
        {"name": "tmp", "mountPath": _TMP},
        {"name": "cache", "mountPath": _CACHE},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - its own mount
    ]
    if settings.workload_config_map is not None:
        mounts.append({"name": "workload", "mountPath": str(WORKLOAD_DIRECTORY), "readOnly": True})
    return mounts


def _volumes(run: Run, settings: PodSettings) -> list[Json]:
    claim = settings.cache_claim
    cache: Json = {"emptyDir": {}} if claim is None else {"persistentVolumeClaim": {"claimName": claim}}
    volumes: list[Json] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "cache", **cache},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{_SHM_GIB_PER_GPU * run.gpu_count}Gi"}},
    ]
    if settings.workload_config_map is not None:
        name, key = settings.workload_config_map
        items = [{"key": key, "path": key}]
        volumes.append({"name": "workload", "configMap": {"name": name, "items": items, "optional": False}})
    return volumes


def _affinity(settings: PodSettings) -> Json | None:
    wanted: list[list[Json]] = [
        [{"key": key, "operator": "In", "values": list(values)}] for key, values in settings.node_labels.any_of
    ]
    avoided: list[Json] = [
        {"key": key, "operator": "NotIn", "values": list(values)} for key, values in settings.node_labels.none_of
    ]
    if settings.avoided_hosts:
        avoided.append({"key": labels.HOSTNAME, "operator": "NotIn", "values": list(settings.avoided_hosts)})
    terms = [{"matchExpressions": [*expressions, *avoided]} for expressions in wanted or [[]] if expressions or avoided]
    if not terms:
        return None
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _tolerations(settings: PodSettings) -> list[Json]:
    """Return the pool's tolerations, plus the one for the taint that nearly every cluster sets on GPU Nodes."""
    wanted = list(settings.tolerations)
    usual = Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    if settings.gpu_resource != CPU and usual not in wanted:
        wanted.append(usual)
    return [toleration.model_dump(mode="json", by_alias=True, exclude_none=True) for toleration in wanted]
