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
    conclude,
    last_output,
    parse_result,
)
from infpop_operator.adapters.kube.end_causes import (
    DEADLINE,
    EXIT_KILLED,
    FOR_THE_NODE,
    cause_of_container,
    cause_of_job,
    cause_of_pod,
    init_container_failure,
    outside_cause,
)
from infpop_operator.adapters.kube.errors import quota_words
from infpop_operator.adapters.kube.labels import RUNNER_CONTAINER
from infpop_operator.adapters.kube.records import CREATING, ContainerRecord, JobRecord, PodRecord
from infpop_operator.adapters.kube.scale_up import AutoscalerAnswer
from infpop_operator.core.model import (
    NODE_REFUSED,
    QUEUED,
    SCALING_UP,
    Finished,
    Lost,
    Observation,
    Phase,
    Run,
    Running,
    Waiting,
)
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
_REFUSED = " is forbidden: "  # followed by who refused a Pod, and why
_UNBOUND_CLAIM = "unbound immediate PersistentVolumeClaims"  # no autoscaler adds a Node before it is bound
# The scheduler often tries a Pod before its predecessor's devices on the Node are free, and again a second later.
_SCHEDULER_RETRIES = timedelta(seconds=3)
_UNSCHEDULABLE = "Unschedulable"
_CLAIM_NOT_READY = "ClaimNotReady"
_NO_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')  # the scheduler's words: no node helps
_NO_CAPACITY = "the Job is suspended until its queue has capacity"
_SOURCE = "the termination message"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHints:
    """Facts from outside Job and Pod: the newest errors of Job controller and kubelet, and the runner's own phase.

    `queued` is why the Job is suspended, in the words of its queue. `autoscaler` is what an autoscaler says of the Pod.
    `expects_node`: the study says that one adds a Node for it.
    """

    queued: str | None = None
    failed_create: str | None = None
    failed_mount: str | None = None
    phase: Running | None = None
    autoscaler: AutoscalerAnswer | None = None
    expects_node: bool = False


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

    @property
    def lost(self) -> str:
        """Return the reason of the loss: a Node or a claim that was expected did not come."""
        return _UNSCHEDULABLE if self.reason in {SCALING_UP, _CLAIM_NOT_READY} else self.reason


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
    had_pod = not pods and job.end is not None and job.end.reason != DEADLINE
    return job.started_at if had_pod else None


def _ended(
    run: Run, job: JobRecord, pods: Sequence[PodRecord], pod: PodRecord | None, now: datetime
) -> Finished | Lost | None:
    """Return how the run ended according to `pod`; None while it, or a replacement of the newest Pod, may continue."""
    end = _ended_itself(run, job, pod, now)
    was_disrupted = any(other.disrupted is not None for other in pods)
    if isinstance(end, Lost) and end.reason == DEADLINE and was_disrupted:
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
    never_started = container.started_at is None and container.exit_code in {None, EXIT_KILLED}
    taken_away = pod.disrupted is not None or pod.evicted is not None
    if pod.failure_reason in {None, DEADLINE} or pod.node is None:
        return False
    return never_started and not taken_away


def _refusal(pod: PodRecord, now: datetime) -> Lost:
    detail = f"node {pod.node} refused the Pod: {last_output(pod.failure or '')}"
    return Lost(reason=NODE_REFUSED, detail=detail, ended_at=now, counts=False, node=pod.node)


def _ended_itself(run: Run, job: JobRecord, pod: PodRecord | None, now: datetime) -> Finished | Lost | None:
    if pod is not None and is_refused(pod) and pod.failure_reason not in FOR_THE_NODE:
        return _refusal(pod, now)
    if pod is not None and pod.container is not None and pod.container.exit_code is not None:
        return _after_exit(run, job, pod, pod.container, now)
    if pod is not None and pod.has_ended:
        return None if _is_replaced(job, pod) else conclude(run, NO_RESULT, cause_of_pod(job, pod), now)
    if job.end is None:
        return None
    return conclude(run, NO_RESULT, outside_cause(job, pod) or cause_of_job(job.end), job.end.at)


def _after_exit(
    run: Run, job: JobRecord, pod: PodRecord, container: ContainerRecord, now: datetime
) -> Finished | Lost | None:
    message = container.terminated_message or ""
    result = parse_result(message, run=run.name, source=_SOURCE)
    is_log = isinstance(result, str) and container.exit_code != 0  # Kubernetes takes the log if there is no message
    if is_log:
        result = NO_RESULT
    cause = outside_cause(job, pod)
    if cause is None:
        cause = cause_of_container(container, message if is_log else "")
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


def _cut_off(result: RunResult | str, cause: Cause) -> RunResult | str:
    """Return the result of a stopped runner as an incomplete one, so that `cause` says why it stopped."""
    if isinstance(result, str) or (result.broken is not None and result.broken.reason != "Stopped"):
        return result
    if result.ended_at is not None and result.broken is None:
        return result
    if cause.broken == "Stopped" and not result.trials:
        return "nothing was measured"
    return result.model_copy(update={"broken": None, "ended_at": None})


def _live_state(
    job: JobRecord, pod: PodRecord | None, hints: RunHints, limits: PhaseLimits, now: datetime
) -> Waiting | Running | Lost:
    wait = _wait(job, pod, hints, limits, now)
    if isinstance(wait, datetime):
        if now < wait + timedelta(seconds=limits.run_seconds):
            return hints.phase or Running(phase=Phase.STARTING)
        detail = f"not ended after {_duration(limits.run_seconds)}, all time-outs included"
        return Lost(reason=DEADLINE, detail=detail, ended_at=now)
    if wait.until is None or now < wait.until:
        return Waiting(reason=wait.reason, detail=wait.detail)
    detail = ": ".join(part for part in (wait.phrase, wait.detail) if part)
    return Lost(reason=wait.lost, detail=detail, ended_at=now, counts=wait.counts)


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
        return _until_scheduled(*_without_node(message, hints), max(since, pod.created_at), limits)
    return _on_node(job, pod, pod.scheduled_at, hints.failed_mount, limits)


def _without_pod(failed_create: str | None) -> tuple[str, str]:
    if failed_create is None:
        return ("Starting", "the Job has no Pod yet")
    quota = quota_words(failed_create)
    if quota is not None:
        return ("QuotaExceeded", last_output(quota))
    return ("PodRefused", last_output(failed_create.rpartition(_REFUSED)[2]))


def _without_node(message: str | None, hints: RunHints) -> tuple[str, str]:
    """Return why a Pod has no Node: its claim is not ready, or what an autoscaler does, if anything is known of one."""
    if message is None:
        return ("Starting", "the Pod waits for the scheduler")
    claim = _of_claim(message)
    if claim is not None:
        return (_CLAIM_NOT_READY, last_output(claim))
    answer = hints.autoscaler
    if answer is None:
        if not hints.expects_node:
            return (_UNSCHEDULABLE, last_output(message))
        return (SCALING_UP, f"the Pod waits for a node of an autoscaler; {last_output(message)}")
    if answer.adds_node:
        return (SCALING_UP, last_output(answer.words))
    return (_UNSCHEDULABLE, f"no autoscaler adds a node; {last_output(answer.words)}")


def _of_claim(message: str) -> str | None:
    """Return what the scheduler says of a claim that keeps a Pod from any Node, None if it says nothing of one."""
    missing = _NO_CLAIM.search(message)
    if missing is not None:
        return f"PersistentVolumeClaim {missing[1]} does not exist in the namespace"
    return f"a PersistentVolumeClaim of the Pod is not bound; {message}" if _UNBOUND_CLAIM in message else None


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
    container, ending = pod.container or ContainerRecord(), outside_cause(job, pod)
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
        detail = f"init container {container.name}: {detail}" if detail else init_container_failure(container)
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
