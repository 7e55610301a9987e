"""Plan the next run of one pool's round: first a retry, then the baseline, then the proposal of the search.

A GPU count that has no devices now yields to the other ones (`core.placement`), and so does a load that failed while
nothing has worked yet (`core.load_failures`, `core.rejections`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from infpop_operator.core import objective, placement
from infpop_operator.core.budget import RETRIES_AFTER_DELETION
from infpop_operator.core.fingerprint import run_name
from infpop_operator.core.history import (
    current_round,
    known_model_facts,
    missing_trials,
    next_index,
    runs_of,
    suspect,
    trials_of,
)
from infpop_operator.core.load_failures import (
    RETRIES_PER_TRIAL,
    LoadOutlook,
    above_memory,
    load_outlook,
    smallest_of_each,
)
from infpop_operator.core.model import (
    DELETED,
    NO_ROOM,
    EndedRun,
    History,
    PlannedTrial,
    Round,
    Run,
    SetAside,
    StartedRun,
    Trial,
    TrialState,
)
from infpop_operator.core.recommend import improvement_ratio, measurement, trial_loss
from infpop_operator.core.rejections import common_rejection, is_rejected, least_alike
from infpop_operator.core.scope import baseline_of, in_scope
from infpop_operator.core.search import SearchRequest, SearchTrial, propose
from infpop_operator.core.space import ABOUT_POOL, cells, ruled_out
from infpop_operator.core.study import Configuration, Pool, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """The next run of a pool's round, or why the round ended. Both are None while it waits for live runs.

    `waits_for` is what the round waits for if no live run is the reason. `set_aside` are the cells not tried now.
    """

    next_run: Run | None = None
    ended: str | None = None
    waits_for: SetAside | None = None
    set_aside: tuple[SetAside, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The inputs of planning for one pool's round."""

    study: Study
    pool: Pool
    round: Round
    history: History
    baseline: Configuration | None
    known: tuple[Trial, ...]  # all trials of the round
    trials: tuple[Trial, ...]  # the trials among them that count now
    hopeless: frozenset[Configuration]  # ruled out by now, possibly after their trial broke
    open_cells: tuple[Configuration, ...]
    unplaced: Mapping[int, placement.Unplaced]
    loads: LoadOutlook
    yielding: tuple[SetAside, ...] = ()  # what is not tried now


def plan_pool(study: Study, pool: Pool, history: History, now: datetime) -> PoolPlan:
    """Return the next run of the newest round of `pool`, assuming that the study-wide budgets allow it.

    Raises:
        ValueError: the pool has no round yet.
    """
    view = _view(study, pool, history)
    view = replace(view, yielding=tuple(_yielding(view, now)))
    return replace(_plan(view, now), set_aside=(*view.yielding, *view.loads.set_aside, *_without_node(view)))


def _plan(view: _View, now: datetime) -> PoolPlan:
    ended = _why_ended(view)
    candidates = _not_yielding(view, view.open_cells) if ended is None else ()
    retries = _not_yielding(view, tuple(trial.configuration for trial in _retryable(view)))
    if any(_has_node(view, cell) for cell in (*candidates, *retries)):
        candidates = tuple(cell for cell in candidates if _has_node(view, cell))
        retries = tuple(cell for cell in retries if _has_node(view, cell))
    elif (candidates or retries) and _gives_up_nodes(view, now):
        return PoolPlan(ended=ended or "SpaceExhausted")
    failed, rejected = _without_success(view)
    tried_loads = {tried.load_key for tried in failed}
    untried = tuple(cell for cell in candidates if cell.load_key not in tried_loads)
    retry = _retry(view, retries, yields_to=untried)
    if retry is not None:
        return PoolPlan(next_run=retry)
    if candidates:
        if len(view.history.active) >= view.study.budget.parallel_trials:
            return PoolPlan()  # asking the search takes about 10 ms, and this function is called often
        chosen = least_alike(candidates, failed, rejected) if failed else candidates
        return PoolPlan(next_run=_proposal(view, chosen))
    return _wait_or_end(view, ended)


def _wait_or_end(view: _View, ended: str | None) -> PoolPlan:
    """Return what the round waits for if no run of it may start now, or why it ended."""
    wanted = {cell.gpu_count for cell in _left(view)}
    waits = [each for each in view.yielding if each.next_attempt is not None and each.gpu_count in wanted]
    if waits:
        return PoolPlan(waits_for=min(waits, key=_attempt_at))
    if ended is None and any(count in wanted for count, each in view.unplaced.items() if each.is_waiting):
        return PoolPlan()
    return PoolPlan(ended=ended or "SpaceExhausted")


def _has_node(view: _View, cell: Configuration) -> bool:
    """Return whether a node of the pool has as many usable GPUs now as a run of `cell` needs."""
    return placement.has_node(view.pool, cell.gpu_count)


def _without_node(view: _View) -> Iterator[SetAside]:
    """Yield the GPU counts with something left to measure that no node has now."""
    for count in sorted({cell.gpu_count for cell in _left(view)}):
        if not placement.has_node(view.pool, count):
            detail = f"no node of pool {view.pool.name} has {count} usable GPU{'s' if count > 1 else ''} now"
            yield SetAside(gpu_count=count, reason=NO_ROOM, detail=detail, attempts=0)


def _gives_up_nodes(view: _View, now: datetime) -> bool:
    """Return whether the round ends without the GPU counts that no node has: it has measured others, and waited."""
    bound = placement.node_bound(view.study, view.history, view.round)
    live = any(runs_of(view.history.active, view.round))
    return not live and bound is not None and now >= bound


def _without_success(view: _View) -> tuple[frozenset[Configuration], frozenset[Configuration]]:
    """Return which configurations did not load, and which of them were refused, while none of the round has worked."""
    if view.loads.any_loaded or any(trial.state is TrialState.MEASURED for trial in view.known):
        return (frozenset(), frozenset())
    rejected = frozenset(trial.configuration for trial in view.known if is_rejected(trial))
    return (rejected | view.loads.failed_configurations, rejected)


def _attempt_at(each: SetAside) -> tuple[datetime, int]:
    if each.next_attempt is None:
        raise ValueError(f"{each.gpu_count} GPUs are not tried again")
    return (each.next_attempt, each.gpu_count)


def leaves_queue(study: Study, pool: Pool, history: History, started: StartedRun, now: datetime) -> bool:
    """Return whether a run that its queue holds back gives way to the other runs of its pool.

    So it does once its time is over and another GPU count has something to measure, or has been measured: then this GPU
    count is the reason. A GPU count that the queue has admitted before may wait for as long as the queue takes.
    """
    view, count = _view(study, pool, history), started.run.gpu_count
    bound = placement.queue_bound(study, started)
    if bound is None or now < bound or placement.was_placed(history, view.round, count):
        return False
    others = {cell.gpu_count for cell in _left(view)} - view.unplaced.keys() - {count}
    return bool(others) or any(trial.state is TrialState.MEASURED for trial in view.known)


def _left(view: _View) -> tuple[Configuration, ...]:
    """Return the cells that the round may still measure: those to retry, and the open ones while the search goes on."""
    retries = tuple(trial.configuration for trial in _retryable(view))
    return retries if _why_ended(view) is not None else (*retries, *view.open_cells)


def _yielding(view: _View, now: datetime) -> Iterator[SetAside]:
    """Yield the GPU counts for which no run starts now, because earlier ones found no devices."""
    if not view.unplaced:
        return
    live = {entry.run.gpu_count for entry in runs_of(view.history.active, view.round) if entry.stopping is None}
    only_left = not ({cell.gpu_count for cell in _left(view)} | live) - view.unplaced.keys()
    for count, each in view.unplaced.items():
        others_ended_at = placement.others_ended_at(view.history, view.round, count)
        given_up = each.is_given_up(now, view.study, only_left=only_left, others_ended_at=others_ended_at)
        if given_up or not each.is_due(now, only_left=only_left, others_ended_at=others_ended_at):
            reason, detail = each.reason
            yield SetAside(
                gpu_count=count,
                reason=reason,
                detail=detail,
                attempts=len(each.runs),
                next_attempt=None if given_up or each.is_waiting else each.next_attempt,
            )


def _not_yielding(view: _View, wanted: tuple[Configuration, ...]) -> tuple[Configuration, ...]:
    counts = {each.gpu_count for each in view.yielding}
    return tuple(cell for cell in wanted if cell.gpu_count not in counts)


def _view(study: Study, pool: Pool, history: History) -> _View:
    newest = current_round(history, pool.name)
    if newest is None:
        raise ValueError(f"pool {pool.name} has no round")
    known = trials_of(history, pool.name, newest.number)
    baseline = baseline_of(study, newest)
    candidates = _baseline_first(baseline, cells(study.space))
    tried = tuple(trial.configuration for trial in known)
    gpu_limit = study.budget.max_concurrent_gpus
    too_large = {cell for cell in (*candidates, *tried) if cell.gpu_count > gpu_limit}
    loads = load_outlook(study, pool, newest, history)
    too_large |= above_memory(known, candidates) | {
        cell for cell in (*candidates, *tried) if cell.load_key in loads.aside
    }
    hopeless = too_large | ruled_out(study, pool, known, known_model_facts(history), also=candidates).keys()
    excluded = hopeless.union(tried)
    return _View(
        study=study,
        pool=pool,
        round=newest,
        history=history,
        baseline=baseline,
        known=known,
        trials=in_scope(study, known, baseline),
        hopeless=frozenset(hopeless),
        open_cells=tuple(cell for cell in candidates if cell not in excluded),
        unplaced=placement.unplaced(history, newest),
        loads=loads,
    )


def _baseline_first(baseline: Configuration | None, space: tuple[Configuration, ...]) -> tuple[Configuration, ...]:
    """Return the cells, the baseline first; it is measured for comparison even outside the search space."""
    if baseline is None or baseline in space:
        return space
    return (baseline, *space)


def _why_ended(view: _View) -> str | None:
    if len(view.trials) >= view.study.budget.max_trials:
        return "MaxTrialsReached"
    hopeless = next((trial.reason for trial in view.known if trial.reason in ABOUT_POOL), None)
    if hopeless is not None and not view.open_cells:
        return hopeless
    if not view.open_cells:
        return "SpaceExhausted"
    rejection = common_rejection(view.known, view.open_cells)
    if rejection is not None:
        return rejection.reason
    if _on_plateau(view):
        return "Plateau"
    return None


def _on_plateau(view: _View) -> bool:
    """Return whether the newest trials that the search learned from improved the best too little."""
    plateau = view.study.budget.plateau
    learned = tuple(trial for trial in view.trials if _is_lesson(view, trial))
    if plateau is None or len(learned) <= plateau.trials:
        return False
    before = objective.best(view.study, view.pool, learned[: -plateau.trials])
    after = objective.best(view.study, view.pool, learned)
    if before is None or after is None:
        return False
    gained = improvement_ratio(view.study, view.pool, new=after, old=before)
    if gained is None:  # the value of the best was 0, so there is no relative improvement
        return before == after
    return gained < plateau.improvement_ratio


def _is_lesson(view: _View, trial: Trial) -> bool:
    return trial.state in (TrialState.MEASURED, TrialState.INFEASIBLE) and _search_trial(view, trial) is not None


def _proposal(view: _View, candidates: tuple[Configuration, ...]) -> Run:
    """Plan a run of new trials that share one engine load: the search's choice, then its next ones for that load."""
    budget, algorithm = view.study.budget, view.study.algorithm
    first_index = next_index(view.history, view.pool.name, view.round.number)
    wanted = min(algorithm.trials_per_run, budget.max_trials - len(view.trials))
    chosen: list[PlannedTrial] = []
    while len(chosen) < wanted and candidates:
        cell = _next_cell(view, tuple(chosen), candidates, first_index + len(chosen))
        chosen.append(PlannedTrial(index=first_index + len(chosen), configuration=cell))
        candidates = tuple(other for other in candidates if other.load_key == cell.load_key and other != cell)
    return _run(view, tuple(chosen), attempt=1)


def _next_cell(
    view: _View, chosen: tuple[PlannedTrial, ...], candidates: tuple[Configuration, ...], index: int
) -> Configuration:
    if not chosen and view.baseline is not None and view.baseline in candidates:
        return view.baseline
    request = SearchRequest(
        space=view.study.space,
        trials=_search_trials(view, chosen),
        open_cells=candidates,
        index=index,
        seed=view.study.algorithm.seed,
        algorithm=view.study.algorithm.name,
        max_trials=view.study.budget.max_trials,
    )
    cell = propose(request)
    if cell is None:
        raise ValueError("no open cell although candidates were given")
    return cell


def _search_trials(view: _View, chosen: tuple[PlannedTrial, ...]) -> tuple[SearchTrial, ...]:
    """Return what the search learns from: results and pending trials, never broken trials or unknown values."""
    space = frozenset(cells(view.study.space))
    known = [_search_trial(view, trial) for trial in view.trials if trial.configuration in space]
    pending = [SearchTrial(configuration=trial.configuration, state="pending", loss=None) for trial in chosen]
    return (*(trial for trial in known if trial is not None), *pending)


def _search_trial(view: _View, trial: Trial) -> SearchTrial | None:
    match trial.state:
        case TrialState.RUNNING:
            return SearchTrial(configuration=trial.configuration, state="pending", loss=None)
        case TrialState.INFEASIBLE:
            return SearchTrial(configuration=trial.configuration, state="failed", loss=None)
        case TrialState.MEASURED:
            return _measured_trial(view, trial)
        case TrialState.INVALID | TrialState.BROKEN:
            return None


def _measured_trial(view: _View, trial: Trial) -> SearchTrial | None:
    """Return a measured trial as the search knows it, None while a metric that the comparison needs is missing."""
    wanted, cell = view.study.objective, trial.configuration
    if objective.violations(wanted.constraints, measurement(trial), cell.gpu_count, trial.extra_metrics):
        return SearchTrial(configuration=cell, state="failed", loss=None)
    if objective.missing_metrics(wanted, trial.extra_metrics):
        return None
    return SearchTrial(configuration=cell, state="measured", loss=trial_loss(view.study, view.pool, trial))


def _retryable(view: _View) -> tuple[Trial, ...]:
    """Return the trials that are due for another attempt; a ruled-out trial is not retried."""
    candidates = (trial for trial in view.trials if trial.configuration not in view.hopeless)
    return tuple(
        trial
        for trial in candidates
        if (trial.state is TrialState.BROKEN and trial.failures <= _retries(trial))
        or (trial.state is TrialState.INVALID and trial.invalid_results == 1)
    )


def _retry(view: _View, wanted: tuple[Configuration, ...], *, yields_to: tuple[Configuration, ...]) -> Run | None:
    """Return a run that retries the first of the `wanted` trials whose load does not yield to one of `yields_to`."""
    retryable = _retryable(view)
    if yields_to and not view.loads.any_loaded:
        wanted = tuple(cell for cell in wanted if cell.load_key not in view.loads.failed)
    trial = next((trial for trial in retryable if trial.configuration in wanted), None)
    if trial is None:
        return None
    if (smallest := _smallest_instead(view, trial)) is not None:
        return smallest
    if trial.state is TrialState.INVALID:
        planned = PlannedTrial(index=trial.index, configuration=trial.configuration)
        return _run(view, (planned,), attempt=trial.attempts + 1, longer=True)
    by_index = {trial.index: trial for trial in view.trials if trial.configuration not in view.hopeless}
    last = next(entry for entry in reversed(view.history.ended) if entry.run.name == trial.run)
    group = _group(last, trial, by_index)
    attempt = 1 + max(by_index[planned.index].attempts for planned in group)
    return _run(view, group, attempt=attempt, longer=last.run.longer)


def _smallest_instead(view: _View, trial: Trial) -> Run | None:
    """Return the last attempt of a load that only fails: with its smallest batch, which loads if any batch does."""
    key = trial.configuration.load_key
    runs = view.loads.failed.get(key, ())
    known = {each.configuration: each for each in view.trials}
    smallest = smallest_of_each((*view.open_cells, *known)).get(key)
    tried = {planned.configuration for entry in runs for planned in entry.run.trials}
    if (
        not view.loads.alive - {key}
        or len(runs) < RETRIES_PER_TRIAL
        or smallest is None
        or smallest in tried
        or smallest in known
    ):
        return None
    if len(view.trials) >= view.study.budget.max_trials:
        return None
    index = next_index(view.history, view.pool.name, view.round.number)
    return _run(view, (PlannedTrial(index=index, configuration=smallest),), attempt=1)


def _group(last: EndedRun, trial: Trial, by_index: dict[int, Trial]) -> tuple[PlannedTrial, ...]:
    """Return the trials to retry in one load: a trial that the engine died on alone, the other ones together."""
    died_on = suspect(last)
    if died_on is not None and died_on.index == trial.index:
        return (died_on,)
    return tuple(
        planned
        for planned in missing_trials(last)
        if planned != died_on
        and planned.index in by_index
        and by_index[planned.index].run == last.run.name
        and by_index[planned.index].failures <= _retries(by_index[planned.index])
    )


def _retries(trial: Trial) -> int:
    return RETRIES_AFTER_DELETION if trial.reason == DELETED else RETRIES_PER_TRIAL


def _run(view: _View, trials: tuple[PlannedTrial, ...], *, attempt: int, longer: bool = False) -> Run:
    name = run_name(
        view.study,
        pool=view.pool.name,
        round_number=view.round.number,
        attempt=attempt,
        longer=longer,
        trials=trials,
    )
    return Run(
        name=name,
        pool=view.pool.name,
        round=view.round.number,
        attempt=attempt,
        trials=trials,
        longer=longer,
    )
