"""Why a run on the cluster ended, as its Job, its Pod and its container say.

Pure. A cause from outside (deadline, Node, queue, user) goes before what the container reports.
"""

import re
from dataclasses import replace

from infpop_operator.adapters.conclude import Cause, cause_of_exit, last_output
from infpop_operator.adapters.kube.record_parsing import LOW
from infpop_operator.adapters.kube.records import ContainerRecord, JobEnd, JobRecord, PodRecord
from infpop_operator.core.model import DELETED
from infpop_runner.contract import BrokenReason

_NODE_LOST = frozenset({"ContainerStatusUnknown", "Unknown"})  # set by the kubelet and containerd after a reboot
# The kubelet's reasons on a Pod that it ended, or did not start, in favour of its Node: it shuts down, or a critical
# Pod needs the room. Since Kubernetes 1.26 such a Pod has a DisruptionTarget condition as well, if it was started.
_SHUTDOWN = frozenset({"Terminated", "NodeShutdown", "Shutdown"})
FOR_THE_NODE = _SHUTDOWN | {"Preempting"}
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})  # of containerd and of Docker
# The GPU's part of a container runtime: no driver, or one too old for what the image requires ("cuda>=12.8").
_GPU_RUNTIME = re.compile(r"nvidia-container|unsatisfied condition: |nvidia\.com/gpu|NVIDIA_VISIBLE_DEVICES|libcuda")
DEADLINE = "DeadlineExceeded"  # the Job controller's reason, and InfPop's
_EXIT_DONE = 0
_EXIT_MISUNDERSTOOD = 2
EXIT_KILLED = 137
_EXIT_TERMINATED = 143  # by SIGTERM, before the runner could handle it
_EXIT_UNSEEN = 255  # from containerd if it did not see the exit; the runner exits with 0, 1, 2 or by a signal


def outside_cause(job: JobRecord, pod: PodRecord | None) -> Cause | None:
    """Return which outside cause ended the run: its deadline, its Node, its queue or a user; None if none did."""
    if pod is not None and pod.evicted is not None:
        return _cause_of_eviction(pod.evicted)
    deadline = _deadline(job, pod)
    if deadline is not None:
        return Cause(lost=DEADLINE, broken="MeasureTimeout", detail=last_output(deadline))
    if pod is not None and (pod.disrupted is not None or pod.failure_reason in FOR_THE_NODE):
        return _cause_of_disruption(pod)
    if job.suspended:
        return Cause(lost="Preempted", broken="Stopped", detail="the queue took back the devices", counts=False)
    if pod is not None and pod.deleting:
        return Cause(lost=DELETED, broken="Stopped", detail="a user or another controller deleted the Pod of this run")
    return None


def _deadline(job: JobRecord, pod: PodRecord | None) -> str | None:
    """Return the message about the deadline that ended the run: the Job's, or one that a policy gave to the Pod."""
    end = job.end or job.ending
    if end is not None and end.reason == DEADLINE:
        return end.message
    return pod.failure if pod is not None and pod.failure_reason == DEADLINE else None


def _cause_of_disruption(pod: PodRecord) -> Cause:
    """Return the cause for a Pod that was taken away, or that its Node ended in favour of itself or of another Pod."""
    if pod.disrupted is not None:
        return Cause(lost="Preempted", broken="Stopped", detail=last_output(pod.disrupted), counts=False)
    lost = "NodeShutdown" if pod.failure_reason in _SHUTDOWN else "Preempted"
    return Cause(lost=lost, broken="Stopped", detail=f"node {pod.node}: {last_output(pod.failure or '')}", counts=False)


def _cause_of_eviction(message: str) -> Cause:
    """Return the cause for a Pod that its kubelet evicted: the run probably needs more than its Node has."""
    detail = f"the kubelet evicted the Pod: {last_output(message)}"
    if f"{LOW}memory" in message:
        return Cause(lost="HostOutOfMemory", broken="HostOutOfMemory", detail=detail)
    return Cause(lost="Evicted", broken="RunnerError", detail=detail)


def _cause_of_runtime(message: str) -> Cause:
    """Return why the container runtime could not start a container; `message` is its own."""
    reason: BrokenReason = "GpuMissing" if _GPU_RUNTIME.search(message) else "RunnerError"
    detail = f"the container runtime could not start the container: {last_output(message)}"
    return Cause(lost=reason, broken=reason, detail=detail)


def cause_of_container(container: ContainerRecord, log_tail: str) -> Cause:
    """Return why a container ended, in case its result is incomplete; `log_tail` is the end of its log."""
    return _cause_by_reason(container, log_tail) or _cause_by_exit_code(container, log_tail)


def _cause_by_reason(container: ContainerRecord, log_tail: str) -> Cause | None:
    if container.terminated_reason == "OOMKilled":
        detail = "the container was killed at its memory limit (OOMKilled)"
        return Cause(lost="HostOutOfMemory", broken="HostOutOfMemory", detail=detail)
    if container.terminated_reason in _NODE_LOST:
        detail = f"the node lost the container: {last_output(log_tail)}"
        return Cause(lost="NodeLost", broken="Stopped", detail=detail, counts=False)
    if container.terminated_reason in _NOT_STARTED:
        return _cause_of_runtime(log_tail)
    return None


def _cause_by_exit_code(container: ContainerRecord, log_tail: str) -> Cause:
    if container.exit_code == EXIT_KILLED:
        return Cause(lost="Killed", broken="EngineCrash", detail="the runner was killed (SIGKILL)")
    if container.exit_code == _EXIT_TERMINATED:
        detail = "something sent SIGTERM to the runner before it could handle it (exit code 143)"
        return Cause(lost="Stopped", broken="Stopped", detail=detail, counts=False)
    if container.exit_code == _EXIT_UNSEEN:
        output = f"; its last output: {last_output(log_tail)}" if log_tail.strip() else ""
        detail = f"the container runtime lost the container (exit code 255), as when its shim dies{output}"
        return Cause(lost="ContainerLost", broken="EngineCrash", detail=detail)
    if container.exit_code == _EXIT_MISUNDERSTOOD:
        detail = f"the runner did not accept its arguments or spec: {last_output(log_tail)}"
        return Cause(lost="RunnerError", broken="RunnerError", detail=detail)
    cause = cause_of_exit(f"exit code {container.exit_code}", log_tail)
    return replace(cause, lost="MetricsMissing") if container.exit_code == _EXIT_DONE else cause


def cause_of_pod(job: JobRecord, pod: PodRecord) -> Cause:
    """Return why a Pod ended without a container state: its Node refused it, or it was never started."""
    detail = last_output(pod.failure or "") or init_container_failure(pod.obstacle)
    detail = detail or f"the Pod is {pod.phase} and reports no state of its container"
    return outside_cause(job, pod) or Cause(lost="PodFailed", broken="RunnerError", detail=detail)


def init_container_failure(obstacle: ContainerRecord | None) -> str:
    """Return how an init container failed; empty if none did."""
    if obstacle is None or obstacle.exit_code is None:
        return ""
    how = f"exit code {obstacle.exit_code}, {obstacle.terminated_reason or 'no reason given'}"
    output = last_output(obstacle.terminated_message or "")
    return f"the init container {obstacle.name} failed ({how})" + (f"; its last output: {output}" if output else "")


def cause_of_job(end: JobEnd) -> Cause:
    """Return why a run ended whose Pod is gone."""
    how = "completed" if end.complete else "failed"
    detail = f"the Job {how} and its Pod is gone; {last_output(f'{end.reason}: {end.message}')}"
    return Cause(lost="ResultMissing", broken="RunnerError", detail=detail)
