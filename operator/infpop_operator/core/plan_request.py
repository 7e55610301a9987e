"""Build the request of a search: the same one for a proposal and for the question whether the round may end."""

from collections.abc import Iterable
from dataclasses import replace

from infpop_operator.core.history import searches_of
from infpop_operator.core.plan_view import View
from infpop_operator.core.prior import prior_of
from infpop_operator.core.scalarised import second_weight
from infpop_operator.core.search import WARM_STARTED, SearchFacts, SearchRequest
from infpop_operator.core.search_facts import metric_powers, search_facts
from infpop_operator.core.search_trials import search_trials
from infpop_operator.core.study import Configuration, Study


def search_request(
    view: View,
    *,
    open_cells: tuple[Configuration, ...],
    index: int,
    also: Iterable[Configuration] = (),
    alone: bool = False,
) -> SearchRequest:
    """Return the request for the next of `open_cells`, which becomes the trial `index`; the cells `also` are pending.

    An adaptive algorithm also gets what an earlier round of the pool found. With a second metric the losses for some
    runs are weighted ones of both metrics (`weight_now`); if `alone`, they are always those of the objective.
    """
    study, pool, algorithm = view.study, view.pool, view.study.algorithm
    weight = None if alone else weight_now(view)
    facts = search_facts(study, pool, view.history, view.round)
    warm = algorithm.name in WARM_STARTED
    return SearchRequest(
        space=study.space,
        trials=search_trials(study, pool, view.trials, also=also, weight=weight),
        open_cells=open_cells,
        index=index,
        seed=algorithm.seed,
        algorithm=algorithm.name,
        max_trials=study.budget.max_trials,
        prior=prior_of(study, pool, view.history, view.round, weight=weight) if warm else None,
        facts=facts if weight is None else _weighted(study, facts, weight),
    )


def weight_now(view: View) -> float | None:
    """Return the weight of the second metric for the next run of the search, None if only the objective counts."""
    return second_weight(view.study, searches_of(view.history, view.round))


def _weighted(study: Study, facts: SearchFacts, weight: float) -> SearchFacts:
    """Return the facts of a search whose losses are weighted ones of both metrics."""
    first, second = facts.divided_by, metric_powers(study.objective.second_metric or "")
    powers = None
    if first is not None and second is not None:
        powers = ((1 - weight) * first[0] + weight * second[0], (1 - weight) * first[1] + weight * second[1])
    return replace(facts, losses_are_throughput=False, divided_by=powers)
