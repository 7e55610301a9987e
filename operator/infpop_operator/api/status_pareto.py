"""Build the rows of the Pareto front: what a user with two metrics may choose from."""

from collections.abc import Sequence

from infpop_operator.api.quantities import number_string
from infpop_operator.api.status_model import ParetoRow
from infpop_operator.api.status_values import shown_extra, study_of
from infpop_operator.core.counting import current_trials
from infpop_operator.core.model import History, Trial
from infpop_operator.core.pareto import FrontPoint, front
from infpop_operator.core.recommend import best_of_pool
from infpop_operator.core.study import Pool, Study

MAX_PARETO_ROWS = 16  # of each pool: more is no choice, and a row is about 200 bytes


def pareto_rows(study: Study, history: History) -> tuple[list[ParetoRow], int]:
    """Return the rows of the front of each pool's newest round, and how many were left out.

    The pools are in the order of the spec, and each has its best by the objective first. If a pool has more than
    `MAX_PARETO_ROWS`, its two ends stay, and every so many between them.
    """
    if study.objective.second_metric is None:
        return ([], 0)
    fronts = [front(study, ((pool, trial) for trial in _trials(study, pool, history))) for pool in study.pools]
    points = [point for found in fronts for point in found]
    overall = {_place(point) for point in front(study, ((point.pool, point.trial) for point in points))}
    shown = [point for found in fronts for point in _thinned(found)]
    return ([_row(point, is_overall=_place(point) in overall) for point in shown], len(points) - len(shown))


def _trials(study: Study, pool: Pool, history: History) -> list[Trial]:
    """Return the trials of the newest round; the best has the number of its confirmation, as everywhere else."""
    best = best_of_pool(study, pool, history)
    return [
        best if best is not None and trial.index == best.index else trial
        for trial in current_trials(study, pool, history)
    ]


def _place(point: FrontPoint) -> tuple[str, int]:
    return (point.trial.pool, point.trial.index)


def _thinned(found: Sequence[FrontPoint]) -> list[FrontPoint]:
    if len(found) <= MAX_PARETO_ROWS:
        return list(found)
    last = MAX_PARETO_ROWS - 1
    return [found[round(place * (len(found) - 1) / last)] for place in range(MAX_PARETO_ROWS)]


def _row(point: FrontPoint, *, is_overall: bool) -> ParetoRow:
    trial = point.trial
    return ParetoRow(
        pool=trial.pool,
        round=trial.round,
        gpu_count=trial.configuration.gpu_count,
        batch_size=trial.configuration.batch_size,
        extra=shown_extra(trial.configuration) or None,
        value=number_string(point.value),
        second_value=number_string(point.second_value),
        overall=is_overall,
        run=trial.run if trial.reused_from is None else trial.reused_from.run,
        reused_from=study_of(trial),
    )
