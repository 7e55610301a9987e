"""Say what a study does as a whole: whether it runs, waits or has ended, and why, in words for the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from infpop_operator.core import budget
from infpop_operator.core.confirmation_progress import CONFIRMING
from infpop_operator.core.decision import TERMINATING, SetAside, Verdict
from infpop_operator.core.history import broken_reason, broken_runs_in_a_row, current_round
from infpop_operator.core.instants import instant_text
from infpop_operator.core.model import (
    BUDGET_LOWERED,
    HELD,
    NO_ROOM,
    POOL_CHANGED,
    SUSPENDED,
    HeldGPUs,
    History,
    Run,
    StartedRun,
)
from infpop_operator.core.no_result import why_no_best
from infpop_operator.core.plan import PoolPlan
from infpop_operator.core.recommend import best_of_pool, best_of_study
from infpop_operator.core.retune import Retuned
from infpop_operator.core.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a verdict depends on: the study, its history with all observations, and what was decided for its pools.

    `starts` are the runs to start, `plans` the plan of each pool by name, `exhausted` the budget that is spent, and
    `held` the GPUs that are held beyond those of live runs.
    """

    study: Study
    history: History
    starts: tuple[Run, ...]
    plans: Mapping[str, PoolPlan]
    exhausted: budget.Exhausted | None
    retuned: Retuned
    now: datetime
    held: tuple[HeldGPUs, ...]


def verdict_of(situation: Situation) -> tuple[Verdict, str, str]:
    """Return the overall state of a study, its reason as a CamelCase word, and a message for the user."""
    study, history, starts = situation.study, situation.history, situation.starts
    stopping = [started for started in history.active if started.stopping is not None]
    wanted = len(history.active) - len(stopping) + len(starts)
    ending = f"{_count_runs(len(stopping))} ending{_why_lowered(study, stopping)}"
    if wanted:
        progress = f"{_count_runs(wanted)} in progress"
        searches = any(not run.confirms for run in (*(each.run for each in history.active), *starts))
        reason = "Measuring" if searches else CONFIRMING
        return (Verdict.RUNNING, reason, f"{progress}, {ending}" if stopping else progress)
    if stopping:
        return _while_stopping(study, situation.exhausted, ending)
    return _without_runs(situation)


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


def _without_runs(situation: Situation) -> tuple[Verdict, str, str]:
    plans = situation.plans
    retunes_at = {name: at for name, at in situation.retuned.retunes_at.items() if plans[name].ended is None}
    has_runs = any(plan.next_run or plan.waits_for for plan in plans.values())
    goes_on = situation.exhausted is None and (has_runs or bool(retunes_at))
    if goes_on and situation.study.suspended:
        return (Verdict.WAITING, SUSPENDED, "spec.suspend is true: no run starts until it is false")
    if goes_on and not has_runs:
        return (Verdict.WAITING, POOL_CHANGED, _why_changed(situation.history, retunes_at, situation.now))
    if goes_on:
        return (Verdict.WAITING, *_why_waiting(situation))
    return _at_end(situation)


def _at_end(situation: Situation) -> tuple[Verdict, str, str]:
    """Return the verdict of a study that starts no more runs and waits for nothing."""
    study, history, plans, exhausted = situation.study, situation.history, situation.plans, situation.exhausted
    if exhausted is not None and exhausted.stalls:
        if not all(plan.searched for plan in plans.values()) or best_of_study(study, history) is None:
            return (Verdict.STALLED, exhausted.reason, exhausted.message)
        exhausted = None  # only measuring the best again has used up the budget: the search has its result
    cut_short = [name for name, plan in plans.items() if plan.ended == POOL_CHANGED]
    if cut_short and exhausted is None and not _has_result_without(study, history, cut_short):
        held_back = "; ".join(f"pool {name}: {situation.retuned.held_changes[name]}" for name in cut_short)
        return (Verdict.STALLED, POOL_CHANGED, held_back)
    reason, message = _end_of_search(plans, exhausted)
    if best_of_study(study, history) is not None:
        return (Verdict.SUCCEEDED, reason, message)
    set_aside = {name: plan.set_aside for name, plan in plans.items()}
    cause, why = why_no_best(study, history, set_aside)
    return (Verdict.STALLED, cause, why if cause == reason else f"{why}; {message}")


def _has_result_without(study: Study, history: History, pools: Sequence[str]) -> bool:
    """Return whether a pool other than `pools` has a best in its newest round."""
    others = (pool for pool in study.pools if pool.name not in pools)
    return any(best_of_pool(study, pool, history) is not None for pool in others)


def _why_changed(history: History, retunes_at: Mapping[str, datetime], now: datetime) -> str:
    """Return which pool has changed, and when its next round starts: the first of them."""
    name, at = min(retunes_at.items(), key=lambda item: item[1])
    newest = current_round(history, name)
    what = "" if newest is None or newest.change is None else f" has changed ({', '.join(newest.change.what)})"
    return f"pool {name}{what}: its next round starts at {instant_text(at, now)} if it stays so"


def _why_waiting(situation: Situation) -> tuple[str, str]:
    """Return what the study waits for while no run is live: a pause, GPUs that are still held, or room on a pool."""
    study, history, plans, now = situation.study, situation.history, situation.plans, situation.now
    goes_on = [pool for pool, plan in plans.items() if plan.next_run is not None or plan.waits_for is not None]
    for pool in goes_on:
        ends, broken = budget.pause_end(history, pool, now), next(broken_runs_in_a_row(history, pool), None)
        if broken is not None and ends is not None:
            reason = (broken_reason(broken) or ("",))[0]
            return (
                reason,
                f"the next attempt is at {instant_text(ends, now)}; run {broken.run.name} on pool {pool} broke",
            )
    wanted = {pool: plan.next_run for pool, plan in plans.items() if plan.next_run is not None}
    if not wanted:
        blocked = {pool: plan.waits_for for pool, plan in plans.items() if plan.waits_for is not None}
        return _why_unplaced(*min(blocked.items(), key=lambda item: item[1].next_attempt or now), now)
    pool, run = next(iter(wanted.items()))
    if situation.held and any(budget.has_room(study, history, wish) for wish in wanted.values()):
        holders = ", ".join(entry.holder for entry in situation.held)
        return (HELD, f"{holders}: the next run starts when the budget has room for it")
    return (NO_ROOM, f"pool {pool} has no node for a run of {_count_gpus(run.gpu_count)} now")


def _why_unplaced(pool: str, blocked: SetAside, now: datetime) -> tuple[str, str]:
    runs = f"{_count_runs(blocked.attempts)} of {_count_gpus(blocked.gpu_count)} on pool {pool}"
    message = f"the next attempt is at {instant_text(blocked.next_attempt, now)}; {runs} found no devices"
    return (blocked.reason, f"{message}: {blocked.detail}" if blocked.detail else message)


def _end_of_search(plans: Mapping[str, PoolPlan], exhausted: budget.Exhausted | None) -> tuple[str, str]:
    if exhausted is not None:
        return (exhausted.reason, exhausted.message)
    found = (plan.ended or plan.searched for plan in plans.values())
    reasons = {reason for reason in found if reason is not None}
    message = ", ".join(f"pool {name}: {_why_ended(plan)}" for name, plan in plans.items())
    return (reasons.pop() if len(reasons) == 1 else "SearchEnded", message)


def _why_ended(plan: PoolPlan) -> str:
    reason = plan.ended or plan.searched
    return f"{reason} ({plan.ended_detail})" if plan.ended_detail else str(reason)
