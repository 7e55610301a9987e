"""What a study may still spend, and when that changes.

Starts are refused and runs are ended here and nowhere else, so that no path can overspend. The budget of trials per
pool and round belongs to the search and is in `core.plan`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from infpop_operator.core.history import active_gpus, broken_reason, broken_runs_in_a_row, failures, gpu_seconds
from infpop_operator.core.model import EndedRun, History, Run, StartedRun, Study
from infpop_operator.core.run_spec import pool_named

RETRIES_PER_TRIAL = 2  # one flaky node costs a retry; a configuration that kills three engines costs no fourth
RETRIES_AFTER_DELETION = 1  # who deletes a run twice means it
_FIRST_PAUSE = timedelta(seconds=10)  # the Job controller's own first back-off
_LONGEST_PAUSE = timedelta(minutes=6)  # and its cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """A budget of the whole study is spent.

    `stops_runs`: live runs end now. `stalls`: the study needs a person, whatever it has found so far.
    """

    reason: str
    message: str
    stops_runs: bool
    stalls: bool = False


def exhausted(study: Study, history: History, now: datetime) -> Exhausted | None:
    """Return the first budget of the whole study that is spent, None while all have room."""
    budget = study.budget
    if budget.deadline is not None and now >= history.started_at + budget.deadline:
        return Exhausted(
            reason="DeadlineReached", message=f"the deadline of {budget.deadline} is over", stops_runs=True
        )
    if budget.max_gpu_hours is not None and gpu_seconds(history, now) >= budget.max_gpu_hours * 3600:
        message = f"{budget.max_gpu_hours:g} GPU-hours are spent"
        return Exhausted(reason="GPUHoursSpent", message=message, stops_runs=True)
    broken = failures(history)
    if len(broken) > budget.max_failed_trials:
        runs = f"{len(broken)} run{'s' if len(broken) > 1 else ''}"
        message = (
            f"{runs} broke, more than spec.budget.maxFailedTrials {budget.max_failed_trials};"
            f" last: {_why(broken[-1])}. Mend the cause and raise spec.budget.maxFailedTrials to go on"
        )
        return Exhausted(reason="TooManyFailures", message=message, stops_runs=False, stalls=True)
    return None


def has_room(study: Study, history: History, run: Run) -> bool:
    """Say whether `run` can be started beside the live ones."""
    limit = study.budget
    if len(history.active) >= limit.parallel_trials:
        return False
    if active_gpus(history.active) + run.gpu_count > limit.max_concurrent_gpus:
        return False
    devices = pool_named(study, run.pool).total_device_count
    on_pool = tuple(started for started in history.active if started.run.pool == run.pool)
    return devices is None or active_gpus(on_pool) + run.gpu_count <= devices


def retry_at(history: History, pool: str) -> datetime | None:
    """Return when the pause after broken runs of `pool` is over, None without a pause.

    The first retry comes at once; from the second broken run in a row on, each pause is twice the one before. A loss
    that uses no budget (a preemption) pauses as well: nothing else would keep it from being tried without end.
    """
    broken = tuple(broken_runs_in_a_row(history, pool))
    if len(broken) < 2:  # noqa: PLR2004 - the first retry needs no pause
        return None
    pause = min(_FIRST_PAUSE * (1 << min(len(broken) - 2, 20)), _LONGEST_PAUSE)
    return broken[0].observation.ended_at + pause


def wake_at(study: Study, history: History, starts: tuple[Run, ...], now: datetime) -> datetime | None:
    """Return the next instant at which time alone changes the decision, None when there is none."""
    active = (*history.active, *(StartedRun(run=run, started_at=now, held_since=now) for run in starts))
    instants = [instant for pool in study.pools if (instant := retry_at(history, pool.name)) is not None]
    if study.budget.deadline is not None:
        instants.append(history.started_at + study.budget.deadline)
    if study.budget.max_gpu_hours is not None and active:
        left = study.budget.max_gpu_hours * 3600 - gpu_seconds(history, now)
        if left > 0:
            # A microsecond later: rounded down, the instant would find the budget not quite spent, again and again.
            instants.append(now + timedelta(seconds=left / active_gpus(active), microseconds=1))
    return min((instant for instant in instants if instant > now), default=None)


def _why(broken: EndedRun) -> str:
    reason, detail = broken_reason(broken) or ("", "")
    return f"{reason}: {detail}" if detail else reason
