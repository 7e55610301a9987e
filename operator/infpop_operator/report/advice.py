"""What to do about a reason: one sentence each, none where the reason goes away by itself.

The keys are the reasons of waiting runs, of trials without a number and of conditions. What a message of the operator
says itself (a pool without nodes, a field that is wrong) is not said again here.
"""

from infpop_operator.api.resource import GROUP

_LOG = "read the run's log"
_POD = f"kubectl describe pod -l {GROUP}/run=RUN tells more"

REMEDIES = {
    # A run waits.
    "Queued": "wait for its Kueue queue, or see why that has no room: kubectl describe workload",
    "Unschedulable": "free GPUs, add nodes, or correct what the message names; once measurement.timeouts.schedule is "
    "over the run is given up and tried again",
    "QuotaExceeded": "raise the namespace's ResourceQuota, or wait for others to end: kubectl describe quota",
    "PodRefused": "correct what the policy of the message complains of, or ask its owner for an exception",
    "JobRefused": "correct what the message names, or ask the owner of the policy for an exception",
    "ImagePull": "correct engine.image or nodePools[].image, or name Secrets in engine.imagePullSecrets",
    "MissingSecret": "create the Secret and key that model.tokenSecretRef names, or correct the field",
    "MountFailed": "create the ConfigMap of workload.source.configMap, or see the claim of model.cacheClaim",
    "InvalidContainerConfig": f"correct what the message names; {_POD}",
    # A run broke.
    "DeadlineExceeded": f"raise measurement.timeouts if it was at work, else {_LOG}",
    "HostOutOfMemory": "set or raise nodePools[].resources.memory, or give the pool nodes with more memory",
    "Evicted": "free what the message says the node lacks, or raise the limit that it names",
    "ContainerLost": "see the log of containerd on the node, and whether the OOM killer was at work there: "
    "journalctl -u containerd; dmesg",
    "Killed": f"see whether the node ran out of memory; {_LOG}",
    "PodFailed": f"correct what the message names; {_POD}",
    "RunnerError": _LOG,
    "MetricsMissing": f"see whether runner and operator are of the same version; {_LOG}",
    "ResultMissing": "find out who deletes Pods here; the run is tried again",
    "EngineCrash": _LOG,
    "LoadTimeout": "raise measurement.timeouts.load, or keep downloads on model.cacheClaim",
    "MeasureTimeout": "raise measurement.timeouts.measure, or lower workload.samples",
    "GpuMissing": "see whether the device plugin gives out working GPUs: nvidia-smi on the node",
    "GpuNotClean": "end the process that holds memory of the GPU outside of Kubernetes: nvidia-smi on the node",
    "WorkloadUnavailable": "see that the source of the prompts can be reached from the Pods, and holds what it should",
    "WorkloadChanged": "the prompts changed since the round began: give changed prompts a new name",
    "SoftwareChanged": "the tag now names another image than when the round began: use its digest or a new tag",
    "GpuChanged": "narrow nodePools[].gpuProduct or nodeSelector to nodes with one model of GPU, or make two pools",
    "ModelUnavailable": "see that the hub can be reached from the Pods, and may be read with model.tokenSecretRef",
    # A trial cannot have a number.
    "IncompatibleGPU": "name an image in nodePools[].image that has kernels for this GPU and supports model.dtype",
    "RejectedArguments": "correct engine.args",
    "NotRecorded": "replay a landscape that has the cell",
    "UnstableRepeats": "see what else uses the node, or raise measurement.minDuration",
    "CpuThrottled": "take the default limit of CPUs out of the namespace's LimitRange: runs on GPUs need none",
    "SourcesDisagree": "see whether several runners answer on one address; the number is not used",
    # The study does not go on.
    "InvalidSpec": "correct these fields and apply the study again",
    "NothingEligible": "relax objective.constraints, widen searchSpace, or mend what broke the trials or hid a metric",
    "Suspended": "set spec.suspend to false to go on",
    "NoRoom": "uncordon nodes or add some",
    "MissingRights": "compare the operator's rights with examples/cluster/rbac.yaml",
    "ApiRefused": "correct what the message names, or ask the owner of the policy for an exception",
    "ApiUnavailable": "see whether the API server is well; it is asked again",
}

# The same reasons on one machine, where the sentence above names parts of a cluster.
ON_ONE_MACHINE = {
    "GpuChanged": "leave GPUs of one model to the study: CUDA_VISIBLE_DEVICES",
    "GpuMissing": "see whether the driver finds the GPUs: nvidia-smi",
    "GpuNotClean": "end the process that holds memory of the GPU: nvidia-smi names it",
    "HostOutOfMemory": "free memory of this machine, or tune on one that has more",
    "Killed": f"see whether the machine ran out of memory: dmesg; {_LOG}",
    "LoadTimeout": "raise measurement.timeouts.load",
    "ModelUnavailable": "see that the hub can be reached, and that your token may read the model",
    "SoftwareChanged": "leave the engine as it is while a study runs",
    "WorkloadUnavailable": "see that the source of the prompts can be reached, and holds what it should",
}

_SOON_SECONDS = {"Starting": 60.0, "ContainerCreating": 180.0}  # until then it is what every run goes through
_LATER = {
    "Starting": "see whether scheduler and controller manager of the cluster are at work",
    "ContainerCreating": f"large images take minutes; {_POD}",
}


def remedy_for(reason: str, *, run: str = "", seconds: float = 0.0, on_cluster: bool = True) -> str:
    """Return what to do about `reason`, empty where nothing needs to be done.

    Args:
        reason: of a waiting run, a trial or a condition.
        run: the name that stands for RUN in commands.
        seconds: how long it has lasted.
        on_cluster: the study is an object of a cluster; otherwise it is tuned on this machine.
    """
    if not on_cluster:
        return ON_ONE_MACHINE.get(reason, REMEDIES.get(reason, ""))
    text = REMEDIES.get(reason, "")
    if reason in _LATER and seconds >= _SOON_SECONDS[reason]:
        text = _LATER[reason]
    return text.replace("RUN", run or "RUN")
