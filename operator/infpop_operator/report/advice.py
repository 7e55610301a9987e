"""The remedy for each reason: one sentence, or no entry if the reason goes away by itself.

The keys are the reasons of waiting runs, of trials without a number and of conditions. Where the operator's message
already contains the remedy (a pool without nodes, a field that is wrong), it is not repeated here.
"""

from infpop_operator.api.resource import GROUP

_LOG = "read the run's log"
_POD = f"for details run kubectl describe pod -l {GROUP}/run=RUN"

REMEDIES = {
    # The run is waiting.
    "Queued": "wait for the Kueue queue, or check why it has no capacity: kubectl describe workload",
    "Unschedulable": "free GPUs, add nodes, or correct what the message names; after measurement.timeouts.schedule "
    "the operator goes on with another GPU count, and tries this one again later",
    "ScalingUp": "wait for the node; if no autoscaler is named, check that one runs: kubectl get events",
    "QuotaExceeded": "raise the namespace's ResourceQuota, or wait until other Pods end: kubectl describe quota",
    "PodRefused": "correct what the message rejects or misses, or ask the owner of the policy for an exception",
    "JobRefused": "correct what the message names, or ask the owner of the policy for an exception",
    "ImagePull": "correct engine.image or nodePools[].image, or name Secrets in engine.imagePullSecrets",
    "MissingSecret": "create the Secret and key that model.tokenSecretRef or podTemplate names, or correct the field",
    "ClaimNotReady": "create the PersistentVolumeClaim that model.cacheClaim or podTemplate names, or correct the "
    "field; if it is not bound, see why: kubectl describe pvc",
    "MountFailed": "create what workload.source.configMap, model.cacheClaim or podTemplate names, or correct the field",
    "InvalidContainerConfig": f"correct what the message names; {_POD}",
    # The run broke.
    "DeadlineExceeded": f"raise measurement.timeouts if the run was still working, else {_LOG}",
    "HostOutOfMemory": "set or raise nodePools[].resources.memory, or give the pool nodes with more memory",
    "Evicted": "free the resource that the message says the node lacks, or raise the limit that it names",
    "ContainerLost": "check the log of containerd on the node, and whether the OOM killer ran there: "
    "journalctl -u containerd; dmesg",
    "Killed": f"check whether the node ran out of memory; {_LOG}",
    "UnexpectedGPU": "select the right nodes in nodePools[].nodeSelector, or correct gpuProduct or "
    "scaleFromZero.gpuProduct",
    "NodeRefused": "check the device plugin and the GPUs of the node that the message names; the next runs avoid it",
    "PodFailed": f"correct what the message names; {_POD}",
    "RunnerError": _LOG,
    "MetricsMissing": f"check that runner and operator have the same version; {_LOG}",
    "ResultMissing": "find out who deletes Pods in this namespace; the operator tries the run again",
    "EngineCrash": _LOG,
    "LoadTimeout": "raise measurement.timeouts.load, or keep downloads on model.cacheClaim",
    "MeasureTimeout": "raise measurement.timeouts.measure, or lower workload.samples",
    "GpuMissing": "check that the device plugin allocates working GPUs and that the driver fits the image: nvidia-smi "
    "on the node",
    "GpuNotClean": "end the process outside Kubernetes that holds GPU memory: nvidia-smi on the node",
    "GpuFaulty": "cordon the node and have its GPU reset or replaced: nvidia-smi -q and dmesg there name the fault",
    "WorkloadUnavailable": "check that the Pods can reach the source of the prompts, and what it holds",
    "WorkloadChanged": "the prompts changed after the round started: give changed prompts a new name",
    "SoftwareChanged": "the tag names a different image than when the round started: use its digest or a new tag",
    "GpuChanged": "narrow nodePools[].gpuProduct or nodeSelector to nodes with one GPU model, or make two pools",
    "ModelUnavailable": "check that the Pods can reach the hub, and that model.tokenSecretRef may read the model",
    "StorageUnavailable": "correct what the message says of the volume, usually that of model.cacheClaim",
    "LoadFails": f"{_LOG}; if it cannot work, remove this GPU count from searchSpace.gpuCount, or the value that the "
    "line names from searchSpace.extra",
    # A trial cannot have a number.
    "IncompatibleGPU": "name an image in nodePools[].image that has kernels for this GPU and supports model.dtype",
    "RejectedArguments": "correct engine.args, or whatever else the message names: engine, model or workload",
    "UnsupportedGpuCount": "name GPU counts in searchSpace.gpuCount that the nodes and the engine support",
    "UnsupportedModel": "name a newer image in engine.image or nodePools[].image, or another model",
    "GpuOutOfMemory": "use GPUs with more memory or more of them, a smaller model or data type, or smaller batch sizes",
    "Inherited": "nothing to do: these batch sizes ran out of memory before, on GPUs with at least as much memory",
    "HeadsNotDivisible": "name GPU counts in searchSpace.gpuCount that divide the model's attention heads",
    "NotRecorded": "replay a landscape that contains the cell",
    "UnstableRepeats": "check what else uses the node, or raise measurement.minDuration",
    "CpuThrottled": "remove the default CPU limit from the namespace's LimitRange: runs on GPUs need none",
    "SourcesDisagree": "check whether several runners answer on one address; the number is not used",
    # The study does not continue.
    "InvalidSpec": "correct these fields and apply the study again",
    "NothingEligible": "relax objective.constraints, widen searchSpace, or fix what broke the trials or hid a metric",
    "Suspended": "set spec.suspend to false to continue",
    "GPUsHeld": "delete the Pod that the message names, with --force only if its node is gone",
    "NoRoom": "uncordon or repair nodes, or add some",
    "MissingRights": "compare the operator's rights with examples/cluster/rbac.yaml",
    "JournalUnreadable": "restore the ConfigMap that the message names, or upgrade the operator",
    "PublishRefused": "delete the ConfigMap that the message names, name another in publish.configMap, or correct what "
    "the message names",
    "ApiRefused": "correct what the message names, or ask the owner of the policy for an exception",
    "ApiUnavailable": "check that the API server is healthy; the operator asks it again",
}

# For the same reasons on one machine, where the remedy above names parts of a cluster.
ON_ONE_MACHINE = {
    "GpuChanged": "give the study GPUs of one model only: set CUDA_VISIBLE_DEVICES",
    "GpuMissing": "check that the driver finds the GPUs and fits the engine: nvidia-smi",
    "GpuNotClean": "end the process that holds GPU memory: nvidia-smi names it",
    "GpuFaulty": "reset the GPU, or leave it out with CUDA_VISIBLE_DEVICES: nvidia-smi -q and dmesg name the fault",
    "IncompatibleGPU": "install an engine that has kernels for this GPU, or set model.dtype to one that it supports",
    "HostOutOfMemory": "free memory of this machine, or tune on one that has more",
    "Killed": f"check whether the machine ran out of memory: dmesg; {_LOG}",
    "LoadTimeout": "raise measurement.timeouts.load",
    "ModelUnavailable": "check that this machine can reach the hub, and that your token may read the model",
    "StorageUnavailable": "correct what the message says of the disk or the cache",
    "UnsupportedModel": "install a newer engine, or name another model",
    "SoftwareChanged": "do not change the engine while a study runs",
    "WorkloadUnavailable": "check that this machine can reach the source of the prompts, and what it holds",
}

_SOON_SECONDS = {"Starting": 60.0, "ContainerCreating": 180.0}  # every run spends this long in the state
_LATER = {
    "Starting": "check that the cluster's scheduler and controller manager are running",
    "ContainerCreating": f"large images take minutes; {_POD}",
}


# The runner's message ends with the remedy for the one cause that it has found.
_SAID_BY_THE_RUNNER = {"ModelUnavailable", "StorageUnavailable", "UnsupportedModel"}


def remedy_for(reason: str, *, run: str = "", seconds: float = 0.0, detail: str = "", on_cluster: bool = True) -> str:
    """Return the remedy for `reason`; empty if the user has nothing to do.

    Args:
        reason: of a waiting run, a trial or a condition.
        run: the run's name, inserted for RUN in commands.
        seconds: how long the reason has held.
        detail: the message that is shown with the reason, which may already say what to do.
        on_cluster: True if the study is an object in a cluster, False if it is tuned on this machine.
    """
    if detail and not detail.endswith("…") and reason in _SAID_BY_THE_RUNNER:
        return ""
    if not on_cluster:
        return ON_ONE_MACHINE.get(reason, REMEDIES.get(reason, ""))
    text = REMEDIES.get(reason, "")
    if reason in _LATER and seconds >= _SOON_SECONDS[reason]:
        text = _LATER[reason]
    return text.replace("RUN", run or "RUN")
