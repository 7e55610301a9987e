"""What an earlier round of the pool says about a surface: its own surface, and a difference that is smooth as well.

The difference between two rounds was learned on recorded landscapes for the warm start (`search.surface`). Levels are
not compared: other hardware is faster by any factor.
"""

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search import surface
from infpop_operator.core.search.capacity import next_size
from infpop_operator.core.search.landscape.knowledge import Jump
from infpop_operator.core.search.landscape.surfaces import LEVEL, Belief
from infpop_operator.core.search.landscape.values import values_of
from infpop_operator.core.search.request import Prior, PriorCell, SearchRequest
from infpop_operator.core.search.surface import Axes, Points
from infpop_operator.core.study import Configuration

Array = NDArray[np.float64]

MIN_CELLS = 3  # measured cells of the earlier round; fewer have no shape
# Factors on the variance of the difference, each with its chance; the large one is the way out of a misleading prior.
_SCALES = ((1.0, 0.9), (25.0, 0.1))
_SCALES_OF_ANOTHER_MODEL = ((1.0, 0.5), (25.0, 0.5))
_JUMP_DEVIATION = 0.1  # of the jump of the last batch that works around its mean in the earlier round


def beliefs(axes: Axes, request: SearchRequest, *, chance: float) -> tuple[Belief, ...]:
    """Return what the earlier round says, empty if it has fewer than `MIN_CELLS` cells or its losses have no ratios."""
    if request.prior is None:
        return ()
    known = [cell for cell in request.prior.cells if cell.is_measured and axes.of(cell.configuration) is not None]
    scale = values_of([cell.loss for cell in known if cell.loss is not None])
    if len(known) < MIN_CELLS or not scale.are_logarithms:
        return ()
    scales = _SCALES if request.prior.same_model else _SCALES_OF_ANOTHER_MODEL
    old = _points(axes, [cell.configuration for cell in known], _lasts(request, request.prior, known))
    trend = surface.SLOPE * old.at[:, 1]
    level = float((scale.values - trend).mean())
    covariance = surface.shared_covariance(axes, old, old) + np.diag(scale.noise)
    solved = np.linalg.solve(covariance, scale.values - trend - level)
    inverse = np.linalg.inv(covariance)
    jump = Jump(mean=surface.LAST_COMMON**2 * float(old.is_last @ solved), shared=_JUMP_DEVIATION, own=_JUMP_DEVIATION)

    def mean(at: Array) -> Array:
        return np.asarray(level + surface.SLOPE * at[:, 1] + surface.shared_covariance(axes, _new(at), old) @ solved)

    def belief(factor: float, share: float) -> Belief:
        def between(left: Array, right: Array) -> Array:
            ours, theirs = _new(left), _new(right)
            rest = surface.shared_covariance(axes, ours, theirs)
            rest -= surface.shared_covariance(axes, ours, old) @ inverse @ surface.shared_covariance(axes, old, theirs)
            return np.asarray(rest + factor * surface.change_covariance(axes, ours, theirs) + LEVEL**2)

        def variance(at: Array) -> Array:
            cross = surface.shared_covariance(axes, _new(at), old)
            rest = surface.shared_variance(axes, _new(at)) - ((cross @ inverse) * cross).sum(axis=1)
            return np.asarray(rest + factor * surface.CHANGE_VARIANCE + LEVEL**2)

        return Belief(chance=chance * share, mean=mean, covariance=between, variance=variance, jump=jump)

    return tuple(belief(factor, share) for factor, share in scales)


def old_best(request: SearchRequest) -> Configuration | None:
    """Return the best configuration of the earlier round, if it is open and nothing has been tried in this round."""
    if request.prior is None or request.trials:
        return None
    found = [cell for cell in request.prior.cells if cell.is_measured and cell.is_usable]
    best = min(found, key=lambda cell: cell.loss or 0.0, default=None)
    return best.configuration if best is not None and best.configuration in request.open_cells else None


def _lasts(request: SearchRequest, prior: Prior, known: list[PriorCell]) -> list[float]:
    """Return for each cell 1.0 if the next larger batch size was too large, else 0.0."""
    too_large = {cell.configuration for cell in prior.cells if cell.too_large}

    def is_last(cell: Configuration) -> bool:
        larger = next_size(request.space.batch_sizes, cell.batch_size)
        if larger is None:
            return False
        return Configuration(gpu_count=cell.gpu_count, batch_size=larger, extra=cell.extra) in too_large

    return [float(is_last(cell.configuration)) for cell in known]


def _points(axes: Axes, cells: list[Configuration], is_last: list[float]) -> Points:
    coordinates = [axes.of(cell) for cell in cells]
    return Points(np.array(coordinates, dtype=np.float64), np.zeros(len(cells)), np.array(is_last))


def _new(at: Array) -> Points:
    return Points(at, np.ones(len(at)), np.zeros(len(at)))
