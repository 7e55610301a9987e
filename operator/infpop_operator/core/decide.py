"""Decide what a study does next.

The control loop of a study as one pure function. It reads no clock, draws no unseeded random number and does no I/O:
the local driver and the operator pass it their observations and execute its decision. A study can therefore be
replayed from its history alone, and a driver that restarts at any time continues as if it had never stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from infpop_operator.core import budget
from infpop_operator.core.comparability import reject_incomparable
from infpop_operator.core.engine_args import engine_settings
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.history import broken_reason, broken_runs_in_a_row, current_round, runs_of
from infpop_operator.core.model import (
    HELD,
    NO_ROOM,
    QUEUED,
    Decision,
    EndedRun,
    Finished,
    Hardware,
    HeldGPUs,
    History,
    Lost,
    Observation,
    Round,
    Run,
    Running,
    SetAside,
    StartedRun,
    Verdict,
    Waiting,
)
from infpop_operator.core.no_result import why_no_best
from infpop_operator.core.plan import PoolPlan, leaves_queue, plan_pool
from infpop_operator.core.recommend import best_of_pool, best_of_study
from infpop_operator.core.run_spec import pool_named
from infpop_operator.core.scope import earlier_best
from infpop_operator.core.study import Pool, Study

SUSPENDED = "Suspended"
BUDGET_LOWERED = "BudgetLowered"  # the study stops a run above a limit of GPUs that was lowered while it ran
TERMINATING = "Terminating"  # the study waits for the end of runs that it is stopping


def decide(
    study: Study,
    history: History,
    observations: Mapping[str, Observation],
    now: datetime,
    *,
    held: Sequence[HeldGPUs] = (),
) -> Decision:
    """Return what to do next, and the history with all observations applied.

    Args:
        study: the study as the user specifies it now.
        history: the recorded history; runs in `history.active` without an observation are taken as unchanged.
        observations: run name -> its newest observation.
        now: the time of the observations, timezone-aware.
        held: GPUs that are held for runs; those of runs that have ended count in the budget until they are released.
    """
    history = _open_rounds(study, absorb(history, observations))
    exhausted = budget.exhausted(study, history, now)
    history = stop_runs(history, _unwanted(study, history, exhausted), now)
    held = budget.beyond_live_runs(held, history.active)
    above = budget.above_limit(study, history.active)
    history = stop_runs(history, {started.run.name: BUDGET_LOWERED for started in above}, now)
    history = stop_runs(history, _held_back(study, history, observations, now), now)
    plans = {pool.name: plan_pool(study, pool, history, now) for pool in study.pools}
    starts = () if exhausted or study.suspended else _starts(study, history, plans, now, held)
    verdict, reason, message = _verdict(study, history, starts, plans, exhausted, now=now, held=held)
    goes_on = verdict in (Verdict.RUNNING, Verdict.WAITING)
    return Decision(
        history=history,
        start=starts,
        verdict=verdict,
        reason=reason,
        message=message,
        wake_at=budget.wake_at(study, history, starts, now) if goes_on else None,
        reasons_by_pool={name: plan.ended for name, plan in plans.items() if plan.ended is not None},
        needs_change=verdict is Verdict.STALLED and exhausted is not None and exhausted.stalls,
        set_aside={name: plan.set_aside for name, plan in plans.items() if plan.set_aside},
    )


def absorb(history: History, observations: Mapping[str, Observation]) -> History:
    """Return the history with the runs that were observed to end moved to `ended`, in the order of their start."""
    ended, active = list(history.ended), []
    for started in history.active:
        match observations.get(started.run.name):
            case Finished() | Lost() as observation:
                seen = reject_incomparable(started.run, _as_stopped(started, observation), ended)
                ended.append(
                    EndedRun(
                        run=started.run,
                        started_at=started.started_at,
                        held_since=seen.ended_at if started.held_since is None else started.held_since,
                        observation=seen,
                        stopped=started.stopping,
                    )
                )
            case Waiting() | Running() | None:
                active.append(started)
    return replace(history, ended=tuple(ended), active=tuple(active))


def _as_stopped(started: StartedRun, observation: Finished | Lost) -> Finished | Lost:
    """Return the observation; a run that the study was stopping keeps its results, or is lost for that reason."""
    if started.stopping is None or (isinstance(observation, Finished) and observation.result.trials):
        return observation
    detail = "its queue did not admit it in time" if started.stopping == QUEUED else ""
    return Lost(reason=started.stopping, detail=detail, ended_at=observation.ended_at, counts=False)


def stop_runs(history: History, reasons: Mapping[str, str], now: datetime) -> History:
    """Return the history with the named runs marked as stopping; a run keeps its first reason.

    Args:
        history: with the runs among its active ones.
        reasons: run name -> why the study stops it.
        now: since when they are stopping.
    """
    active = tuple(
        replace(started, stopping=reasons[started.run.name], stopping_since=now)
        if started.stopping is None and started.run.name in reasons
        else started
        for started in history.active
    )
    return replace(history, active=active)


def _open_rounds(study: Study, history: History) -> History:
    """Return the history with a round of the current identity for each pool, including its observed hardware."""
    rounds = list(history.rounds)
    for pool in study.pools:
        last = current_round(history, pool.name)
        identity = measurement_identity(study, pool)
        if last is None:
            first = Round(pool=pool.name, number=1, identity=identity, baseline=study.baseline)
            rounds.append(_with_hardware_and_engine(first, study, pool))
        elif last.identity != identity and _is_better_known(study, history, pool, last):
            same = replace(last, identity=identity, before=last.identity)
            rounds[rounds.index(last)] = _with_hardware_and_engine(same, study, pool)
        elif last.identity != identity:
            rounds.append(_with_hardware_and_engine(_next_round(study, history, pool, last, identity), study, pool))
        else:
            rounds[rounds.index(last)] = _with_hardware_and_engine(last, study, pool)
    return replace(history, rounds=tuple(rounds))


def _is_better_known(study: Study, history: History, pool: Pool, last: Round) -> bool:
    """Return whether only more is known about the nodes of the round, and nothing was measured in it before that."""
    if pool.known_as is None or measurement_identity(study, replace(pool, fingerprint=pool.known_as)) != last.identity:
        return False
    return not any(
        isinstance(ended.observation, Finished) and ended.observation.result.trials
        for ended in runs_of(history.ended, last)
    )


def _with_hardware_and_engine(entry: Round, study: Study, pool: Pool) -> Round:
    """Return the round with the last observed hardware and the engine settings; its identity determines the rest."""
    hardware = Hardware(fingerprint=pool.fingerprint, gpu_model=pool.gpu_model, device_count=pool.device_count)
    return replace(entry, hardware=hardware, engine=engine_settings(study, pool))


def _next_round(study: Study, history: History, pool: Pool, last: Round, identity: str) -> Round:
    """Return the round after `last`; its baseline is the best configuration until now."""
    best = best_of_pool(study, pool, history)
    baseline = best.configuration if best is not None else earlier_best(last)
    return Round(pool=pool.name, number=last.number + 1, identity=identity, baseline=baseline)


def _unwanted(study: Study, history: History, exhausted: budget.Exhausted | None) -> dict[str, str]:
    """Return the runs to stop, by name, each with the reason.

    A run of an older round or of a removed pool measures what the user no longer wants. A pause or a spent budget frees
    all GPUs.
    """
    pools = {pool.name for pool in study.pools}
    reasons: dict[str, str] = {}
    for started in history.active:
        current = current_round(history, started.run.pool)
        if started.run.pool not in pools or current is None or current.number != started.run.round:
            reasons[started.run.name] = "Superseded"
        elif study.suspended:
            reasons[started.run.name] = SUSPENDED
        elif exhausted is not None and exhausted.stops_runs:
            reasons[started.run.name] = exhausted.reason
    return reasons


def _held_back(
    study: Study, history: History, observations: Mapping[str, Observation], now: datetime
) -> dict[str, str]:
    """Return the runs to stop because their queue has held them back for too long, by name, with the reason."""
    queued = (
        started
        for started in history.active
        if (seen := observations.get(started.run.name)) is not None
        and isinstance(seen, Waiting)
        and seen.reason == QUEUED
        and started.stopping is None
    )
    return {
        started.run.name: QUEUED
        for started in queued
        if leaves_queue(study, pool_named(study, started.run.pool), history, started, now)
    }


def _starts(
    study: Study, history: History, plans: Mapping[str, PoolPlan], now: datetime, held: Sequence[HeldGPUs]
) -> tuple[Run, ...]:
    """Return the runs to start now: one per pool in turn, the pool with the fewest live runs first."""
    starts: list[Run] = []
    while (run := _next_run(study, history, plans, now, held)) is not None:
        starts.append(run)
        history = replace(history, active=(*history.active, StartedRun(run=run, started_at=now)))
        plans = {**plans, run.pool: plan_pool(study, pool_named(study, run.pool), history, now)}
    return tuple(starts)


def _next_run(
    study: Study, history: History, plans: Mapping[str, PoolPlan], now: datetime, held: Sequence[HeldGPUs]
) -> Run | None:
    live = [started.run.pool for started in history.active]
    for pool in sorted(study.pools, key=lambda pool: live.count(pool.name)):
        run, paused = plans[pool.name].next_run, budget.pause_end(history, pool.name, now) is not None
        if run is not None and not paused and budget.has_room(study, history, run, held):
            return run
    return None


def _verdict(
    study: Study,
    history: History,
    starts: tuple[Run, ...],
    plans: Mapping[str, PoolPlan],
    exhausted: budget.Exhausted | None,
    *,
    now: datetime,
    held: Sequence[HeldGPUs],
) -> tuple[Verdict, str, str]:
    stopping = [started for started in history.active if started.stopping is not None]
    wanted = len(history.active) - len(stopping) + len(starts)
    ending = f"{_count_runs(len(stopping))} ending{_why_lowered(study, stopping)}"
    if wanted:
        progress = f"{_count_runs(wanted)} in progress"
        return (Verdict.RUNNING, "Measuring", f"{progress}, {ending}" if stopping else progress)
    if stopping:
        return _while_stopping(study, exhausted, ending)
    return _without_runs(study, history, plans, exhausted, now=now, held=held)


def _why_lowered(study: Study, stopping: Sequence[StartedRun]) -> str:
    """Return how many of the ending runs are above a limit of GPUs that was lowered; empty if none is."""
    above = sum(started.stopping == BUDGET_LOWERED for started in stopping)
    if not above:
        return ""
    limit = study.budget.max_concurrent_gpus
    return f" ({above} above spec.budget.maxConcurrentGPUs, now {limit}; what they miss is measured later)"


def _count_gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"


def _count_runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _while_stopping(study: Study, exhausted: budget.Exhausted | None, ending: str) -> tuple[Verdict, str, str]:
    """Return the verdict while the last runs stop: each may still leave a result, so the study has not ended."""
    if study.suspended:
        return (Verdict.WAITING, SUSPENDED, f"spec.suspend is true: {ending}")
    message = ending if exhausted is None else f"{exhausted.message}; {ending}"
    return (Verdict.RUNNING, TERMINATING, message)


def _without_runs(
    study: Study,
    history: History,
    plans: Mapping[str, PoolPlan],
    exhausted: budget.Exhausted | None,
    *,
    now: datetime,
    held: Sequence[HeldGPUs],
) -> tuple[Verdict, str, str]:
    goes_on = exhausted is None and any(plan.next_run or plan.waits_for for plan in plans.values())
    if goes_on and study.suspended:
        return (Verdict.WAITING, SUSPENDED, "spec.suspend is true: no run starts until it is false")
    if goes_on:
        return (Verdict.WAITING, *_why_waiting(study, history, plans, now, held))
    if exhausted is not None and exhausted.stalls:
        return (Verdict.STALLED, exhausted.reason, exhausted.message)
    reason, message = _end_of_search(plans, exhausted)
    if best_of_study(study, history) is not None:
        return (Verdict.SUCCEEDED, reason, message)
    set_aside = {name: plan.set_aside for name, plan in plans.items()}
    cause, why = why_no_best(study, history, set_aside)
    return (Verdict.STALLED, cause, f"{why}; {message}")


def _why_waiting(
    study: Study, history: History, plans: Mapping[str, PoolPlan], now: datetime, held: Sequence[HeldGPUs]
) -> tuple[str, str]:
    """Return what the study waits for while no run is live: a pause, GPUs that are still held, or room on a pool."""
    goes_on = [pool for pool, plan in plans.items() if plan.next_run is not None or plan.waits_for is not None]
    for pool in goes_on:
        ends, broken = budget.pause_end(history, pool, now), next(broken_runs_in_a_row(history, pool), None)
        if broken is not None and ends is not None:
            reason = (broken_reason(broken) or ("",))[0]
            return (reason, f"the next attempt is at {_clock(ends, now)}; run {broken.run.name} on pool {pool} broke")
    wanted = {pool: plan.next_run for pool, plan in plans.items() if plan.next_run is not None}
    if not wanted:
        blocked = {pool: plan.waits_for for pool, plan in plans.items() if plan.waits_for is not None}
        return _why_unplaced(*min(blocked.items(), key=lambda item: item[1].next_attempt or now), now)
    pool, run = next(iter(wanted.items()))
    if held and any(budget.has_room(study, history, wish) for wish in wanted.values()):
        holders = ", ".join(entry.holder for entry in held)
        return (HELD, f"{holders}: the next run starts when the budget has room for it")
    return (NO_ROOM, f"pool {pool} has no node for a run of {_count_gpus(run.gpu_count)} now")


def _clock(instant: datetime | None, now: datetime) -> str:
    """Return a time for a message, with its date if that is not today's."""
    if instant is None:
        return "an unknown time"
    return f"{instant:%H:%M:%S %Z}" if instant.date() == now.date() else f"{instant:%Y-%m-%d %H:%M:%S %Z}"


def _why_unplaced(pool: str, blocked: SetAside, now: datetime) -> tuple[str, str]:
    runs = f"{_count_runs(blocked.attempts)} of {_count_gpus(blocked.gpu_count)} on pool {pool}"
    message = f"the next attempt is at {_clock(blocked.next_attempt, now)}; {runs} found no devices"
    return (blocked.reason, f"{message}: {blocked.detail}" if blocked.detail else message)


def _end_of_search(plans: Mapping[str, PoolPlan], exhausted: budget.Exhausted | None) -> tuple[str, str]:
    if exhausted is not None:
        return (exhausted.reason, exhausted.message)
    reasons = {plan.ended for plan in plans.values() if plan.ended is not None}
    message = ", ".join(f"pool {name}: {plan.ended}" for name, plan in plans.items())
    return (reasons.pop() if len(reasons) == 1 else "SearchEnded", message)
