"""Decide whether the search of a round has ended, and why."""

from collections.abc import Collection, Iterable
from functools import lru_cache

from infpop_operator.core import objective
from infpop_operator.core.history import next_index
from infpop_operator.core.model import (
    HAS_WORKED,
    Trial,
    TrialState,
)
from infpop_operator.core.pareto import front
from infpop_operator.core.plan_request import search_request
from infpop_operator.core.plan_view import View
from infpop_operator.core.recommend import improvement_ratio
from infpop_operator.core.rejections import common_rejection
from infpop_operator.core.scope import own_trials
from infpop_operator.core.search import SearchRequest, confidence
from infpop_operator.core.search_trials import search_trial
from infpop_operator.core.space import ABOUT_POOL

CONFIDENCE_REACHED = "ConfidenceReached"
# Measured trials before a round may end because the search is sure: fewer show no shape, and what the search believes
# before it has seen anything must not end it. Reasoned, not measured.
LEAST_MEASURED = 3


def why_ended(view: View) -> str | None:
    """Return why the search has ended; a round that is resumed first measures what is in use, whatever ended it."""
    if view.owes_baseline:
        return None
    if view.trials_left <= 0:
        return "MaxTrialsReached"
    if not view.open_cells:
        return next((trial.reason for trial in view.known if trial.reason in ABOUT_POOL), None) or "SpaceExhausted"
    rejection = common_rejection(view.known, view.open_cells)
    return rejection.reason if rejection is not None else _why_stopped_early(view)


def _why_stopped_early(view: View) -> str | None:
    if view.next_reopened is not None:
        return None
    if _on_plateau(view):
        return "Plateau"
    return CONFIDENCE_REACHED if _is_confident(view) else None


def waits_for_results(view: View, ended: str | None) -> bool:
    """Return whether the round ends only once its live runs have: what they measure may make the search less sure."""
    return ended == CONFIDENCE_REACHED and any(trial.state is TrialState.RUNNING for trial in view.trials)


def end_detail(view: View, ended: str | None) -> str:
    """Return what the reason of an end leaves open, in words for the user; empty if it says everything."""
    sure = _confidence_of(view) if ended == CONFIDENCE_REACHED else None
    if sure is None:
        return ""
    count = sum(_is_lesson(view, trial) for trial in view.trials)
    return f"the best is within 1 % of the optimum with probability {sure:.3g}, after {count} trials"


def _is_confident(view: View) -> bool:
    """Return whether the search is as sure of its best as the plateau asks for."""
    plateau = view.study.budget.plateau
    if plateau is None or plateau.confidence is None:
        return False
    sure = _confidence_of(view)
    return sure is not None and sure >= plateau.confidence


def _confidence_of(view: View) -> float | None:
    """Return how sure the search is that the best is within 1 % of the optimum, None if it cannot say yet."""
    index = next_index(view.history, view.pool.name, view.round.number)
    request = search_request(view, open_cells=view.open_cells, index=index, alone=True)
    if sum(trial.state == "measured" for trial in request.trials) < LEAST_MEASURED:
        return None
    return _confidence(request)


@lru_cache(maxsize=64)  # the answer takes some 10 ms, and a round is planned several times between two results
def _confidence(request: SearchRequest) -> float | None:
    return confidence(request)


def _on_plateau(view: View) -> bool:
    """Return whether the newest own trials that the search learned from improved the best too little.

    With a second metric none of them is on the Pareto front either.
    """
    plateau = view.study.budget.plateau
    learned = tuple(trial for trial in view.trials if _is_lesson(view, trial))
    if plateau is None or plateau.trials is None or len(own_trials(learned)) < plateau.trials:
        return False
    newest = {trial.index for trial in own_trials(learned)[-plateau.trials :]}
    before = objective.best(view.study, view.pool, [trial for trial in learned if trial.index not in newest])
    after = objective.best(view.study, view.pool, learned)
    if before is None or after is None or _fills_front(view, learned, newest):
        return False
    gained = improvement_ratio(view.study, view.pool, new=after, old=before)
    if gained is None:  # the value of the best was 0, so there is no relative improvement
        return before == after
    return gained < plateau.improvement_ratio


def _fills_front(view: View, learned: Iterable[Trial], newest: Collection[int]) -> bool:
    points = front(view.study, ((view.pool, trial) for trial in learned))
    return any(point.trial.index in newest for point in points)


def _is_lesson(view: View, trial: Trial) -> bool:
    return (
        trial.state in (*HAS_WORKED, TrialState.INFEASIBLE) and search_trial(view.study, view.pool, trial) is not None
    )
