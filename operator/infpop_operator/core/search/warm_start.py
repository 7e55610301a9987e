"""Propose the cell with the largest expected gain, given what an earlier round of the pool found.

The posterior (`surface`, `capacity`) is computed from the prior and the trials of each request, so nothing is kept
between two requests. The values of the earlier round only shape the posterior: the best so far is the best of this
round. Slow to import (numpy): load it through `search.propose` only.
"""

from math import erf, sqrt

import numpy as np

from infpop_operator.core.search.capacity import Array, Capacity, next_size
from infpop_operator.core.search.request import Prior, SearchRequest
from infpop_operator.core.search.surface import Axes, Points, Prediction, predict, to_logarithms
from infpop_operator.core.study import Configuration

MIN_CELLS = 3  # measured cells of the earlier round; fewer have no shape
# How much the two rounds may differ: factors on the variance of their difference, and the chance of each before
# anything is measured. The large one is the way out of a misleading prior.
_SCALES = (1.0, 25.0)
_CHANCES, _CHANCES_OF_ANOTHER_MODEL = (0.9, 0.1), (0.5, 0.5)
_TIE = 0.01  # a gain below 1 % is a tie (`objective.TIE_RATIO`)
_CHANCE_OF_GAIN = 0.3  # worth of any gain above a tie, in units of the logarithm
# Chance that a configuration works now that could not be used in the earlier round for another reason than its batch
# size: refused arguments, a violated constraint. Reasoned, not measured.
_USABLE_NOW = 0.5


def propose(request: SearchRequest) -> Configuration | None:
    """Return the open cell with the largest expected gain; None if the prior is no help, or no cell is open.

    It is no help with fewer than `MIN_CELLS` measured cells of this search space, or if the losses of the two rounds
    are not all above 0 or all below 0, so that they have no ratio.
    """
    if request.prior is None or not request.open_cells:
        return None
    axes, capacity = Axes(request.space), Capacity(request)
    known = _known(request, request.prior, axes, capacity)
    if known is None:
        return None
    points, values = known
    wanted = _points(axes, request.open_cells, capacity)
    chances = _CHANCES if request.prior.same_model else _CHANCES_OF_ANOTHER_MODEL
    best = max((value for value, is_new in zip(values, points.is_new, strict=True) if is_new), default=None)
    points, values = _with_pending(request, axes, capacity, points, values)
    predictions = [predict(axes, points, values, wanted, scale=scale) for scale in _SCALES]
    weights = _weights(predictions, chances)
    gain = sum(weight * _gain(each, best) for weight, each in zip(weights, predictions, strict=True))
    score = gain * capacity.works(request.open_cells) * _usable(request)
    # Rounded, so that the last bits of a floating-point library decide nothing; a tie goes to the first open cell.
    return request.open_cells[int(np.argmax(np.round(score / max(float(np.max(score)), 1e-300), 9)))]


def _known(request: SearchRequest, prior: Prior, axes: Axes, capacity: Capacity) -> tuple[Points, Array] | None:
    """Return the measured cells of both rounds with the logarithms of their values."""
    before = [cell for cell in prior.cells if cell.is_measured and axes.of(cell.configuration) is not None]
    if len(before) < MIN_CELLS:
        return None
    now = [trial for trial in request.trials if trial.state == "measured" and axes.of(trial.configuration) is not None]
    losses = [*(cell.loss for cell in before), *(trial.loss for trial in now)]
    values = to_logarithms(np.array(losses, dtype=np.float64))
    if values is None:
        return None
    too_large = {cell.configuration for cell in prior.cells if cell.too_large}
    old = [cell.configuration for cell in before]
    is_last = [1.0 if _next(request, cell) in too_large else 0.0 for cell in old]
    coordinates = [axes.of(cell) for cell in old]
    earlier = Points(np.array(coordinates), np.zeros(len(old)), np.array(is_last))
    if not now:
        return (earlier, values)
    newer = _points(axes, tuple(trial.configuration for trial in now), capacity)
    return (_joined(earlier, newer), values)


def _next(request: SearchRequest, cell: Configuration) -> Configuration | None:
    """Return the configuration with the next larger batch size of the space."""
    larger = next_size(request.space.batch_sizes, cell.batch_size)
    return None if larger is None else Configuration(gpu_count=cell.gpu_count, batch_size=larger, extra=cell.extra)


def _with_pending(
    request: SearchRequest, axes: Axes, capacity: Capacity, points: Points, values: Array
) -> tuple[Points, Array]:
    """Return the known cells with the pending ones, as if each had its predicted value: so others are proposed."""
    pending = tuple(trial.configuration for trial in request.trials if trial.state == "pending")
    if not pending:
        return (points, values)
    asked = _points(axes, pending, capacity)
    expected = predict(axes, points, values, asked, scale=_SCALES[0]).mean
    return (_joined(points, asked), np.concatenate([values, expected]))


def _points(axes: Axes, cells: tuple[Configuration, ...], capacity: Capacity) -> Points:
    """Return cells of the newer round."""
    coordinates = [axes.of(cell) for cell in cells]
    return Points(np.array(coordinates, dtype=np.float64), np.ones(len(cells)), capacity.is_last(cells))


def _joined(left: Points, right: Points) -> Points:
    return Points(*(np.concatenate(parts) for parts in zip(left, right, strict=True)))


def _weights(predictions: list[Prediction], chances: tuple[float, ...]) -> Array:
    """Return how likely each scale is after what was measured; the weights add up to 1."""
    evidence = np.array([each.evidence for each in predictions]) + np.log(chances)
    weights = np.exp(evidence - evidence.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _gain(predicted: Prediction, best: float | None) -> Array:
    """Return the expected gain over `best` plus the worth of the chance of any; before a first result the mean value.

    Source of the expected improvement: Jones, Schonlau and Welch (1998), equation 15.
    """
    mean, deviation = predicted.mean, predicted.deviation
    if best is None:
        return np.asarray(np.exp(mean - mean.max()), dtype=np.float64)
    above = (mean - best) / deviation
    density = np.exp(-0.5 * above**2) / sqrt(2 * np.pi)
    expected = deviation * (above * _below(above) + density)
    return np.asarray(expected + _CHANCE_OF_GAIN * _below((mean - best - _TIE) / deviation), dtype=np.float64)


def _below(values: Array) -> Array:
    """Return the standard normal distribution function."""
    return np.array([0.5 * (1 + erf(value / sqrt(2))) for value in values])


def _usable(request: SearchRequest) -> Array:
    cells = () if request.prior is None else request.prior.cells
    refused = {cell.configuration for cell in cells if not (cell.is_usable or cell.too_large or cell.while_loading)}
    return np.array([_USABLE_NOW if cell in refused else 1.0 for cell in request.open_cells])
