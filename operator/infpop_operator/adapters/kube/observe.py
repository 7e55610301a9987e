"""Say how a run on the cluster is, from its Job, its Pods and the time.

Pure. Every state in which nothing moves has a reason (`Waiting`) and an end: schedule, pull and run have a limit each,
counted apart, and time in a queue counts for none. A Pod that was taken away costs the study nothing: the Job makes
another one. It does so as well for a Pod that its own kubelet evicted, and would for ever where the run is too large
for its node: there the run is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.adapters.conclude import (
    NO_RESULT,
    Cause,
    cause_of_exit,
    conclude,
    last_words,
    parse_result,
)
from infpop_operator.adapters.kube.errors import quota_words
from infpop_operator.adapters.kube.records import LOW, ContainerRecord, JobEnd, JobRecord, PodRecord
from infpop_operator.core.model import DELETED, Finished, Lost, Observation, Phase, Run, Running, Waiting
from infpop_runner.contract import RunResult

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
CREATING = frozenset({None, "", "ContainerCreating", "PodInitializing"})  # reasons that say no more than this
_NODE_LOST = frozenset({"ContainerStatusUnknown", "Unknown"})  # the kubelet's and containerd's word after a reboot
_REFUSED = " is forbidden: "  # after it comes who refused a Pod, and why
_OVER = ("Failed", "Succeeded")
_DEADLINE = "DeadlineExceeded"  # the Job controller's word, and ours
# A Pod that follows another on its node is often tried before that one's devices are free, and again a second later.
_SCHEDULER_RETRIES = timedelta(seconds=3)
_EXIT_DONE = 0
_EXIT_MISUNDERSTOOD = 2
_EXIT_KILLED = 137
_EXIT_UNSEEN = 255  # containerd's word where nobody saw the end; the runner ends with 0, 1, 2 or by a signal
_SOURCE = "the termination message"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHints:
    """What objects do not say: the Job controller's newest complaint, the kubelet's, and the runner's own phase."""

    failed_create: str | None = None
    failed_mount: str | None = None
    phase: Running | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLimits:
    """How long a run may take to get a node, to get its container started, and for everything after that."""

    schedule_seconds: float
    pull_seconds: float
    run_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRun:
    """What was seen, and of which Pod. `held_since` is when the run first got devices, None while it never had any.

    `held_until` is until when a Pod that replaces that one has, or had, devices; None where none ever had.
    """

    observation: Observation
    held_since: datetime | None
    held_until: datetime | None = None
    pod: PodRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """Why a run does not move; at `until` (None: never) it is lost, and `phrase` says what has not happened."""

    reason: str
    detail: str
    until: datetime | None
    phrase: str = ""
    counts: bool = True


def observe_run(  # noqa: PLR0917 - the run and all that is known of it
    run: Run, job: JobRecord, pods: Sequence[PodRecord], hints: RunHints, limits: PhaseLimits, now: datetime
) -> SeenRun:
    """Return how `run` is. `Finished` or `Lost` of a Job that lives means: the caller deletes the Job.

    Args:
        run: the run.
        job: its Job; what a missing one means only the caller knows.
        pods: any Pods; those of this Job count, the newest of them or one that its kubelet evicted.
        hints: what else is known.
        limits: how long each phase may take.
        now: the time of the observation.
    """
    own = [pod for pod in pods if pod.job_uid == job.uid]
    own.sort(key=lambda pod: (pod.created_at, pod.disrupted is None, pod.name))
    pod = _telling_pod(run, own)
    end = _ended(run, job, own, pod, now)
    return SeenRun(
        observation=end or _alive(job, pod, hints, limits, now),
        held_since=_held_since(job, own),
        held_until=None if pod is None or pod is own[-1] else _held_until(own[-1], now),
        pod=pod,
    )


def _telling_pod(run: Run, pods: Sequence[PodRecord]) -> PodRecord | None:
    """Return the Pod that says how the run is: the newest, unless a kubelet evicted one, or it was one too many.

    Where one was evicted the run is over, although the Job makes another Pod: the one that left the most results tells
    how. One too many is made by a Job controller that was cut off while it made the first; it takes back either.
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
    """Return since when the run has, or had, devices: a Pod that was taken away held them too.

    A Job that ended had a Pod, unless its deadline was all that ended it.
    """
    scheduled = [pod.scheduled_at for pod in pods if pod.scheduled_at is not None]
    if scheduled:
        return min(scheduled)
    had_pod = not pods and job.end is not None and job.end.reason != _DEADLINE
    return job.started_at if had_pod else None


def _ended(
    run: Run, job: JobRecord, pods: Sequence[PodRecord], pod: PodRecord | None, now: datetime
) -> Finished | Lost | None:
    """Return how the run ended, of which `pod` tells, None while it, or a Pod that replaces the newest, may go on."""
    end = _ended_itself(run, job, pod, now)
    was_disrupted = any(each.disrupted is not None for each in pods)
    if isinstance(end, Lost) and end.reason == _DEADLINE and was_disrupted:
        return replace(end, counts=False)  # the time that was taken from it would have been enough
    return end


def _held_until(pod: PodRecord, now: datetime) -> datetime | None:
    """Return until when a Pod has, or had, devices, None where it never had any."""
    finished_at = pod.container.finished_at if pod.container is not None else None
    return None if pod.scheduled_at is None else finished_at or now


def _ended_itself(run: Run, job: JobRecord, pod: PodRecord | None, now: datetime) -> Finished | Lost | None:
    if pod is not None and pod.container is not None and pod.container.exit_code is not None:
        return _after_exit(run, job, pod, pod.container, now)
    if pod is not None and pod.phase in _OVER:
        return None if _is_replaced(job, pod) else conclude(run, NO_RESULT, _cause_of_pod(job, pod), now)
    if job.end is None:
        return None
    return conclude(run, NO_RESULT, _outside_cause(job, pod) or _cause_of_job(job.end), job.end.at)


def _after_exit(
    run: Run, job: JobRecord, pod: PodRecord, container: ContainerRecord, now: datetime
) -> Finished | Lost | None:
    message = container.terminated_message or ""
    result = parse_result(message, run=run.name, source=_SOURCE)
    is_log = isinstance(result, str) and container.exit_code != 0  # what Kubernetes takes where no message is
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
    """Say whether another Pod, which the Job makes, goes on with the run in place of one that is over.

    One that succeeded counts for the Job, whatever it did; one that its kubelet evicted counts for us.
    """
    taken_away = pod.evicted is None and (pod.disrupted is not None or job.suspended)
    return taken_away and (job.end or job.ending) is None and pod.phase != "Succeeded"


def _outside_cause(job: JobRecord, pod: PodRecord | None) -> Cause | None:
    """Return why somebody else ended the run: its deadline, its node, its queue or a person; None if nobody did."""
    if pod is not None and pod.evicted is not None:
        return _cause_of_eviction(pod.evicted)
    end = job.end or job.ending
    if end is not None and end.reason == _DEADLINE:
        return Cause(lost=_DEADLINE, broken="MeasureTimeout", detail=last_words(end.message))
    if pod is not None and pod.disrupted is not None:
        return Cause(lost="Preempted", broken="Stopped", detail=last_words(pod.disrupted), counts=False)
    if job.suspended:
        return Cause(lost="Preempted", broken="Stopped", detail="its queue took back the devices", counts=False)
    if pod is not None and pod.deleting:
        return Cause(lost=DELETED, broken="Stopped", detail="somebody deleted the Pod of this run")
    return None


def _cause_of_eviction(words: str) -> Cause:
    """Return why the kubelet ended a Pod: the run is suspected of needing more than its node has."""
    detail = f"the kubelet evicted the Pod: {last_words(words)}"
    if f"{LOW}memory" in words:
        return Cause(lost="HostOutOfMemory", broken="HostOutOfMemory", detail=detail)
    return Cause(lost="Evicted", broken="RunnerError", detail=detail)


def _cut_off(result: RunResult | str, cause: Cause) -> RunResult | str:
    """Return the result of a runner that was told to stop as one that is not complete: `cause` says why it stopped."""
    if isinstance(result, str) or (result.broken is not None and result.broken.reason != "Stopped"):
        return result
    if result.ended_at is not None and result.broken is None:
        return result
    if cause.broken == "Stopped" and not result.trials:
        return "nothing was measured"
    return result.model_copy(update={"broken": None, "ended_at": None})


def _cause_of_container(container: ContainerRecord, words: str) -> Cause:
    """Return why a container ended, should its result not be complete; `words` is the end of its log."""
    if container.terminated_reason == "OOMKilled":
        detail = "the container was killed at its memory limit (OOMKilled)"
        return Cause(lost="HostOutOfMemory", broken="HostOutOfMemory", detail=detail)
    if container.terminated_reason in _NODE_LOST:
        detail = f"the node lost the container: {last_words(words)}"
        return Cause(lost="NodeLost", broken="Stopped", detail=detail, counts=False)
    if container.exit_code == _EXIT_KILLED:
        return Cause(lost="Killed", broken="EngineCrash", detail="the runner was killed (SIGKILL)")
    if container.exit_code == _EXIT_UNSEEN:
        said = f"; its last words: {last_words(words)}" if words.strip() else ""
        detail = f"the container runtime lost the container (exit code 255), as when its shim dies{said}"
        return Cause(lost="ContainerLost", broken="EngineCrash", detail=detail)
    if container.exit_code == _EXIT_MISUNDERSTOOD:
        detail = f"the runner did not understand what to do: {last_words(words)}"
        return Cause(lost="RunnerError", broken="RunnerError", detail=detail)
    cause = cause_of_exit(f"exit code {container.exit_code}", words)
    return replace(cause, lost="MetricsMissing") if container.exit_code == _EXIT_DONE else cause


def _cause_of_pod(job: JobRecord, pod: PodRecord) -> Cause:
    """Return why a Pod is over whose container says nothing: its node refused it, or it was never started."""
    detail = last_words(pod.failure or "") or f"the Pod is {pod.phase} and says nothing of its container"
    return _outside_cause(job, pod) or Cause(lost="PodFailed", broken="RunnerError", detail=detail)


def _cause_of_job(end: JobEnd) -> Cause:
    """Return why a run is over whose Pod is gone."""
    how = "completed" if end.complete else "failed"
    detail = f"the Job {how} and its Pod is gone; {last_words(f'{end.reason}: {end.message}')}"
    return Cause(lost="ResultMissing", broken="RunnerError", detail=detail)


def _alive(
    job: JobRecord, pod: PodRecord | None, hints: RunHints, limits: PhaseLimits, now: datetime
) -> Waiting | Running | Lost:
    wait = _wait(job, pod, hints, limits, now)
    if isinstance(wait, datetime):
        if now < wait + timedelta(seconds=limits.run_seconds):
            return hints.phase or Running(phase=Phase.STARTING)
        detail = f"no end after {_length(limits.run_seconds)}, all time-outs included"
        return Lost(reason=_DEADLINE, detail=detail, ended_at=now)
    if wait.until is None or now < wait.until:
        return Waiting(reason=wait.reason, detail=wait.detail)
    detail = ": ".join(part for part in (wait.phrase, wait.detail) if part)
    return Lost(reason=wait.reason, detail=detail, ended_at=now, counts=wait.counts)


def _wait(
    job: JobRecord, pod: PodRecord | None, hints: RunHints, limits: PhaseLimits, now: datetime
) -> _Wait | datetime:
    """Return what the run waits for, or since when its container runs."""
    if job.suspended:
        return _Wait(reason="Queued", detail="the Job is suspended until its queue has room for it", until=None)
    if pod is not None and pod.disrupted is not None and pod.evicted is None:
        return _until_scheduled("Preempted", last_words(pod.disrupted), pod.disrupted_at or pod.created_at, limits)
    since = job.started_at or job.created_at
    if pod is None:
        return _until_scheduled(*_without_pod(hints.failed_create), since, limits)
    if pod.scheduled_at is None:
        complaint = pod.unschedulable if now >= pod.created_at + _SCHEDULER_RETRIES else None
        return _until_scheduled(*_without_node(complaint), max(since, pod.created_at), limits)
    return _on_node(job, pod, pod.scheduled_at, hints.failed_mount, limits)


def _without_pod(complaint: str | None) -> tuple[str, str]:
    if complaint is None:
        return ("Starting", "the Job has no Pod yet")
    quota = quota_words(complaint)
    if quota is not None:
        return ("QuotaExceeded", last_words(quota))
    return ("PodRefused", last_words(complaint.rpartition(_REFUSED)[2]))


def _without_node(message: str | None) -> tuple[str, str]:
    if message is None:
        return ("Starting", "the Pod waits for the scheduler")
    return ("Unschedulable", last_words(message))


def _until_scheduled(reason: str, detail: str, since: datetime, limits: PhaseLimits) -> _Wait:
    """Return a wait without a device: it costs nothing, unless it is for something that does not mend itself."""
    return _Wait(
        reason=reason,
        detail=detail,
        until=since + timedelta(seconds=limits.schedule_seconds),
        phrase=f"not scheduled within {_length(limits.schedule_seconds)}",
        counts=reason == "PodRefused",
    )


def _on_node(
    job: JobRecord, pod: PodRecord, scheduled_at: datetime, failed_mount: str | None, limits: PhaseLimits
) -> _Wait | datetime:
    container, ending = pod.container or ContainerRecord(), _outside_cause(job, pod)
    if container.started_at is not None and ending is None:
        return container.started_at
    reason, detail = _why_not_started(container, failed_mount) if ending is None else (ending.lost, ending.detail)
    limit_s = limits.pull_seconds if container.started_at is None else limits.run_seconds
    return _Wait(
        reason=reason,
        detail=detail,
        until=(container.started_at or scheduled_at) + timedelta(seconds=limit_s),
        phrase=f"container not {'started' if container.started_at is None else 'ended'} within {_length(limit_s)}",
    )


def _why_not_started(container: ContainerRecord, failed_mount: str | None) -> tuple[str, str]:
    reason, message = container.waiting_reason, container.waiting_message or ""
    said = last_words(message)
    if reason in CREATING:
        return ("ContainerCreating", said) if failed_mount is None else ("MountFailed", last_words(failed_mount))
    if reason in _PULL_REASONS:
        return ("ImagePull", f"{reason}: {said}")
    if reason == "CreateContainerConfigError" and "secret" in message.lower():
        return ("MissingSecret", said)
    return ("InvalidContainerConfig", f"{reason}: {said}")


def _length(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:g} min" if seconds >= 60 else f"{seconds:g} s"  # noqa: PLR2004 - a minute
