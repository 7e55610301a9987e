"""The names and paths in a run's Pod that a study cannot set, each with the reason and the remedy.

They are those that InfPop sets itself, those that would change which devices a run measures on, and those that would
give it more rights. `adapters.kube.job_manifest` writes the former; a test compares both.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from infpop_operator.api.resource import GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Why a name cannot be set, and what to do instead."""

    message: str
    remedy: str = "Remove it"


_DEVICES = Reserved(
    message="would measure on other devices than Kubernetes gave the run",
    remedy="Remove it, and set spec.searchSpace.gpuCount",
)
_RANKS = Reserved(message="is set by the engine for each of its processes")
_CACHES = Reserved(
    message="is set by InfPop: the root of a run is read-only, and its caches are below /cache",
    remedy="Remove it; model.cacheClaim keeps /cache between runs",
)
_PROGRAM = Reserved(
    message="would start another program than the image's", remedy="Remove it, and build it into the image"
)
_TOKEN = Reserved(message="is the hub's token", remedy="Remove it, and set spec.model.tokenSecretRef")
_USER = Reserved(message="is set by InfPop, because the image may not know the user", remedy="Remove it")

OWN_VARIABLES = "INFPOP_"  # the prefix of the runner's own
_OWN_VARIABLE = Reserved(message="starts with INFPOP_: such variables are the runner's own")
VARIABLES: Mapping[str, Reserved] = {
    "CUDA_VISIBLE_DEVICES": _DEVICES,
    "CUDA_DEVICE_ORDER": _DEVICES,
    "NVIDIA_VISIBLE_DEVICES": _DEVICES,
    "NVIDIA_MIG_CONFIG_DEVICES": _DEVICES,
    "NVIDIA_MIG_MONITOR_DEVICES": _DEVICES,
    "HIP_VISIBLE_DEVICES": _DEVICES,
    "ROCR_VISIBLE_DEVICES": _DEVICES,
    "RANK": _RANKS,
    "LOCAL_RANK": _RANKS,
    "WORLD_SIZE": _RANKS,
    "LOCAL_WORLD_SIZE": _RANKS,
    "MASTER_ADDR": _RANKS,
    "MASTER_PORT": _RANKS,
    "HF_HOME": _CACHES,
    "XDG_CACHE_HOME": _CACHES,
    "VLLM_CACHE_ROOT": _CACHES,
    "TRITON_CACHE_DIR": _CACHES,
    "TORCHINDUCTOR_CACHE_DIR": _CACHES,
    "CUDA_CACHE_PATH": _CACHES,
    "FLASHINFER_WORKSPACE_BASE": _CACHES,
    "HOME": _USER,
    "USER": _USER,
    "PATH": _PROGRAM,
    "PYTHONPATH": _PROGRAM,
    "PYTHONHOME": _PROGRAM,
    "PYTHONSTARTUP": _PROGRAM,
    "HF_TOKEN": _TOKEN,
    "HUGGING_FACE_HUB_TOKEN": _TOKEN,
}

_OWN_KEY = Reserved(message="is set by InfPop, which finds its Pods by it", remedy="Use a key of another domain")
_JOB_KEY = Reserved(message="is set by the Job controller", remedy="Use a key of another domain")
_QUEUE = Reserved(
    message="is a label by which Kueue knows its Pods", remedy="Remove it, and set spec.scheduling.queueName"
)
_SIDECAR = Reserved(message="controls a sidecar, which would keep the run's Job alive after its result")
_UNDISTURBED = Reserved(message="keeps an autoscaler from removing the node of a run, whose measurement would be lost")
_PORT = Reserved(message="says where the runner's metrics are")
_CONFINEMENT = Reserved(message="would loosen what confines the run's process")
_DEVICE_KEY = Reserved(message="would add devices that Kubernetes did not give the run")
# Patterns without a backslash, so that CEL and Python read them alike; a key matches one as a whole.
LABELS: Mapping[str, Reserved] = {
    f"{GROUP}/.*": _OWN_KEY,
    "app.kubernetes.io/(managed-by|name)": _OWN_KEY,
    "batch.kubernetes.io/.*|job-name|controller-uid": _JOB_KEY,
    "kueue.x-k8s.io/.*": _QUEUE,
    "sidecar.istio.io/inject|linkerd.io/inject": _SIDECAR,
}
ANNOTATIONS: Mapping[str, Reserved] = {
    f"{GROUP}/.*": _OWN_KEY,
    "batch.kubernetes.io/.*": _JOB_KEY,
    "kueue.x-k8s.io/queue-name": _QUEUE,
    "sidecar.istio.io/inject|linkerd.io/inject": _SIDECAR,
    "cluster-autoscaler.kubernetes.io/safe-to-evict|karpenter.sh/do-not-disrupt": _UNDISTURBED,
    "prometheus.io/(port|path)": _PORT,  # scrape may be "false" where a PodMonitor finds the Pods
    "container.(apparmor.security.beta|seccomp.security.alpha).kubernetes.io/.*": _CONFINEMENT,
    "seccomp.security.alpha.kubernetes.io/.*": _CONFINEMENT,
    "(nvidia[.])?cdi.k8s.io/.*": _DEVICE_KEY,
    "(.+[.])?nri[.]io(/.*)?": _DEVICE_KEY,  # of containerd's and CRI-O's plugins: devices, and mounts from the node
    "io[.]kubernetes[.]cri-o[.].*": _DEVICE_KEY,
}

VOLUMES = ("tmp", "cache", "shm", "workload")  # the names of InfPop's own volumes
_OWN_VOLUME = Reserved(message="is the name of a volume of InfPop", remedy="Use another name")

# Directories that belong to the runner, to Kubernetes or to the kernel: nothing is mounted there or below.
_OWN_DIRECTORIES = ("/cache", "/dev", "/proc", "/run/secrets", "/sys", "/tmp", "/var/run/secrets", "/workload")  # noqa: S108
# Directories of which the image needs what it has there: nothing is mounted over them, but a file or folder may be.
_OF_THE_IMAGE = (
    "/bin", "/etc", "/lib", "/lib64", "/opt", "/run", "/sbin", "/usr", "/usr/bin", "/usr/lib", "/usr/lib64",
    "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/sbin", "/usr/share", "/usr/share/infpop", "/var",
    "/var/lib", "/var/run",
)  # fmt: skip
MOUNT_PATHS: Mapping[str, Reserved] = {
    f"({'|'.join(_OWN_DIRECTORIES)})(/.*)?": Reserved(
        message="belongs to InfPop, Kubernetes or the kernel", remedy="Use another path, for example /data"
    ),
    "|".join(_OF_THE_IMAGE): Reserved(
        message="would hide what the image has there", remedy="Use a path below it, or for one file subPath"
    ),
    ".*/[.][.]?(/.*)?": Reserved(message="has . or .. in it", remedy="Write the path without"),
}


def reserved_variable(name: str) -> Reserved | None:
    """Return why a study cannot set the environment variable `name`, None if it can."""
    return _OWN_VARIABLE if name.startswith(OWN_VARIABLES) else VARIABLES.get(name)


def reserved_volume(name: str) -> Reserved | None:
    """Return why a study cannot have a volume of this name, None if it can."""
    return _OWN_VOLUME if name in VOLUMES else None


def matching(table: Mapping[str, Reserved], text: str) -> Reserved | None:
    """Return the reason of the first pattern of `table` that matches the whole text, None if none does."""
    return next((reason for pattern, reason in table.items() if re.fullmatch(pattern, text)), None)


def any_pattern(table: Mapping[str, Reserved]) -> str:
    """Return one pattern that matches a text that any pattern of `table` matches."""
    return f"^({'|'.join(table)})$"
