"""Plan the next run of one pool's round: first a retry, then the baseline, then the proposal of the search.

A GPU count that has no devices now yields to the other ones (`core.placement`), and so does a load that failed while
nothing has worked yet (`core.load_failures`, `core.rejections`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from infpop_operator.core import placement
from infpop_operator.core.contest import Confirmation
from infpop_operator.core.decision import SetAside
from infpop_operator.core.history import (
    current_round,
    runs_of,
)
from infpop_operator.core.model import BUDGET_LOWERED, HAS_WORKED, NO_ROOM, History, Round, Run, StartedRun
from infpop_operator.core.plan_confirmation import confirming_run, search_is_live, with_confirmation
from infpop_operator.core.plan_end import end_detail, waits_for_results, why_ended
from infpop_operator.core.plan_proposal import proposal
from infpop_operator.core.plan_retry import retry_run
from infpop_operator.core.plan_view import View, retryable, view_of
from infpop_operator.core.rejections import is_rejected, least_alike
from infpop_operator.core.study import Configuration, Pool, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """The next run of a pool's round, or why the round ended. Both are None while it waits for live runs.

    `ended_detail` says in words what the reason leaves open. `waits_for` is what the round waits for if no live run is
    the reason. `set_aside` are the cells not tried now. On a pool that has changed (`Round.change`) no run of the round
    starts.

    Once the search has ended for the reason `searched`, the round goes on while it measures its best again, which is as
    far as `confirmation` says. `unconfirmed` says why it has given that up.
    """

    next_run: Run | None = None
    ended: str | None = None
    ended_detail: str = ""
    searched: str | None = None
    confirmation: Confirmation | None = None
    unconfirmed: tuple[str, str] | None = None
    waits_for: SetAside | None = None
    set_aside: tuple[SetAside, ...] = ()


def plan_pool(study: Study, pool: Pool, history: History, now: datetime, *, asks_search: bool = True) -> PoolPlan:
    """Return the next run of the newest round of `pool`, assuming that the study-wide budgets allow it.

    Without `asks_search` it has no run that the search would have to choose: for a caller that only wants to know
    whether the round has ended.

    Raises:
        ValueError: the pool has no round yet.
    """
    newest = current_round(history, pool.name)
    if newest is not None and newest.change is not None:
        view = view_of(study, _as_measured(pool, newest), history)
        ended = _plan(view, now, asks_search=False).ended
        again = None if ended is None else with_confirmation(view).again
        detail = end_detail(view, ended)
        return PoolPlan(ended=ended, ended_detail=detail, searched=ended, confirmation=again)
    view = _view(study, pool, history)
    view = replace(view, yielding=tuple(_yielding(view, now)))
    plan = _plan(view, now, asks_search=asks_search)
    if plan.ended is not None:
        plan = _measure_again(view, plan.ended, now)
    return replace(
        plan,
        ended_detail=end_detail(view, plan.searched),
        set_aside=(*view.yielding, *view.loads.set_aside, *_without_node(view), *view.inherited),
    )


def _view(study: Study, pool: Pool, history: History) -> View:
    view = view_of(study, pool, history)
    return view if why_ended(view) is None else with_confirmation(view)


def _as_measured(pool: Pool, newest: Round) -> Pool:
    """Return the pool with the number of devices that it had in the round, for a pool that has changed since."""
    known = None if newest.hardware is None else newest.hardware.device_count
    return replace(pool, device_count=known, usable_device_count=None, total_device_count=None)


def _plan(view: View, now: datetime, *, asks_search: bool) -> PoolPlan:
    ended = why_ended(view)
    if waits_for_results(view, ended):
        return PoolPlan()
    candidates = _not_yielding(view, view.open_cells) if ended is None else ()
    retries = _not_yielding(view, tuple(trial.configuration for trial in retryable(view)))
    if any(_has_node(view, cell) for cell in (*candidates, *retries)):
        candidates = tuple(cell for cell in candidates if _has_node(view, cell))
        retries = tuple(cell for cell in retries if _has_node(view, cell))
    elif (candidates or retries) and _gives_up_nodes(view, now):
        return PoolPlan(ended=ended or "SpaceExhausted")
    failed, rejected = _without_success(view)
    tried_loads = {tried.load_key for tried in failed}
    untried = tuple(cell for cell in candidates if cell.load_key not in tried_loads)
    retry = retry_run(view, retries, yields_to=untried)
    if retry is not None:
        return PoolPlan(next_run=retry)
    if candidates:
        if not asks_search or len(view.history.active) >= view.study.budget.parallel_trials:
            return PoolPlan()  # asking the search takes up to some 0.3 s, and this function is called often
        return PoolPlan(next_run=proposal(view, _preferred(view, candidates, failed, rejected)))
    return _wait_or_end(view, ended)


def _preferred(
    view: View,
    candidates: tuple[Configuration, ...],
    failed: frozenset[Configuration],
    rejected: frozenset[Configuration],
) -> tuple[Configuration, ...]:
    """Return the candidates from which the search chooses now; a baseline among them always comes first."""
    reopened = view.next_reopened
    if reopened in candidates and view.baseline not in candidates:
        return (reopened,)
    return least_alike(candidates, failed, rejected) if failed else candidates


def _measure_again(view: View, ended: str, now: datetime) -> PoolPlan:
    """Return the plan of a round whose search has ended: the next run that measures its best again, until all have."""
    again = view.again or with_confirmation(view).again
    plan = PoolPlan(searched=ended, confirmation=again)
    if again is not None and not again.is_over and search_is_live(view):
        return plan
    if again is None or again.is_over:
        return replace(plan, ended=ended, unconfirmed=None if again is None else again.blocked)
    limit = view.study.budget.max_concurrent_gpus
    wanted = [each for each in again.due if each.trial.configuration.gpu_count <= limit]
    if again.due and not wanted:
        detail = (
            f"{again.due[0].trial.configuration.gpu_count} GPUs are more than spec.budget.maxConcurrentGPUs {limit}"
        )
        return replace(plan, ended=ended, unconfirmed=(BUDGET_LOWERED, detail))
    cells = _not_yielding(view, tuple(each.trial.configuration for each in wanted))
    placeable = tuple(cell for cell in cells if _has_node(view, cell))
    if cells and not placeable and _gives_up_nodes(view, now):
        detail = f"no node of pool {view.pool.name} has {cells[0].gpu_count} usable GPUs now"
        return replace(plan, ended=ended, unconfirmed=(NO_ROOM, detail))
    first = next((each for each in wanted if each.trial.configuration in (placeable or cells)), None)
    if first is not None:
        return replace(plan, next_run=confirming_run(view, first))
    return _wait_again(view, plan, ended) if wanted else plan


def _wait_again(view: View, plan: PoolPlan, ended: str) -> PoolPlan:
    """Return what a round waits for whose best finds no devices now, or that it has given up to measure it again."""
    counts = {cell.gpu_count for cell in _left(view)}
    yielding = [each for each in view.yielding if each.gpu_count in counts]
    waits = [each for each in yielding if each.next_attempt is not None]
    if waits:
        return replace(plan, waits_for=min(waits, key=_attempt_at))
    if any(runs_of(view.history.active, view.round)):
        return plan
    found = next(((each.reason, each.detail) for each in yielding), (NO_ROOM, ""))
    return replace(plan, ended=ended, unconfirmed=found)


def _wait_or_end(view: View, ended: str | None) -> PoolPlan:
    """Return what the round waits for if no run of it may start now, or why it ended."""
    wanted = {cell.gpu_count for cell in _left(view)}
    waits = [each for each in view.yielding if each.next_attempt is not None and each.gpu_count in wanted]
    if waits:
        return PoolPlan(waits_for=min(waits, key=_attempt_at))
    if ended is None and any(count in wanted for count, each in view.unplaced.items() if each.is_waiting):
        return PoolPlan()
    return PoolPlan(ended=ended or "SpaceExhausted")


def _has_node(view: View, cell: Configuration) -> bool:
    """Return whether a node of the pool has as many usable GPUs now as a run of `cell` needs."""
    return placement.has_node(view.pool, cell.gpu_count)


def _without_node(view: View) -> Iterator[SetAside]:
    """Yield the GPU counts with something left to measure that no node has now."""
    for count in sorted({cell.gpu_count for cell in _left(view)}):
        if not placement.has_node(view.pool, count):
            detail = f"no node of pool {view.pool.name} has {count} usable GPU{'s' if count > 1 else ''} now"
            yield SetAside(gpu_count=count, reason=NO_ROOM, detail=detail, attempts=0)


def _gives_up_nodes(view: View, now: datetime) -> bool:
    """Return whether the round ends without the GPU counts that no node has: it has measured others, and waited."""
    bound = placement.node_bound(view.pool, view.history, view.round)
    live = any(runs_of(view.history.active, view.round))
    return not live and bound is not None and now >= bound


def _without_success(view: View) -> tuple[frozenset[Configuration], frozenset[Configuration]]:
    """Return which configurations did not load, and which of them were refused, while none of the round has worked."""
    if view.loads.any_loaded or any(trial.state in HAS_WORKED for trial in view.known):
        return (frozenset(), frozenset())
    rejected = frozenset(trial.configuration for trial in view.known if is_rejected(trial))
    return (rejected | view.loads.failed_configurations, rejected)


def _attempt_at(each: SetAside) -> tuple[datetime, int]:
    if each.next_attempt is None:
        raise ValueError(f"{each.gpu_count} GPUs are not tried again")
    return (each.next_attempt, each.gpu_count)


def wanted_cells(study: Study, pool: Pool, history: History) -> frozenset[Configuration]:
    """Return the cells of the newest round of `pool` that have no trial yet; none once its search has ended."""
    view = view_of(study, pool, history)
    return frozenset(view.open_cells if why_ended(view) is None else ())


def leaves_queue(study: Study, pool: Pool, history: History, started: StartedRun, now: datetime) -> bool:
    """Return whether a run that its queue holds back gives way to the other runs of its pool.

    So it does once its time is over and another GPU count has something to measure, or has been measured: then this GPU
    count is the reason. A GPU count that the queue has admitted before may wait for as long as the queue takes.
    """
    view, count = _view(study, pool, history), started.run.gpu_count
    bound = placement.queue_bound(pool, started)
    if bound is None or now < bound or placement.was_placed(history, view.round, count):
        return False
    others = {cell.gpu_count for cell in _left(view)} - view.unplaced.keys() - {count}
    return bool(others) or any(trial.state in HAS_WORKED for trial in view.known)


def _left(view: View) -> tuple[Configuration, ...]:
    """Return the cells that the round may still measure: those to retry, and the open ones while the search goes on.

    Once it has ended these are the cells to measure again.
    """
    retries = tuple(trial.configuration for trial in retryable(view))
    if why_ended(view) is None:
        return (*retries, *view.open_cells)
    due = () if view.again is None or retries else view.again.due
    return (*retries, *(each.trial.configuration for each in due))


def _yielding(view: View, now: datetime) -> Iterator[SetAside]:
    """Yield the GPU counts for which no run starts now, because earlier ones found no devices."""
    if not view.unplaced:
        return
    live = {entry.run.gpu_count for entry in runs_of(view.history.active, view.round) if entry.stopping is None}
    only_left = not ({cell.gpu_count for cell in _left(view)} | live) - view.unplaced.keys()
    for count, each in view.unplaced.items():
        others_ended_at = placement.others_ended_at(view.history, view.round, count)
        given_up = each.is_given_up(now, only_left=only_left, others_ended_at=others_ended_at)
        if given_up or not each.is_due(now, only_left=only_left, others_ended_at=others_ended_at):
            reason, detail = each.reason
            yield SetAside(
                gpu_count=count,
                reason=reason,
                detail=detail,
                attempts=len(each.runs),
                next_attempt=None if given_up or each.is_waiting else each.next_attempt,
            )


def _not_yielding(view: View, wanted: tuple[Configuration, ...]) -> tuple[Configuration, ...]:
    counts = {each.gpu_count for each in view.yielding}
    return tuple(cell for cell in wanted if cell.gpu_count not in counts)
