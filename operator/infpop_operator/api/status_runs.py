"""Build the rows of a status that show its live runs."""

from collections.abc import Sequence
from datetime import datetime

from infpop_operator.api.clip import clip
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import LiveRun
from infpop_operator.api.status_values import MESSAGE_BYTES
from infpop_operator.core.model import History, Observation, Run, Running, StartedRun, Waiting

MAX_LIVE_RUNS = 64


def live_rows(history: History, context: StatusContext, now: datetime, previous: Sequence[LiveRun]) -> list[LiveRun]:
    """Return the rows of the live runs; a run whose state did not change keeps its time."""
    before = {row.name: row for row in previous}
    return [
        _live_row(entry, context.observations.get(entry.run.name), now, before.get(entry.run.name))
        for entry in history.active[:MAX_LIVE_RUNS]
    ]


def _live_row(entry: StartedRun, seen: Observation | None, now: datetime, before: LiveRun | None) -> LiveRun:
    state, detail = _state(seen)
    return LiveRun(
        name=entry.run.name,
        pool=entry.run.pool,
        gpu_count=entry.run.gpu_count,
        batch_sizes=[trial.configuration.batch_size for trial in entry.run.sequence],
        batch_size=_batch_at_work(entry.run, seen),
        confirms=entry.run.confirms or None,
        state=state,
        message=clip(detail, MESSAGE_BYTES) or None,
        since=before.since if before is not None and before.state == state else now,
    )


def _batch_at_work(run: Run, seen: Observation | None) -> int | None:
    if not isinstance(seen, Running) or len(run.trials) == 1:
        return None
    return next((trial.configuration.batch_size for trial in run.trials if trial.index == seen.trial_index), None)


def _state(seen: Observation | None) -> tuple[str, str]:
    match seen:
        case Waiting(reason=reason, detail=detail):
            return reason, detail
        case Running(phase=phase):
            return phase.value, ""
        case _:
            return "Starting", ""
