"""What is believed of a surface before any trial: a generic one, a learned one, and that of an earlier round.

A `Belief` is a Gaussian process over the logarithm of the objective value, without the jump of the last batch that fits
(`jump`). Extra parameters move a surface, and bend it a little: the same in all beliefs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.landscape import kernels
from infpop_operator.core.search.landscape.kernels import Terms
from infpop_operator.core.search.landscape.knowledge import EngineKnowledge, Jump
from infpop_operator.core.search.landscape.subject import Subject
from infpop_operator.core.search.surface import Axes, likeness, matern

Array = NDArray[np.float64]

# What the values are: throughput, throughput per GPU (or the inverse of a cost), or anything else.
Powers = tuple[float, float]  # of the GPUs and of the batch size, by which a throughput is divided

# Deviation of the level: workloads, GPUs and units differ from the published ones by any factor.
LEVEL = 2.0
# Sizes of the published models (1.3 to 34 billion parameters), log2 of billions. Beyond them the slope by size is not
# extrapolated: of a model of a million parameters it would make batch size 1 the most promising one.
_SMALLEST, _LARGEST = log2(1.3), log2(34)
# The generic surface: a step takes a constant time plus a time for each sequence, equal at this batch size, so that the
# throughput saturates; more GPUs help with diminishing returns. Physical reasoning, not fitted.
_SATURATION = 32.0
_GENERIC_GPUS = 0.25  # of the logarithm, for each doubling of the GPUs
_GENERIC_GPUS_DEVIATION, _GENERIC_BATCH_DEVIATION = 0.35, 0.2
_GENERIC = Terms(
    level=LEVEL,
    gpus=0.3,
    batch=0.3,
    both=0.25,
    own_level=0.15,
    own_batch=0.05,
    roughness=0.015,
    gpus_length=1.5,
    batch_length=3.0,
    both_gpus_length=2.0,
    both_batch_length=4.0,
    own_batch_length=3.0,
)
_GENERIC_JUMPS = {"hf-pipeline": Jump(mean=0.1, shared=0.1, own=0.1)}
# Deviations by which extra parameters move a surface, and bend it. Reasoned, not measured.
_EXTRA_LEVEL, _EXTRA_BEND = 0.3, 0.1
_BEND_GPUS, _BEND_BATCH = 2.0, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """One way to see the surface, with its chance before any trial.

    `mean` and `variance` take points of shape (n, d) and return (n,); `covariance` takes two sets of points.
    """

    chance: float
    mean: Callable[[Array], Array]
    covariance: Callable[[Array, Array], Array]
    variance: Callable[[Array], Array]
    jump: Jump


def generic(axes: Axes, engine: str | None, powers: Powers | None, *, chance: float) -> Belief:
    """Return the belief that any engine follows: saturation with the batch, diminishing returns of GPUs."""

    def mean(at: Array) -> Array:
        if powers is None:
            return np.zeros(len(at))
        batch = np.log(2.0) * at[:, 1]
        rise = batch - np.log1p(np.exp(batch) / _SATURATION) + np.log(2.0) * _GENERIC_GPUS * at[:, 0]
        return np.asarray(rise - _divided(at, powers))

    def covariance(left: Array, right: Array) -> Array:
        trend = _GENERIC_GPUS_DEVIATION**2 * np.outer(left[:, 0] - axes.centre[0], right[:, 0] - axes.centre[0])
        trend += _GENERIC_BATCH_DEVIATION**2 * np.outer(left[:, 1] - axes.centre[1], right[:, 1] - axes.centre[1])
        return np.asarray(kernels.covariance(_GENERIC, left, right) + trend + _extra(axes, left, right))

    def variance(at: Array) -> Array:
        trend = _GENERIC_GPUS_DEVIATION**2 * (at[:, 0] - axes.centre[0]) ** 2
        trend += _GENERIC_BATCH_DEVIATION**2 * (at[:, 1] - axes.centre[1]) ** 2
        return np.asarray(trend + kernels.variance(_GENERIC) + _extra_variance(axes))

    jump = _GENERIC_JUMPS.get(engine or "", Jump()) if powers is not None else Jump()
    return Belief(chance=chance, mean=mean, covariance=covariance, variance=variance, jump=jump)


def learned(axes: Axes, subject: Subject, known: EngineKnowledge, powers: Powers, *, chance: float) -> Belief:
    """Return the belief that the surface is like published ones; between and beyond their points it is conditioned.

    Far from the published grid its mean goes back to the generic one.
    """
    generic_mean = generic(axes, subject.engine, (0.0, 0.0), chance=1.0).mean
    size = known.centre_size if subject.size is None else min(max(subject.size, _SMALLEST), _LARGEST)
    fill = known.centre_fill if subject.fill is None else subject.fill
    table = known.mean + known.slope * (size - known.centre_size)
    trend = table - generic_mean(known.at)
    own = kernels.covariance(known.terms, known.at, known.at)
    inverse = np.linalg.inv(own + 1e-9 * np.eye(len(own)))
    unknown_size = 0.0 if subject.size is not None else 1.0
    spread = known.spread + unknown_size * np.outer(known.slope, known.slope)

    def weights(at: Array) -> Array:
        return np.asarray(kernels.covariance(known.terms, at, known.at) @ inverse, dtype=np.float64)

    def mean(at: Array) -> Array:
        tight = known.fill_slope * tightness(fill, at[:, 0])
        return np.asarray(generic_mean(at) + weights(at) @ trend + tight - _divided(at, powers), dtype=np.float64)

    def covariance(left: Array, right: Array) -> Array:
        ours, theirs = weights(left), weights(right)
        rest = kernels.covariance(known.terms, left, right) - ours @ own @ theirs.T
        return np.asarray(ours @ spread @ theirs.T + rest + LEVEL**2 + _extra(axes, left, right))

    def variance(at: Array) -> Array:
        ours = weights(at)
        rest = kernels.variance(known.terms) - ((ours @ own) * ours).sum(axis=1)
        return np.asarray(((ours @ spread) * ours).sum(axis=1) + rest + LEVEL**2 + _extra_variance(axes))

    return Belief(chance=chance, mean=mean, covariance=covariance, variance=variance, jump=known.jump)


def _divided(at: Array, powers: Powers) -> Array:
    """Return the logarithm of what a throughput is divided by."""
    return np.asarray(np.log(2.0) * (powers[0] * at[:, 0] + powers[1] * at[:, 1]), dtype=np.float64)


def tightness(fill: float, gpus: Array) -> Array:
    """Return how tightly weights fill the GPUs (log2): 0 where they take less than half of the memory."""
    return np.asarray(np.maximum(0.0, fill - gpus + 1.0), dtype=np.float64)


def _extra(axes: Axes, left: Array, right: Array) -> Array:
    if not axes.has_extra:
        return np.zeros((len(left), len(right)))
    alike = likeness(axes, left, right)
    gpus = matern(np.abs(left[:, None, 0] - right[None, :, 0]), _BEND_GPUS)
    batch = matern(np.abs(left[:, None, 1] - right[None, :, 1]), _BEND_BATCH)
    return np.asarray(alike * (_EXTRA_LEVEL**2 + _EXTRA_BEND**2 * gpus * batch), dtype=np.float64)


def _extra_variance(axes: Axes) -> float:
    return _EXTRA_LEVEL**2 + _EXTRA_BEND**2 if axes.has_extra else 0.0
