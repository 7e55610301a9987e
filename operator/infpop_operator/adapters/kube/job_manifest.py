"""The Job of a run, as the API server takes it: built from values, never from text.

The Pod satisfies Pod Security "restricted": nothing in a study can give it more rights, a host path or a shell. What a
study's owner wrote reaches the runner as JSON in one environment variable, and Kubernetes expands nothing in it. No
time to live is set: the Job stays until its result is safe.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infpop_operator.adapters.kube import labels
from infpop_operator.api.convert import WORKLOAD_DIRECTORY
from infpop_operator.api.resource import API_VERSION, KIND
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
class Toleration:
    """A taint that the Pod tolerates, in Kubernetes' own terms; None leaves a field out."""

    key: str | None = None
    operator: str = "Equal"
    value: str | None = None
    effect: str | None = None
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What the Pod of a run gets besides its spec, from the study and its pool.

    `token_secret` and `workload_config_map` are (name, key). `node_labels` holds alternatives: a node fits that has one
    of the values of one of the keys. `gpu_resource` is "cpu" where a device is a CPU rank, and `cpu` is None there.
    """

    image: str
    image_pull_secrets: tuple[str, ...] = ()
    token_secret: tuple[str, str] | None = None
    cache_claim: str | None = None
    workload_config_map: tuple[str, str] | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    node_labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    gpu_resource: str = "nvidia.com/gpu"
    cpu: str | None = None
    memory: str | None = None
    queue_name: str | None = None
    priority_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The study that owns the Job: deleting it deletes the Job."""

    name: str
    namespace: str
    uid: str


def build_job(owner: Owner, run: Run, spec: RunSpec, settings: PodSettings, *, deadline_seconds: int) -> Json:
    """Return the manifest of the one Job of `run`; the same arguments give the same manifest.

    Args:
        owner: the study, in whose namespace the Job is.
        run: the run; its name is the Job's.
        spec: what the runner is to do.
        settings: what its Pod gets.
        deadline_seconds: after which Kubernetes ends it from its start, whatever we do.
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
            "backoffLimit": 0,  # a failed Pod is ours to explain and to try again
            "podReplacementPolicy": "Failed",  # no second Pod while the first still holds its GPUs
            "podFailurePolicy": {"rules": [_ignore_disruptions()]},
            "activeDeadlineSeconds": deadline_seconds,
            "suspend": settings.queue_name is not None,  # Kueue lets it go
            "template": {"metadata": _pod_metadata(owner, run), "spec": _pod(run, spec, settings)},
        },
    }


def escape_expansion(text: str) -> str:
    """Return `text` so that Kubernetes, which replaces `$(NAME)` in environment variables, hands on `text` itself."""
    return text.replace("$", "$$")


def owner_reference(owner: Owner) -> Json:
    """Return the reference that makes the study the controlling owner of an object in its namespace."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # true would need the right to write the study's finalizers
    }


def _labels(owner: Owner, run: Run) -> dict[str, str]:
    return {
        labels.MANAGED_BY: labels.MANAGER,
        labels.APP_NAME: labels.RUNNER_APP,
        labels.STUDY: owner.name,
        labels.RUN: run.name,
        labels.POOL: run.pool,
        labels.GPU_COUNT: str(run.gpu_count),
        labels.ROUND: str(run.round),
    }


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
    """A Pod that is taken away (drained, preempted, its node gone) is replaced and fails nothing.

    Nor does one that its own kubelet evicts, as a rule cannot name the condition's reason: `observe` sees to that.
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
            "fsGroupChangePolicy": "OnRootMismatch",  # a cache of 200 GB is not walked through for each run
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
        "args": ["--metrics-address", "::", "--metrics-port", str(labels.METRICS_PORT)],  # of IPv4 too
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
    """Return what the run is sure of and what it may not exceed: devices and memory are both.

    CPUs beside GPUs are requested alone: a limit is a quota of time, which stops an engine that would have had more.
    The limit of memory is the study's figure as it stands. /dev/shm counts against it, and its size is only a bound.
    """
    limits = {settings.gpu_resource: str(run.gpu_count)}
    if settings.memory is not None:
        limits["memory"] = settings.memory
    cpus = {} if settings.cpu is None else {CPU: settings.cpu}
    return {"requests": cpus | limits, "limits": limits}


def _environment(spec: RunSpec, settings: PodSettings) -> list[Json]:
    texts = {"INFPOP_RUN_SPEC": spec.model_dump_json(), **_ENVIRONMENT}
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
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a mount of its own
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
    terms = [
        {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}
        for key, values in settings.node_labels
    ]
    if not terms:
        return None
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _tolerations(settings: PodSettings) -> list[Json]:
    """Return the pool's tolerations; GPU nodes are kept free of other Pods by one taint nearly everywhere."""
    wanted = list(settings.tolerations)
    usual = Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    if settings.gpu_resource != CPU and usual not in wanted:
        wanted.append(usual)
    return [_toleration(each) for each in wanted]


def _toleration(toleration: Toleration) -> Json:
    fields = {
        "key": toleration.key,
        "operator": toleration.operator,
        "value": toleration.value,
        "effect": toleration.effect,
        "tolerationSeconds": toleration.seconds,
    }
    return {name: value for name, value in fields.items() if value is not None}
