"""Determine what a study may still spend, and when that changes.

All study-wide limits on starting and keeping runs are in this module, so that no code path can overspend. The trial
budget per pool and round belongs to the search and is in `core.plan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.core import placement
from infpop_operator.core.history import (
    active_gpus,
    broken_reason,
    broken_runs_in_a_row,
    current_round,
    failures,
    gpu_seconds,
    own_runs_of,
)
from infpop_operator.core.load_failures import free_failures, has_loaded
from infpop_operator.core.model import (
    DEADLINE_REACHED,
    GPU_HOURS_SPENT,
    EndedRun,
    Finished,
    HeldGPUs,
    History,
    Run,
    StartedRun,
)
from infpop_operator.core.run_spec import pool_named
from infpop_operator.core.study import Study
from infpop_runner.contract import Retry

TOO_MANY_FAILURES = "TooManyFailures"  # the reason of a study that spent its failure budget
_LONGEST_PAUSE = timedelta(minutes=6)  # the cap of its back-off
_PAUSE_FOR_OTHERS = timedelta(minutes=1)  # the first one for a hub or volume: the hub counts requests in 5 minutes
_LASTING_COUNTS = 6  # a cause that stays until a person acts uses up the default failure budget at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """A study-wide budget is spent.

    `field` is the field of the spec that limits it. `stops_runs`: the study stops its live runs. `stalls`: the study
    needs its user, whatever it has found so far.
    """

    reason: str
    message: str
    field: str
    stops_runs: bool
    stalls: bool = False


def exhausted(study: Study, history: History, now: datetime) -> Exhausted | None:
    """Return the first study-wide budget that is spent, None while none is."""
    budget = study.budget
    for_good = spent(study, history, now)
    if for_good is not None:
        return for_good
    failed = failures(history)
    if not failed:
        return None
    free = free_failures(study, history)
    broken = [entry for entry in failed if entry.run.name not in free]
    lasting = [entry for entry in failed if _retry_of(entry) == "never"]
    if len(lasting) * _LASTING_COUNTS > budget.max_failed_trials and _breaks_every_run(study, history, lasting):
        return _lasting(lasting)
    if len(broken) > budget.max_failed_trials:
        runs = f"{len(broken)} run{'s' if len(broken) > 1 else ''}"
        message = (
            f"{runs} broke, more than spec.budget.maxFailedTrials {budget.max_failed_trials};"
            f" last: {_why(broken[-1])}. Fix the cause and raise spec.budget.maxFailedTrials to continue"
        )
        return Exhausted(
            reason=TOO_MANY_FAILURES,
            message=message,
            field="spec.budget.maxFailedTrials",
            stops_runs=False,
            stalls=True,
        )
    return None


def spent(study: Study, history: History, now: datetime) -> Exhausted | None:
    """Return the first budget that is spent for all rounds of the study, also those to come; None while none is."""
    budget = study.budget
    if budget.deadline is not None and now >= history.started_at + budget.deadline:
        return Exhausted(
            reason=DEADLINE_REACHED,
            message=f"the deadline of {budget.deadline} has passed",
            field="spec.budget.deadline",
            stops_runs=True,
        )
    if budget.max_gpu_hours is not None and gpu_seconds(history, now) >= budget.max_gpu_hours * 3600:
        return Exhausted(
            reason=GPU_HOURS_SPENT,
            message=f"{budget.max_gpu_hours:g} GPU-hours are spent",
            field="spec.budget.maxGPUHours",
            stops_runs=True,
        )
    return None


def _breaks_every_run(study: Study, history: History, lasting: Sequence[EndedRun]) -> bool:
    """Return whether nothing has been loaded, and neither the pool nor an extra parameter may be the reason."""
    rounds = [newest for pool in study.pools if (newest := current_round(history, pool.name)) is not None]
    if any(has_loaded(entry) for newest in rounds for entry in own_runs_of(history.ended, newest)):
        return False
    pools = {entry.run.pool for entry in lasting}
    tried = {each for entry in lasting for each in entry.run.trials[0].configuration.extra}
    return all(pool.name in pools for pool in study.pools) and all(
        sum((parameter.name, value) in tried for value in parameter.values) >= min(2, len(parameter.values))
        for parameter in study.space.extra
    )


def _lasting(broken: Sequence[EndedRun]) -> Exhausted:
    """Return the stop after a failure whose cause stays, which would break the run of any configuration."""
    message = (
        f"every run would break: {_why(broken[-1])}. Fix the cause and set spec.budget.maxFailedTrials to"
        f" {len(broken) * _LASTING_COUNTS} to continue"
    )
    reason, _ = broken_reason(broken[-1]) or (TOO_MANY_FAILURES, "")
    return Exhausted(reason=reason, message=message, field="spec.budget.maxFailedTrials", stops_runs=False, stalls=True)


def _retry_of(ended: EndedRun) -> Retry | None:
    """Return whether waiting helps after a broken run, None if its runner did not say."""
    match ended.observation:
        case Finished(result=result) if result.broken is not None:
            return result.broken.retry
        case _:
            return None


def has_room(study: Study, history: History, run: Run, held: Sequence[HeldGPUs] = ()) -> bool:
    """Return whether the budget and the pool allow starting `run` in addition to the live runs.

    Args:
        study: the study.
        history: its history, with the live runs.
        run: the run to start.
        held: GPUs that are held in addition to those of the live runs.
    """
    limit = study.budget
    if len(history.active) >= limit.parallel_trials:
        return False
    others = sum(entry.gpu_count for entry in held)
    if active_gpus(history.active) + others + run.gpu_count > limit.max_concurrent_gpus:
        return False
    pool = pool_named(study, run.pool)
    if pool.usable_device_count is not None and run.gpu_count > pool.usable_device_count:
        return False
    devices = pool.total_device_count
    on_pool = tuple(started for started in history.active if started.run.pool == run.pool)
    others_on_pool = sum(entry.gpu_count for entry in held if entry.pool == run.pool)
    return devices is None or active_gpus(on_pool) + others_on_pool + run.gpu_count <= devices


def beyond_live_runs(held: Sequence[HeldGPUs], active: tuple[StartedRun, ...]) -> tuple[HeldGPUs, ...]:
    """Return what is held in addition to the GPUs of the live runs: by runs that ended, or by a second Pod of a run."""
    needed = {started.run.name: started.run.gpu_count for started in active}
    return tuple(
        replace(entry, gpu_count=entry.gpu_count - needed.get(entry.run or "", 0))
        for entry in held
        if entry.gpu_count > needed.get(entry.run or "", 0)
    )


def above_limit(study: Study, active: tuple[StartedRun, ...]) -> tuple[StartedRun, ...]:
    """Return the live runs above a limit of GPUs that was lowered while they ran; the oldest runs fit first.

    Runs that are already stopping are left out: they hold their devices until they have ended, whatever the limit is.
    """
    gpus = 0
    above = []
    for started in active:
        if started.stopping is not None:
            continue
        if gpus + started.run.gpu_count > study.budget.max_concurrent_gpus:
            above.append(started)
        else:
            gpus += started.run.gpu_count
    return tuple(above)


def retry_at(history: History, pool: str) -> datetime | None:
    """Return when the pause after broken runs of `pool` ends, None without a pause.

    The first retry is immediate, unless the run broke for a hub or a volume that needs time. From the second
    consecutive broken run on, each pause is twice the previous one. A loss that uses no budget (a preemption) also
    causes a pause: nothing else limits how often it is retried.
    """
    broken = tuple(broken_runs_in_a_row(history, pool))
    if not broken:
        return None
    if _retry_of(broken[0]) == "later":
        first, doublings = _PAUSE_FOR_OTHERS, len(broken) - 1
    elif len(broken) > 1:
        first, doublings = placement.FIRST_PAUSE, len(broken) - 2
    else:
        return None
    return broken[0].observation.ended_at + min(first * (1 << min(doublings, 20)), _LONGEST_PAUSE)


def pause_end(history: History, pool: str, now: datetime) -> datetime | None:
    """Return when the current pause after broken runs of `pool` ends, None without one.

    An end that is further away than the longest pause comes from a clock that was set back since: then there is none.
    """
    ends = retry_at(history, pool)
    return ends if ends is not None and now < ends <= now + _LONGEST_PAUSE else None


def wake_at(study: Study, history: History, starts: tuple[Run, ...], now: datetime) -> datetime | None:
    """Return the next time at which the decision changes without a new observation, None if there is none."""
    active = (*history.active, *(StartedRun(run=run, started_at=now, held_since=now) for run in starts))
    instants = [instant for pool in study.pools if (instant := pause_end(history, pool.name, now)) is not None]
    instants += placement.instants(study, history)
    if study.budget.deadline is not None:
        instants.append(history.started_at + study.budget.deadline)
    holding = tuple(entry for entry in active if entry.held_since is not None)
    if study.budget.max_gpu_hours is not None and holding:
        left = study.budget.max_gpu_hours * 3600 - gpu_seconds(history, now)
        if left > 0:
            # A microsecond later: rounded down, the time would repeatedly find the budget not quite spent.
            instants.append(now + timedelta(seconds=left / active_gpus(holding), microseconds=1))
    return min((instant for instant in instants if instant > now), default=None)


def _why(broken: EndedRun) -> str:
    reason, detail = broken_reason(broken) or ("", "")
    return f"{reason}: {detail}" if detail else reason
