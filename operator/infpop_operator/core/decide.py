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
from infpop_operator.core.confirmation_progress import confirmation_progress, in_words
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.history import current_round, round_of, runs_of
from infpop_operator.core.model import (
    BUDGET_LOWERED,
    POOL_CHANGED,
    QUEUED,
    SUSPENDED,
    EndedRun,
    Finished,
    HeldGPUs,
    History,
    Lost,
    Observation,
    Round,
    Run,
    Running,
    StartedRun,
    Waiting,
)
from infpop_operator.core.plan import PoolPlan, leaves_queue, plan_pool
from infpop_operator.core.retune import Retuned, retune
from infpop_operator.core.reuse import SharedRun, take_over
from infpop_operator.core.run_spec import pool_named
from infpop_operator.core.study import Pool, Study
from infpop_operator.core.verdict import Situation, verdict_of

SUPERSEDED = "Superseded"  # the study stops a run whose round or pool is no longer the one to measure


def decide(
    study: Study,
    history: History,
    observations: Mapping[str, Observation],
    now: datetime,
    *,
    held: Sequence[HeldGPUs] = (),
    shared: Sequence[SharedRun] = (),
) -> Decision:
    """Return what to do next, and the history with all observations applied.

    Args:
        study: the study as the user specifies it now.
        history: the recorded history; runs in `history.active` without an observation are taken as unchanged.
        observations: run name -> its newest observation.
        now: the time of the observations, timezone-aware.
        held: GPUs that are held for runs; those of runs that have ended count in the budget until they are released.
        shared: runs of other studies whose results this one may take over.
    """
    retuned = retune(study, absorb(history, observations), now)
    history = retuned.history
    exhausted = budget.exhausted(study, history, now)
    history = history if exhausted else take_over(study, history, shared, now)
    history = stop_runs(history, _unwanted(study, history, exhausted), now)
    held = budget.beyond_live_runs(held, history.active)
    above = budget.above_limit(study, history.active)
    history = stop_runs(history, {started.run.name: BUDGET_LOWERED for started in above}, now)
    history = stop_runs(history, _held_back(study, history, observations, now), now)
    plans = {pool.name: _plan(study, pool, retuned, history, now) for pool in study.pools}
    starts = () if exhausted or study.suspended else _starts(study, history, plans, now, held)
    situation = Situation(
        study=study,
        history=history,
        starts=starts,
        plans=plans,
        exhausted=exhausted,
        retuned=retuned,
        now=now,
        held=tuple(held),
    )
    verdict, reason, message = verdict_of(situation)
    goes_on = verdict in (Verdict.RUNNING, Verdict.WAITING)
    confirmations = confirmation_progress(study, history, plans, exhausted, goes_on=goes_on)
    wake_at = budget.wake_at(study, history, starts, now) if goes_on else None
    return Decision(
        history=history,
        start=starts,
        verdict=verdict,
        reason=reason,
        message="; ".join(part for part in (message, in_words(confirmations)) if part),
        wake_at=min((each for each in (wake_at, *retuned.retunes_at.values()) if each is not None), default=None),
        reasons_by_pool=_reasons_by_pool(plans, goes_on=goes_on),
        needs_change=verdict is Verdict.STALLED
        and (reason == POOL_CHANGED or (exhausted is not None and exhausted.stalls)),
        set_aside={name: plan.set_aside for name, plan in plans.items() if plan.set_aside},
        retunes_at=retuned.retunes_at,
        held_changes=retuned.held_changes,
        confirmations=confirmations,
    )


def _reasons_by_pool(plans: Mapping[str, PoolPlan], *, goes_on: bool) -> Mapping[str, str]:
    """Return why the rounds have ended, by pool; once the study has, that of a search is enough."""
    found = {name: plan.ended or (None if goes_on else plan.searched) for name, plan in plans.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def absorb(history: History, observations: Mapping[str, Observation]) -> History:
    """Return the history with the runs that were observed to end moved to `ended`, in the order of their start."""
    ended, active = list(history.ended), []
    for started in history.active:
        match observations.get(started.run.name):
            case Finished() | Lost() as observation:
                entry = round_of(history, started.run)
                end = _as_stopped(started, observation, entry)
                seen = reject_incomparable(started.run, end, ended, None if entry is None else entry.hardware)
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


def _as_stopped(started: StartedRun, observation: Finished | Lost, entry: Round | None) -> Finished | Lost:
    """Return the observation; a run that the study was stopping keeps its results, or is lost for that reason.

    It keeps none that it measured on other hardware than its round's.
    """
    has_results = isinstance(observation, Finished) and observation.result.trials
    if started.stopping is None or (has_results and not _holds_other_hardware(started, entry)):
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


def _unwanted(study: Study, history: History, exhausted: budget.Exhausted | None) -> dict[str, str]:
    """Return the runs to stop, by name, each with the reason.

    A run of an older round or of a removed pool measures what the user no longer wants. A run that held no device when
    its pool changed would measure what its round does not. A pause or a spent budget frees all GPUs.
    """
    pools = {pool.name for pool in study.pools}
    reasons: dict[str, str] = {}
    for started in history.active:
        current = current_round(history, started.run.pool)
        if started.run.pool not in pools or current is None or not _may_go_on(started, current):
            reasons[started.run.name] = SUPERSEDED
        elif study.suspended:
            reasons[started.run.name] = SUSPENDED
        elif exhausted is not None and exhausted.stops_runs:
            reasons[started.run.name] = exhausted.reason
    return reasons


def _may_go_on(started: StartedRun, current: Round) -> bool:
    if started.run.round != current.number:
        return False
    if current.change is None:
        return True
    return started.held_since is not None and not _holds_other_hardware(started, current)


def _holds_other_hardware(started: StartedRun, entry: Round | None) -> bool:
    """Return whether a run got its devices after its pool had changed: it measures what its round does not."""
    since = None if entry is None else entry.other_hardware_since
    return since is not None and started.held_since is not None and started.held_since >= since


def _plan(study: Study, pool: Pool, retuned: Retuned, history: History, now: datetime) -> PoolPlan:
    """Return the plan of a pool; a round that a change of its pool has cut short for good has ended."""
    plan = plan_pool(study, pool, history, now)
    is_held = pool.name in retuned.held_changes and pool.name not in retuned.retunes_at
    newest = current_round(history, pool.name)
    live = newest is not None and any(runs_of(history.active, newest))
    has_changed = newest is not None and newest.change is not None
    return replace(plan, ended=POOL_CHANGED) if is_held and has_changed and not live and plan.ended is None else plan


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
