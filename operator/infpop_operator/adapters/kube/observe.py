"""Derive the state of a run on the cluster from its Job, its Pods and the time.

Pure. Every state without progress has a reason (`Waiting`) and a limit: schedule, pull and run have one limit each,
counted separately, and time in a queue counts towards none. A disrupted Pod costs the study nothing: the Job creates
another one. The Job also replaces a Pod that its own kubelet evicted, and would do so forever if the run is too large
for its Node; so after such an eviction the run is over.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.adapters.conclude import (
    NO_RESULT,
    Cause,
    cause_of_exit,
    conclude,
    last_output,
    parse_result,
)
from infpop_operator.adapters.kube.errors import quota_words
from infpop_operator.adapters.kube.labels import RUNNER_CONTAINER
from infpop_operator.adapters.kube.records import CREATING, LOW, ContainerRecord, JobEnd, JobRecord, PodRecord
from infpop_operator.core.model import (
    DELETED,
    NODE_REFUSED,
    QUEUED,
    Finished,
    Lost,
    Observation,
    Phase,
    Run,
    Running,
    Waiting,
)
from infpop_runner.contract import BrokenReason, RunResult

_PULL_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_NODE_LOST = frozenset({"ContainerStatusUnknown", "Unknown"})  # set by the kubelet and containerd after a reboot
# The kubelet's reasons on a Pod that it ended, or did not start, in favour of its Node: it shuts down, or a critical
# Pod needs the room. Since Kubernetes 1.26 such a Pod has a DisruptionTarget condition as well, if it was started.
_SHUTDOWN = frozenset({"Terminated", "NodeShutdown", "Shutdown"})
_FOR_THE_NODE = _SHUTDOWN | {"Preempting"}
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})  # of containerd and of Docker
# The GPU's part of a container runtime: no driver, or one too old for what the image requires ("cuda>=12.8").
_GPU_RUNTIME = re.compile(r"nvidia-container|unsatisfied condition: |nvidia\.com/gpu|NVIDIA_VISIBLE_DEVICES|libcuda")
_REFUSED = " is forbidden: "  # followed by who refused a Pod, and why
_DEADLINE = "DeadlineExceeded"  # the Job controller's reason, and InfPop's
# The scheduler often tries a Pod before its predecessor's devices on the Node are free, and again a second later.
_SCHEDULER_RETRIES = timedelta(seconds=3)
_EXIT_DONE = 0
_EXIT_MISUNDERSTOOD = 2
_EXIT_KILLED = 137
_EXIT_TERMINATED = 143  # by SIGTERM, before the runner could handle it
_EXIT_UNSEEN = 255  # from containerd if it did not see the exit; the runner exits with 0, 1, 2 or by a signal
_NO_CAPACITY = "the Job is suspended until its queue has capacity"
_SOURCE = "the termination message"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHints:
    """Facts from outside Job and Pod: the newest errors of Job controller and kubelet, and the runner's own phase.

    `queued` is why the Job is suspended, in the words of its queue.
    """

    queued: str | None = None
    failed_create: str | None = None
    failed_mount: str | None = None
    phase: Running | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLimits:
    """Time limits of a run: until it has a Node, until its container has started, and for everything after that."""

    schedule_seconds: float
    pull_seconds: float
    run_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRun:
    """The observation of a run, and the Pod that it is based on.

    `held_since` is when the run first got devices, None if it never had any. `held_until` is until when a replacement
    of `pod` has, or had, devices; None if no replacement ever had any.
    """

    observation: Observation
    held_since: datetime | None
    held_until: datetime | None = None
    pod: PodRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """Why a run makes no progress. At `until` (None: never) it is lost; `phrase` says what has not happened by then."""

    reason: str
    detail: str
    until: datetime | None
    phrase: str = ""
    counts: bool = True


def observe_run(  # noqa: PLR0917 - the run and all known facts about it
    run: Run, job: JobRecord, pods: Sequence[PodRecord], hints: RunHints, limits: PhaseLimits, now: datetime
) -> SeenRun:
    """Return the observed state of `run`; if it is `Finished` or `Lost`, the caller deletes the Job.

    Args:
        run: the run.
        job: its Job; only the caller knows what a missing Job means.
        pods: any Pods; only those of this Job count, or of no Job: the newest one, or one that its kubelet evicted.
        hints: other known facts.
        limits: how long each phase may take.
        now: the time of the observation.
    """
    own = [pod for pod in pods if pod.job_uid in {job.uid, None}]
    own.sort(key=lambda pod: (pod.created_at, pod.disrupted is None, pod.name))
    pod = _decisive_pod(run, own)
    end = _ended(run, job, own, pod, now)
    return SeenRun(
        observation=end or _live_state(job, pod, hints, limits, now),
        held_since=_held_since(job, own),
        held_until=None if pod is None or pod is own[-1] else _held_until(own[-1], now),
        pod=pod,
    )


def _decisive_pod(run: Run, pods: Sequence[PodRecord]) -> PodRecord | None:
    """Return the Pod that decides the state of the run: the newest, unless a kubelet evicted one or it is surplus.

    If a Pod was evicted, the run is over although the Job creates another Pod; the Pod that left the most results
    decides. A Job controller that was interrupted while it created the first Pod creates a surplus one, and later
    deletes either of them.
    """
    evicted = [pod for pod in reversed(pods) if pod.evicted is not None]
    if evicted:
        return max([*evicted, pods[-1]], key=lambda pod: _count_results(run, pod))
    kept = [pod for pod in pods if pod.disrupted is None and not pod.withdrawn]
    if kept and pods[-1].disrupted is None:
        return kept[-1]
    return pods[-1] if pods else None


def _count_results(run: Run, pod: PodRecord) -> int:
    message = (pod.container.terminated_message if pod.container is not None else None) or ""
    result = parse_result(message, run=run.name, source=_SOURCE)
    return 0 if isinstance(result, str) else len(result.trials)


def _held_since(job: JobRecord, pods: Sequence[PodRecord]) -> datetime | None:
    """Return since when the run has, or had, devices; a Pod that was taken away counts too.

    A Job that ended had a Pod, unless only its deadline ended it.
    """
    scheduled = [pod.scheduled_at for pod in pods if pod.scheduled_at is not None and not is_refused(pod)]
    if scheduled:
        return min(scheduled)
    had_pod = not pods and job.end is not None and job.end.reason != _DEADLINE
    return job.started_at if had_pod else None


def _ended(
    run: Run, job: JobRecord, pods: Sequence[PodRecord], pod: PodRecord | None, now: datetime
) -> Finished | Lost | None:
    """Return how the run ended according to `pod`; None while it, or a replacement of the newest Pod, may continue."""
    end = _ended_itself(run, job, pod, now)
    was_disrupted = any(other.disrupted is not None for other in pods)
    if isinstance(end, Lost) and end.reason == _DEADLINE and was_disrupted:
        return replace(end, counts=False)  # without the disruption the time would have sufficed
    return end


def _held_until(pod: PodRecord, now: datetime) -> datetime | None:
    """Return until when a Pod has, or had, devices; None if it never had any."""
    finished_at = pod.container.finished_at if pod.container is not None else None
    return None if pod.scheduled_at is None else finished_at or now


def is_refused(pod: PodRecord) -> bool:
    """Return whether the Node's kubelet did not admit the Pod: it has failed, and no container of it ever started.

    The reasons differ by kubelet and device plugin (OutOfcpu, UnexpectedAdmissionError), so none of them is listed.
    """
    container = pod.container or ContainerRecord()
    never_started = container.started_at is None and container.exit_code in {None, _EXIT_KILLED}
    taken_away = pod.disrupted is not None or pod.evicted is not None
    if pod.failure_reason in {None, _DEADLINE} or pod.node is None:
        return False
    return never_started and not taken_away


def _refusal(pod: PodRecord, now: datetime) -> Lost:
    detail = f"node {pod.node} refused the Pod: {last_output(pod.failure or '')}"
    return Lost(reason=NODE_REFUSED, detail=detail, ended_at=now, counts=False, node=pod.node)


def _ended_itself(run: Run, job: JobRecord, pod: PodRecord | None, now: datetime) -> Finished | Lost | None:
    if pod is not None and is_refused(pod) and pod.failure_reason not in _FOR_THE_NODE:
        return _refusal(pod, now)
    if pod is not None and pod.container is not None and pod.container.exit_code is not None:
        return _after_exit(run, job, pod, pod.container, now)
    if pod is not None and pod.has_ended:
        return None if _is_replaced(job, pod) else conclude(run, NO_RESULT, _cause_of_pod(job, pod), now)
    if job.end is None:
        return None
    return conclude(run, NO_RESULT, _outside_cause(job, pod) or _cause_of_job(job.end), job.end.at)


def _after_exit(
    run: Run, job: JobRecord, pod: PodRecord, container: ContainerRecord, now: datetime
) -> Finished | Lost | None:
    message = container.terminated_message or ""
    result = parse_result(message, run=run.name, source=_SOURCE)
    is_log = isinstance(result, str) and container.exit_code != 0  # Kubernetes takes the log if there is no message
    if is_log:
        result = NO_RESULT
    cause = _outside_cause(job, pod)
    if cause is None:
        cause = _cause_of_container(container, message if is_log else "")
    else:
        result = _cut_off(result, cause)
    end = conclude(run, result, cause, container.finished_at or now)
    return None if isinstance(end, Lost) and _is_replaced(job, pod) else end


def _is_replaced(job: JobRecord, pod: PodRecord) -> bool:
    """Return whether the Job creates another Pod that continues the run in place of `pod`, which has ended.

    Not so after success, which completes the Job whatever the Pod did, nor after an eviction by the Pod's own kubelet,
    which the operator counts as the end of the run.
    """
    taken_away = pod.evicted is None and (pod.disrupted is not None or job.suspended)
    return taken_away and (job.end or job.ending) is None and pod.phase != "Succeeded"


def _outside_cause(job: JobRecord, pod: PodRecord | None) -> Cause | None:
    """Return which outside cause ended the run: its deadline, its Node, its queue or a user; None if none did."""
    if pod is not None and pod.evicted is not None:
        return _cause_of_eviction(pod.evicted)
    deadline = _deadline(job, pod)
    if deadline is not None:
        return Cause(lost=_DEADLINE, broken="MeasureTimeout", detail=last_output(deadline))
    if pod is not None and (pod.disrupted is not None or pod.failure_reason in _FOR_THE_NODE):
        return _cause_of_disruption(pod)
    if job.suspended:
        return Cause(lost="Preempted", broken="Stopped", detail="the queue took back the devices", counts=False)
    if pod is not None and pod.deleting:
        return Cause(lost=DELETED, broken="Stopped", detail="a user or another controller deleted the Pod of this run")
    return None


def _deadline(job: JobRecord, pod: PodRecord | None) -> str | None:
    """Return the message about the deadline that ended the run: the Job's, or one that a policy gave to the Pod."""
    end = job.end or job.ending
    if end is not None and end.reason == _DEADLINE:
        return end.message
    return pod.failure if pod is not None and pod.failure_reason == _DEADLINE else None


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


def _cut_off(result: RunResult | str, cause: Cause) -> RunResult | str:
    """Return the result of a stopped runner as an incomplete one, so that `cause` says why it stopped."""
    if isinstance(result, str) or (result.broken is not None and result.broken.reason != "Stopped"):
        return result
    if result.ended_at is not None and result.broken is None:
        return result
    if cause.broken == "Stopped" and not result.trials:
        return "nothing was measured"
    return result.model_copy(update={"broken": None, "ended_at": None})


def _cause_of_runtime(message: str) -> Cause:
    """Return why the container runtime could not start a container; `message` is its own."""
    reason: BrokenReason = "GpuMissing" if _GPU_RUNTIME.search(message) else "RunnerError"
    detail = f"the container runtime could not start the container: {last_output(message)}"
    return Cause(lost=reason, broken=reason, detail=detail)


def _cause_of_container(container: ContainerRecord, log_tail: str) -> Cause:
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
    if container.exit_code == _EXIT_KILLED:
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


def _cause_of_pod(job: JobRecord, pod: PodRecord) -> Cause:
    """Return why a Pod ended without a container state: its Node refused it, or it was never started."""
    detail = last_output(pod.failure or "") or _failed_first(pod.obstacle)
    detail = detail or f"the Pod is {pod.phase} and reports no state of its container"
    return _outside_cause(job, pod) or Cause(lost="PodFailed", broken="RunnerError", detail=detail)


def _failed_first(obstacle: ContainerRecord | None) -> str:
    """Return how an init container failed; empty if none did."""
    if obstacle is None or obstacle.exit_code is None:
        return ""
    how = f"exit code {obstacle.exit_code}, {obstacle.terminated_reason or 'no reason given'}"
    output = last_output(obstacle.terminated_message or "")
    return f"the init container {obstacle.name} failed ({how})" + (f"; its last output: {output}" if output else "")


def _cause_of_job(end: JobEnd) -> Cause:
    """Return why a run ended whose Pod is gone."""
    how = "completed" if end.complete else "failed"
    detail = f"the Job {how} and its Pod is gone; {last_output(f'{end.reason}: {end.message}')}"
    return Cause(lost="ResultMissing", broken="RunnerError", detail=detail)


def _live_state(
    job: JobRecord, pod: PodRecord | None, hints: RunHints, limits: PhaseLimits, now: datetime
) -> Waiting | Running | Lost:
    wait = _wait(job, pod, hints, limits, now)
    if isinstance(wait, datetime):
        if now < wait + timedelta(seconds=limits.run_seconds):
            return hints.phase or Running(phase=Phase.STARTING)
        detail = f"not ended after {_duration(limits.run_seconds)}, all time-outs included"
        return Lost(reason=_DEADLINE, detail=detail, ended_at=now)
    if wait.until is None or now < wait.until:
        return Waiting(reason=wait.reason, detail=wait.detail)
    detail = ": ".join(part for part in (wait.phrase, wait.detail) if part)
    return Lost(reason=wait.reason, detail=detail, ended_at=now, counts=wait.counts)


def _wait(
    job: JobRecord, pod: PodRecord | None, hints: RunHints, limits: PhaseLimits, now: datetime
) -> _Wait | datetime:
    """Return what the run waits for, or since when its container has been running."""
    if job.suspended:
        return _Wait(reason=QUEUED, detail=hints.queued or _NO_CAPACITY, until=None)
    if pod is not None and pod.disrupted is not None and pod.evicted is None:
        return _until_scheduled("Preempted", last_output(pod.disrupted), pod.disrupted_at or pod.created_at, limits)
    since = job.started_at or job.created_at
    if pod is None:
        return _until_scheduled(*_without_pod(hints.failed_create), since, limits)
    if pod.scheduled_at is None:
        message = pod.unschedulable if now >= pod.created_at + _SCHEDULER_RETRIES else None
        return _until_scheduled(*_without_node(message), max(since, pod.created_at), limits)
    return _on_node(job, pod, pod.scheduled_at, hints.failed_mount, limits)


def _without_pod(failed_create: str | None) -> tuple[str, str]:
    if failed_create is None:
        return ("Starting", "the Job has no Pod yet")
    quota = quota_words(failed_create)
    if quota is not None:
        return ("QuotaExceeded", last_output(quota))
    return ("PodRefused", last_output(failed_create.rpartition(_REFUSED)[2]))


def _without_node(message: str | None) -> tuple[str, str]:
    if message is None:
        return ("Starting", "the Pod waits for the scheduler")
    return ("Unschedulable", last_output(message))


def _until_scheduled(reason: str, detail: str, since: datetime, limits: PhaseLimits) -> _Wait:
    """Return a wait without devices; it costs no attempt, unless its cause does not go away by itself."""
    return _Wait(
        reason=reason,
        detail=detail,
        until=since + timedelta(seconds=limits.schedule_seconds),
        phrase=f"not scheduled within {_duration(limits.schedule_seconds)}",
        counts=reason == "PodRefused",
    )


def _on_node(
    job: JobRecord, pod: PodRecord, scheduled_at: datetime, failed_mount: str | None, limits: PhaseLimits
) -> _Wait | datetime:
    container, ending = pod.container or ContainerRecord(), _outside_cause(job, pod)
    if container.started_at is not None and ending is None:
        return container.started_at
    first = container if pod.obstacle is None or container.waiting_reason not in CREATING else pod.obstacle
    reason, detail = _why_not_started(first, failed_mount) if ending is None else (ending.lost, ending.detail)
    limit_s = limits.pull_seconds if container.started_at is None else limits.run_seconds
    return _Wait(
        reason=reason,
        detail=detail,
        until=(container.started_at or scheduled_at) + timedelta(seconds=limit_s),
        phrase=f"container not {'started' if container.started_at is None else 'ended'} within {_duration(limit_s)}",
    )


def _why_not_started(container: ContainerRecord, failed_mount: str | None) -> tuple[str, str]:
    reason, message = container.waiting_reason, container.waiting_message or ""
    detail = last_output(message)
    if container.name != RUNNER_CONTAINER:
        detail = f"init container {container.name}: {detail}" if detail else _failed_first(container)
    if reason in CREATING:
        return ("ContainerCreating", detail) if failed_mount is None else ("MountFailed", last_output(failed_mount))
    if reason in _PULL_REASONS:
        return ("ImagePull", f"{reason}: {detail}")
    if reason == "CreateContainerConfigError" and "secret" in message.lower():
        return ("MissingSecret", detail)
    return ("InvalidContainerConfig", f"{reason}: {detail}")


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:g} min" if seconds >= 60 else f"{seconds:g} s"  # noqa: PLR2004 - a minute
