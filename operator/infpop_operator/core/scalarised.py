"""Look for the Pareto front with a search that knows one loss: a weighted loss of both metrics, another for each run.

This is ParEGO (Knowles 2006, ParEGO: A Hybrid Algorithm with On-line Landscape Approximation for Expensive
Multiobjective Optimization Problems): the augmented Chebyshev loss of two normalised losses, with weights that change
from run to run. Its minimum is on the front whatever the weights are, also where the front is not convex, and every
search algorithm can look for it. Differences from the paper: the losses are logarithms, so that 10 % of one metric are
worth 10 % of the other, and need no scale; scaled to the range of what was measured, as in the paper, they found less
of the front (`benchmarks/README.md`). The weights come from a golden-ratio sequence instead of a random number, so that
few trials cover them evenly. And every other run is for the objective alone, because its best is what the study
recommends. All trials of a run are for the same loss: runs may have any number of them, so that counting trials could
give every run the same one.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import exp, log, sqrt
from random import Random

from infpop_operator.core.metric_values import has_value
from infpop_operator.core.model import Missing, Trial
from infpop_operator.core.recommend import trial_loss
from infpop_operator.core.second_metric import second_loss
from infpop_operator.core.study import Pool, Study
from infpop_runner.contract import Measured

PERIOD = 2  # of this many runs, one is for the objective alone
_AUGMENTATION = 0.05  # Knowles 2006, equation 2
_GOLDEN = (sqrt(5) - 1) / 2
# The loss of a perfect trial, with the opposite sign; no whole number, so that no search takes it for a rounded one.
_PERFECT = 1000.123456


def second_weight(study: Study, turn: int) -> float | None:
    """Return the weight of the second metric, above 0 and below 1, for a run; None: only the objective counts.

    It follows from the study's seed and `turn`, how many runs the search of the round has chosen before.
    """
    if study.objective.second_metric is None or turn % PERIOD == 0:
        return None
    start = Random(f"pareto {study.algorithm.seed}").random()
    return min(0.99, max(0.01, (start + turn * _GOLDEN) % 1.0))


def scalarised_losses(study: Study, pool: Pool, trials: Iterable[Trial], weight: float) -> Mapping[int, float]:
    """Return the weighted loss of both metrics of each trial, by its index; a trial that lacks one is absent.

    A loss is below 0, and the ratio of two losses is meaningful: how much worse a trial is than the best known ones.

    Args:
        study: with a second metric.
        pool: the pool on which the trials ran.
        trials: of one round, measured or not.
        weight: of the second metric, from `second_weight`.
    """
    known: dict[int, tuple[float, float]] = {}
    for trial in trials:
        if isinstance(trial.result, Measured) and has_value(study.objective, trial.extra_metrics):
            other = second_loss(study, pool, trial)
            if not isinstance(other, Missing):
                known[trial.index] = (trial_loss(study, pool, trial), other)
    if not known:
        return {}
    first = _lags([pair[0] for pair in known.values()])
    second = _lags([pair[1] for pair in known.values()])
    lags = zip(first, second, strict=True)
    return {index: -_PERFECT * exp(-_chebyshev(*each, weight)) for index, each in zip(known, lags, strict=True)}


def _chebyshev(first: float, second: float, weight: float) -> float:
    weighted = ((1 - weight) * first, weight * second)
    return max(weighted) + _AUGMENTATION * sum(weighted)


def _lags(losses: Sequence[float]) -> list[float]:
    """Return by how much each loss is worse than the best, as the logarithm of their ratio.

    Where losses have no ratio, because one is 0, it is their difference, in units of the largest one.
    """
    best, worst = min(losses), max(losses)
    if best > 0 or worst < 0:
        return [abs(log(loss / best)) for loss in losses]
    return [(loss - best) / ((worst - best) or 1.0) for loss in losses]
