"""The Events of a study: one for each transition that matters to a user, and none for anything else.

A pure comparison of two statuses returns the Events to write. The name of an Event is a digest of its content, so that
writing it twice, for example after a crash, leaves one Event.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError, KubeNamespaceTerminatingError, KubeUnavailableError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.resource import API_VERSION, GROUP, KIND
from infpop_operator.api.status_model import Condition, PoolStatus, SetAside, StudyStatus, TrialRow
from infpop_operator.core.fingerprint import digest
from infpop_operator.core.history import broken_reason
from infpop_operator.core.model import EndedRun, Finished, Run

_log = logging.getLogger(__name__)

_LONGEST_MESSAGE = 1000  # of the 1,024 characters that the API allows
_REPORTED = ("Accepted", "Stalled", "Suspended", "ResultStale", "PrometheusUnreachable", "Ready")
_WARNINGS = {
    ("Accepted", "False"),
    ("Stalled", "True"),
    ("ResultStale", "True"),
    ("PrometheusUnreachable", "True"),
    ("Ready", "False"),
}
_TRIAL_REASONS = {  # by the state in which a trial ended
    "Measured": "TrialMeasured",
    "Infeasible": "TrialInfeasible",
    "Invalid": "TrialInvalid",
}
_COMPONENT = "infpop"
# Every run passes through these; status.runs shows them, and no Event does.
_PROGRESS = {"Starting", "ContainerCreating", "ModelLoading", "WarmingUp", "Measuring", "Done", "Resumed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvent:
    """An Event about a study, for the user."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    of_run: bool = field(default=False, compare=False)  # it happens once, whatever the study's generation is by then


def transitions(before: StudyStatus | None, after: StudyStatus) -> tuple[StudyEvent, ...]:
    """Return the Events between two statuses: changed conditions, ended trials, new rounds, what was set aside."""
    return (
        *_conditions(before, after),
        *_rounds(before, after),
        *_trials(before, after),
        *_set_aside(before, after),
    )


def broken_runs(ended: Sequence[EndedRun]) -> tuple[StudyEvent, ...]:
    """Return an Event for each run that failed without being stopped; a retried run shows no failure in the status."""
    return tuple(_broken_run(entry) for entry in ended if entry.stopped is None and broken_reason(entry) is not None)


def runs_lacking_metrics(ended: Sequence[EndedRun]) -> tuple[StudyEvent, ...]:
    """Return an Event for each run that a metrics source had no number for; it names the sources used instead."""
    return tuple(
        _lacking_metrics(entry.run, entry.observation)
        for entry in ended
        if isinstance(entry.observation, Finished) and entry.observation.missing_sources
    )


def _lacking_metrics(run: Run, finished: Finished) -> StudyEvent:
    why = ", ".join(f"{source}: {reason}" for source, reason in finished.missing_sources.items())
    instead = ", ".join(sorted(set(finished.sources.values()))) or "the run's own result"
    return StudyEvent(
        type="Normal",
        reason="MetricsMissing",
        message=f"run {run.name} on pool {run.pool}: no number from {why}; using the numbers from {instead}",
        of_run=True,
    )


def _broken_run(entry: EndedRun) -> StudyEvent:
    run, why = entry.run, ": ".join(part for part in broken_reason(entry) or () if part)
    batches = ", ".join(str(trial.configuration.batch_size) for trial in run.trials)
    what = f"run {run.name} on pool {run.pool} ({count_gpus(run.gpu_count)}, batch size {batches})"
    return StudyEvent(type="Warning", reason="RunBroken", message=f"{what}: {why}", of_run=True)


def clock_jump(seconds: float, at: datetime) -> StudyEvent:
    """Return the Event about a jump of the API server's clock."""
    way = "forward; that counts if it lasts for ten minutes" if seconds > 0 else "back"
    message = (
        f"the clock of the API server jumped by {abs(seconds):.0f} s {way} (noticed at {at:%Y-%m-%d %H:%M:%S} UTC): "
        "times and GPU-hours of live runs may be wrong by as much"
    )
    return StudyEvent(type="Warning", reason="ClockJumped", message=message)


def _conditions(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    known = {condition.type: condition for condition in before.conditions} if before is not None else {}
    events: dict[str, StudyEvent] = {}
    # Ready comes last: it repeats the reason of the condition that changed.
    for condition in sorted(after.conditions, key=lambda condition: condition.type == "Ready"):
        if condition.type in _REPORTED and _is_reportable(known.get(condition.type), condition):
            is_warning = (condition.type, condition.status) in _WARNINGS
            kind: Literal["Normal", "Warning"] = "Warning" if is_warning else "Normal"
            event = StudyEvent(type=kind, reason=condition.reason, message=condition.message)
            events.setdefault(condition.reason, event)
    yield from events.values()


def _is_reportable(before: Condition | None, after: Condition) -> bool:
    """Return whether the change matters to a user; a new study's conditions that are not true do not."""
    if after.type == "Ready" and after.status != "True":
        return after.reason not in _PROGRESS and (before is None or before.reason != after.reason)
    if after.type == "Stalled" and after.status != "True":
        return False  # the Event of Ready covers it
    if before is None:
        return after.status == "True" or (after.type == "Accepted" and after.status == "False")
    return after.status not in {before.status, "Unknown"}


def _trials(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield the trials that ended; without the previous status, up to 500 trials would be reported again."""
    if before is None:
        return
    known = {_identity(row): row for row in before.trials}
    for row in after.trials:
        old = known.get(_identity(row))
        if row.state in _TRIAL_REASONS and (old is None or (old.state, old.run) != (row.state, row.run)):
            yield StudyEvent(type="Normal", reason=_TRIAL_REASONS[row.state], message=_trial_text(row))


def _identity(row: TrialRow) -> tuple[str, int, int]:
    return (row.pool, row.round, row.index)


def _trial_text(row: TrialRow) -> str:
    what = f"trial {row.index} of pool {row.pool}: {count_gpus(row.gpu_count)}, batch size {row.batch_size}"
    outcome = (
        f"{row.throughput} tokens/s"
        if row.throughput is not None
        else ": ".join(part for part in (row.reason, row.message) if part)
    )
    return f"{what}: {outcome} (run {row.run})"


def count_gpus(count: int) -> str:
    """Return "1 GPU" or "2 GPUs"."""
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _rounds(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    known = {(pool.name, pool.round) for pool in before.pools} if before is not None else set()
    for pool in after.pools:
        if pool.round is not None and (pool.name, pool.round) not in known:
            message = f"pool {pool.name}: round {pool.round} on {pool.gpu or 'its nodes'} ({pool.image or 'no image'})"
            yield StudyEvent(type="Normal", reason="RoundStarted", message=message)


def _set_aside(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield the configurations that a pool no longer tries, or not now; not again while only the attempts grow."""
    known = {key for pool in before.pools for key in _aside_keys(pool)} if before is not None else set()
    for pool in after.pools:
        for key, each in _aside_keys(pool).items():
            if key not in known:
                extra = "".join(f", {name}={value}" for name, value in (each.extra or {}).items())
                why = ": ".join(part for part in (each.reason, each.message) if part)
                message = f"pool {pool.name}: {count_gpus(each.gpu_count)}{extra} set aside: {why}"
                yield StudyEvent(type="Warning", reason="SetAside", message=message)


def _aside_keys(pool: PoolStatus) -> dict[tuple[object, ...], SetAside]:
    return {
        (pool.name, pool.round, each.gpu_count, each.reason, *sorted((each.extra or {}).items())): each
        for each in pool.set_aside or ()
    }


class Recorder:
    """Writes Events about studies. A refusal is only logged, because nothing depends on an Event."""

    def __init__(self, client: KubeClient, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock

    async def record(self, study: Body, events: Sequence[StudyEvent]) -> tuple[StudyEvent, ...]:
        """Write one Event about `study` for each of `events`; return those that the API server gave no answer to."""
        unanswered: list[StudyEvent] = []
        for event in events:
            _log.info("study %s/%s: %s: %s", *_name(study), event.reason, event.message)
            try:
                await self._client.create_event(_event(study, event, self._clock()))
            except KubeNamespaceTerminatingError:
                return ()
            except KubeError as error:
                if isinstance(error, KubeUnavailableError):
                    unanswered.append(event)
                _log.warning("study %s/%s: Event %s not written: %s", *_name(study), event.reason, error)
        return tuple(unanswered)


def _name(study: Body) -> tuple[str, str]:
    return (study["metadata"]["namespace"], study["metadata"]["name"])


def _event(study: Body, event: StudyEvent, now: datetime) -> Body:
    metadata = study["metadata"]
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    generation = None if event.of_run else metadata.get("generation")
    unique = digest([metadata["uid"], generation, event.reason, event.message])[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{unique}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion"),
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:_LONGEST_MESSAGE],
        "source": {"component": _COMPONENT},
        "reportingComponent": f"{GROUP}/{_COMPONENT}",
        "reportingInstance": _COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
