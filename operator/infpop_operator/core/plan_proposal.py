"""Plan a run of new trials: the proposal of the search, and what shares its engine load.

A fixed number of trials is chosen one by one, as if each were the next run. With `auto` the search says what the load
of its choice is worth.
"""

from infpop_operator.core.history import (
    next_index,
)
from infpop_operator.core.model import (
    PlannedTrial,
    Run,
)
from infpop_operator.core.plan_companions import companion_trials, is_measured_in_order
from infpop_operator.core.plan_request import search_request, weight_now
from infpop_operator.core.plan_view import View, planned_run
from infpop_operator.core.search import SearchRequest, propose
from infpop_operator.core.study import AUTO, Configuration


def proposal(view: View, candidates: tuple[Configuration, ...]) -> Run:
    """Plan a run of new trials that share one engine load: the search's choice first."""
    if view.study.algorithm.trials_per_run == AUTO:
        return _with_companions(view, candidates)
    return _one_by_one(view, candidates, view.study.algorithm.trials_per_run)


def _with_companions(view: View, candidates: tuple[Configuration, ...]) -> Run:
    index = next_index(view.history, view.pool.name, view.round.number)
    request = search_request(view, open_cells=candidates, index=index)
    first = _baseline_in(view, candidates) or _proposed(request)
    weighted = weight_now(view) is not None
    trials = (
        PlannedTrial(index=index, configuration=first),
        *companion_trials(view.study, view.pool, request, first, trials_left=view.trials_left, weighted=weighted),
    )
    return planned_run(view, trials, attempt=1, in_order=is_measured_in_order(view.study, trials))


def _one_by_one(view: View, candidates: tuple[Configuration, ...], most: int) -> Run:
    first_index = next_index(view.history, view.pool.name, view.round.number)
    wanted = min(most, max(1, view.trials_left))
    chosen: list[PlannedTrial] = []
    while len(chosen) < wanted and candidates:
        cell = _next_cell(view, tuple(chosen), candidates, first_index + len(chosen))
        chosen.append(PlannedTrial(index=first_index + len(chosen), configuration=cell))
        candidates = tuple(other for other in candidates if other.load_key == cell.load_key and other != cell)
    return planned_run(view, tuple(chosen), attempt=1)


def _next_cell(
    view: View, chosen: tuple[PlannedTrial, ...], candidates: tuple[Configuration, ...], index: int
) -> Configuration:
    baseline = None if chosen else _baseline_in(view, candidates)
    also = [trial.configuration for trial in chosen]
    return baseline or _proposed(search_request(view, open_cells=candidates, index=index, also=also))


def _baseline_in(view: View, candidates: tuple[Configuration, ...]) -> Configuration | None:
    """Return the baseline if it is open: it is measured before anything that the search proposes."""
    return view.baseline if view.baseline in candidates else None


def _proposed(request: SearchRequest) -> Configuration:
    cell = propose(request)
    if cell is None:
        raise ValueError("no open cell although candidates were given")
    return cell
