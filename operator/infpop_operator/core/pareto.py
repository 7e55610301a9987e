"""Find the Pareto front of a study with two metrics: what to choose from, where one metric is gained by losing another.

Differences within the noise of the measurements do not count, in either metric, as they do not where the best is chosen
(`core.objective`): of configurations that tie in both, one is on the front. Without that rule a front would fill up
with what differs by chance alone. The result is an epsilon-Pareto set (Laumanns, Thiele, Deb and Zitzler 2002,
Combining Convergence and Diversity in Evolutionary Multiobjective Optimization).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infpop_operator.core import objective
from infpop_operator.core.model import Missing, Trial
from infpop_operator.core.recommend import measurement, trial_loss, trial_value
from infpop_operator.core.second_metric import second_loss, second_value
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_operator.core.study import METRICS, Pool, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A trial on the front, with its value of the objective and of the second metric, each in its own unit."""

    pool: Pool
    trial: Trial
    value: float
    second_value: float


def front(study: Study, found: Iterable[tuple[Pool, Trial]]) -> tuple[FrontPoint, ...]:
    """Return the trials on the Pareto front, the best by the objective first; empty without a second metric.

    Only trials that may be the best are on it, so none that breaks a constraint or lacks either metric. For each of
    them a trial on the front is as good in both metrics, up to the noise; and each trial on the front is better in the
    second metric than the one before it, by more than the noise. A tie in both metrics goes to fewer GPUs, then to the
    better value, then to the smaller batch, as in `objective.best`.

    Args:
        study: the study.
        found: trials of one or several pools; each is judged at the price of its own pool.
    """
    if study.objective.second_metric is None:
        return ()
    left = sorted(_estimates(study, found), key=_by_loss)
    kept: list[_Estimate] = []
    while left:
        alike = [each for each in left if _ties(each.first, left[0].first)]
        top = min(alike, key=lambda each: (each.second.loss, *_preference(each)))
        chosen = min((each for each in alike if _ties(each.second, top.second)), key=_preference)
        kept.append(chosen)
        left = [each for each in left if each not in alike and not _ties(chosen.second, each.second)]
    return tuple(_point(study, each) for each in kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    loss: float
    error: float  # its standard error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    pool: Pool
    trial: Trial
    first: _Loss
    second: _Loss


def _estimates(study: Study, found: Iterable[tuple[Pool, Trial]]) -> Iterator[_Estimate]:
    for pool, trial in found:
        if not objective.is_eligible(study, trial):
            continue
        second = second_loss(study, pool, trial)
        if isinstance(second, Missing):
            continue
        first = trial_loss(study, pool, trial)
        # What follows from the throughput has its relative error. That of a time in the batch is close to it: in a full
        # batch the two are inverse to each other.
        own = objective.error_ratio(study, trial)
        ratio = own if study.objective.metric in METRICS else standard_error_ratio(measurement(trial))
        yield _Estimate(
            pool=pool,
            trial=trial,
            first=_Loss(loss=first, error=abs(first) * own),
            second=_Loss(loss=second, error=abs(second) * ratio),
        )


def _ties(candidate: _Loss, top: _Loss) -> bool:
    return objective.ties((candidate.loss, candidate.error), (top.loss, top.error))


def _by_loss(each: _Estimate) -> tuple[float, float, int, int]:
    return (each.first.loss, each.second.loss, each.trial.configuration.gpu_count, each.trial.index)


def _preference(each: _Estimate) -> tuple[int, float, int, int]:
    cell = each.trial.configuration
    return (cell.gpu_count, each.first.loss, cell.batch_size, each.trial.index)


def _point(study: Study, each: _Estimate) -> FrontPoint:
    second = second_value(study, each.pool, each.trial)
    if isinstance(second, Missing):
        raise TypeError(f"trial {each.trial.index} has no second metric: {second.reason}")
    value = trial_value(study, each.pool, each.trial)
    return FrontPoint(pool=each.pool, trial=each.trial, value=value, second_value=second)
