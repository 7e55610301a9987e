"""The Events of a study: one for each transition that matters to a user, and none for anything else.

A pure comparison of two statuses returns the Events to write. The name of an Event is a digest of its content, so that
writing it twice, for example after a crash, leaves one Event.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError, KubeNamespaceTerminatingError, KubeUnavailableError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.conditions import as_reason
from infpop_operator.api.resource import API_VERSION, GROUP, KIND
from infpop_operator.api.staleness import change_text, facts_text, shown_time
from infpop_operator.api.status_model import (
    Condition,
    PoolChange,
    PoolStatus,
    RoundRow,
    SetAside,
    StudyStatus,
    TrialRow,
)
from infpop_operator.core.fingerprint import digest
from infpop_operator.core.history import broken_reason
from infpop_operator.core.model import SCALED_TO_ZERO, SCALING_UP, EndedRun, Finished, Run
from infpop_operator.core.numbering import trial_name, trial_number
from infpop_operator.core.prior import INHERITED

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
    "RacedOut": "TrialRacedOut",
    "Infeasible": "TrialInfeasible",
    "Invalid": "TrialInvalid",
}
_CONFIRMATIONS: dict[str, Literal["Normal", "Warning"]] = {  # by the state in which measuring the best again ended
    "Confirmed": "Normal",
    "NotConfirmed": "Warning",
}
_COMPONENT = "infpop"
_RESTORED = {"HardwareChanged": "HardwareRestored", "SpecChanged": "SpecRestored"}  # by the reason of a pool's change
_EXPECTED = {SCALING_UP, SCALED_TO_ZERO}  # no harm: the autoscaler of a pool does what the study says
# Every run passes through these; status.runs shows them, and no Event does.
_PROGRESS = {"Starting", "ContainerCreating", "ModelLoading", "WarmingUp", "Measuring", "Confirming", "Done", "Resumed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvent:
    """An Event about a study, for the user."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    is_unique: bool = field(default=False, compare=False)  # it happens once, whatever the study's generation is by then


def transitions_of_state(before: StudyStatus | None, after: StudyStatus) -> tuple[StudyEvent, ...]:
    """Return the Events of conditions and of pools that can no longer be tuned.

    They are true as soon as the status is written: their messages may differ from pass to pass.
    """
    return (*_conditions(before, after), *_pool_problems(before, after))


def transitions_of_course(before: StudyStatus | None, after: StudyStatus) -> tuple[StudyEvent, ...]:
    """Return the Events of changed pools, of rounds, of trials, of what was set aside, and of what was confirmed.

    They follow from the journal, so another pass has the same Events in the same words: they may be written before the
    status, and none is lost if the operator dies in between.
    """
    return (
        *_changes(before, after),
        *_rounds(before, after),
        *_trials(before, after),
        *_reused(before, after),
        *_set_aside(before, after),
        *_confirmations(before, after),
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
        is_unique=True,
    )


def _broken_run(entry: EndedRun) -> StudyEvent:
    run, why = entry.run, ": ".join(part for part in broken_reason(entry) or () if part)
    batches = ", ".join(str(trial.configuration.batch_size) for trial in run.trials)
    what = f"run {run.name} on pool {run.pool} ({count_gpus(run.gpu_count)}, batch size {batches})"
    return StudyEvent(type="Warning", reason="RunBroken", message=f"{what}: {why}", is_unique=True)


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
        if condition.type == "ResultStale" and condition.reason in _RESTORED:
            continue  # each changed pool has its own Event
        if condition.type in _REPORTED and _is_reportable(known.get(condition.type), condition):
            is_warning = (condition.type, condition.status) in _WARNINGS and condition.reason not in _EXPECTED
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
        if (
            row.reused_from is None
            and row.state in _TRIAL_REASONS
            and (old is None or (old.state, old.run) != (row.state, row.run))
        ):
            yield StudyEvent(type="Normal", reason=_TRIAL_REASONS[row.state], message=_trial_text(row))


def _reused(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield one Event for each study whose numbers were taken over since; it names the trials."""
    known = {(_identity(row), row.run) for row in before.trials} if before is not None else set()
    taken: defaultdict[tuple[str, int, str], list[int]] = defaultdict(list)
    for row in after.trials:
        if row.reused_from is not None and (_identity(row), row.run) not in known:
            taken[row.pool, row.round, row.reused_from].append(row.index)
    for (pool, number, study), indexes in taken.items():
        trials = f"trial{'s' if len(indexes) > 1 else ''} {', '.join(str(trial_number(index)) for index in indexes)}"
        message = f"pool {pool}, round {number}: {trials} taken over from study {study}, which measured the same"
        yield StudyEvent(type="Normal", reason="TrialsReused", message=message)


def _identity(row: TrialRow) -> tuple[str, int, int]:
    return (row.pool, row.round, row.index)


def _trial_text(row: TrialRow) -> str:
    what = f"{trial_name(row.index)} of pool {row.pool}: {count_gpus(row.gpu_count)}, batch size {row.batch_size}"
    return f"{what}: {_outcome(row)} (run {row.run})"


def _outcome(row: TrialRow) -> str:
    if row.throughput is not None:
        return f"{row.throughput} tokens/s"
    if row.throughput_at_most is not None:
        return f"slower than the best, at most {row.throughput_at_most} tokens/s"
    return ": ".join(part for part in (row.reason, row.message) if part)


def count_gpus(count: int) -> str:
    """Return "1 GPU" or "2 GPUs"."""
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _changes(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield what changed on each pool, that it changed back, and why no new round starts.

    A change that a new round has taken into account is reported by that round's Event.
    """
    known = {pool.name: pool for pool in before.pools} if before is not None else {}
    for pool in after.pools:
        old, new = known.get(pool.name), pool.change
        earlier = old.change if old is not None else None
        if new is not None and new.reason in _RESTORED and not _is_same_change(earlier, new):
            message = f"pool {pool.name}: {change_text(new)}"
            yield StudyEvent(type="Warning", reason=new.reason, message=message, is_unique=True)
        if new is not None and new.held_by is not None and (earlier is None or earlier.held_by != new.held_by):
            yield StudyEvent(type="Warning", reason="RetuneHeld", message=f"pool {pool.name}: {new.held_by}")
        if earlier is not None and new is None and old is not None and old.round == pool.round:
            yield from _restored(pool, earlier)


def _restored(pool: PoolStatus, earlier: PoolChange) -> Iterator[StudyEvent]:
    if earlier.reason in _RESTORED:
        message = f"pool {pool.name}: changed back, its results are current again; it was: {change_text(earlier)}"
        yield StudyEvent(type="Normal", reason=_RESTORED[earlier.reason], message=message, is_unique=True)


def _is_same_change(before: PoolChange | None, after: PoolChange) -> bool:
    return before is not None and (before.what, before.since) == (after.what, after.since)


def _pool_problems(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield why a pool can no longer be tuned, unless Ready says it because the study waits for that pool."""
    known = {pool.name: pool.reason for pool in before.pools} if before is not None else {}
    ready = next((condition.reason for condition in after.conditions if condition.type == "Ready"), None)
    for pool in after.pools:
        if pool.reason not in {None, ready, known.get(pool.name)}:
            message = f"pool {pool.name}: {pool.message or pool.reason}"
            kind: Literal["Normal", "Warning"] = "Normal" if pool.reason in _EXPECTED else "Warning"
            yield StudyEvent(type=kind, reason=as_reason(pool.reason or ""), message=message)


def _rounds(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield the newest rounds that began, or continued because their pool's earlier hardware came back."""
    known = {(pool.name, pool.round) for pool in before.pools} if before is not None else set()
    resumed = {_resumption(row) for row in before.rounds} if before is not None else set()
    rows = {(row.pool, row.round): row for row in after.rounds}
    for pool in after.pools:
        row = rows.get((pool.name, pool.round or 0))
        where = f"on {pool.gpu or 'its nodes'} ({pool.image or 'no image'})"
        if row is not None and row.resumed_at is not None and _resumption(row) not in resumed:
            when = shown_time(row.resumed_at)
            message = f"pool {pool.name}: round {pool.round} {where} continues since {when}; its earlier trials count"
            yield StudyEvent(type="Normal", reason="RoundResumed", message=message, is_unique=True)
        elif pool.round is not None and (pool.name, pool.round) not in known:
            cause = f": {facts_text(row.cause)}" if row is not None and row.cause else ""
            message = f"pool {pool.name}: round {pool.round} began {where}{cause}"
            yield StudyEvent(type="Normal", reason="RoundStarted", message=message, is_unique=True)


def _resumption(row: RoundRow) -> tuple[str, int, datetime | None]:
    return (row.pool, row.round, row.resumed_at)


def _set_aside(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield the configurations that a pool no longer tries, or not now; not again while only the attempts grow."""
    known = {key for pool in before.pools for key in _aside_keys(pool)} if before is not None else set()
    for pool in after.pools:
        for key, each in _aside_keys(pool).items():
            if key not in known:
                extra = "".join(f", {name}={value}" for name, value in (each.extra or {}).items())
                extra += "" if each.min_batch_size is None else f", batch {each.min_batch_size} and larger"
                why = ": ".join(part for part in (each.reason, each.message) if part)
                message = f"pool {pool.name}: {count_gpus(each.gpu_count)}{extra} set aside: {why}"
                failed = each.reason != INHERITED
                yield StudyEvent(type="Warning" if failed else "Normal", reason="SetAside", message=message)


def _confirmations(before: StudyStatus | None, after: StudyStatus) -> Iterator[StudyEvent]:
    """Yield whether the best of a round was confirmed once it has been measured again, or why not."""
    known = {(pool.name, pool.round): pool.confirmation for pool in before.pools} if before is not None else {}
    for pool in after.pools:
        now, was = pool.confirmation, known.get((pool.name, pool.round))
        if now is not None and now.state in _CONFIRMATIONS and (was is None or was.state != now.state):
            message = f"pool {pool.name}, round {pool.round}: {now.message}"
            yield StudyEvent(type=_CONFIRMATIONS[now.state], reason=now.state, message=message, is_unique=True)


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
    generation = None if event.is_unique else metadata.get("generation")
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
