"""A Gaussian process over the landscapes of two rounds: the earlier one, and what the newer one changed.

The logarithm of the objective value in the earlier round is a smooth surface over (log2 GPUs, log2 batch, extra
parameters); in the newer round it is that surface plus a difference, which is smooth too and has a level of its own.
The level cancels the ratio of the two rounds: no value of the earlier round is ever compared with one of the newer.
Where nothing was measured, a prediction comes from the neighbours in both rounds.

All constants were chosen on recorded landscapes (`benchmarks/README.md` says how, and what that is worth).
"""

from dataclasses import dataclass
from math import log2, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.study import Configuration, Scalar, SearchSpace

Array = NDArray[np.float64]

_LEVEL = 30.0  # deviation of the level of a surface: unknown, whatever the units are
SLOPE = 0.4  # of the surface along the batch size, per doubling: 1.5 times the tokens/s
_SLOPE_DEVIATION = 0.5
_SURFACE, _SURFACE_GPUS, _SURFACE_BATCH, _SURFACE_ROUGHNESS = 1.1, 2.5, 8.0, 0.02  # deviation, two lengths, own noise
_CHANGE, _CHANGE_GPUS, _CHANGE_BATCH, _CHANGE_ROUGHNESS = 0.2, 0.9, 6.0, 0.02
CHANGE_VARIANCE = _CHANGE**2 + _CHANGE_ROUGHNESS**2
_EXTRA_LENGTH = 2.0  # steps between the values of an extra parameter; reasoned, not measured
_UNLIKE_WORDS = 2.0  # distance of two words, in such steps
# The largest batch that works is often faster than the trend (Hugging Face pipelines: 16 % on average); the gain is
# shared by all loads, and each has one of its own.
LAST_COMMON, _LAST_OWN = 0.2, 0.1
_NOISE = 0.01  # relative error of one measurement


class Points(NamedTuple):
    """Configurations as arrays of n rows: coordinates (n, d), whether of the newer round, and the chance to be last."""

    at: Array
    is_new: Array
    is_last: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Mean and deviation of the logarithm at each point, and the log-likelihood of what is known."""

    mean: Array
    deviation: Array
    evidence: float


class Axes:
    """The coordinates of a search space: GPUs and batch size in doublings, then the extra parameters in steps."""

    def __init__(self, space: SearchSpace) -> None:
        """Take the extra parameters of `space` in order of their names."""
        self._extra = sorted(space.extra, key=lambda parameter: parameter.name)
        self.has_extra = bool(self._extra)
        self.is_word = np.array([False, False, *(not _are_numbers(entry.values) for entry in self._extra)])
        self.centre = np.array(
            [
                np.mean([log2(count) for count in space.gpu_counts]),
                np.mean([log2(size) for size in space.batch_sizes]),
            ]
        )

    def of(self, cell: Configuration) -> tuple[float, ...] | None:
        """Return the coordinates of a configuration; None if it has other extra parameters, or a word of no axis."""
        chosen = dict(cell.extra)
        if chosen.keys() != {entry.name for entry in self._extra}:
            return None
        places = [_place(entry.values, chosen[entry.name]) for entry in self._extra]
        known = [place for place in places if place is not None]
        return None if len(known) < len(places) else (log2(cell.gpu_count), log2(cell.batch_size), *known)


def predict(axes: Axes, known: Points, values: Array, wanted: Points, *, scale: float) -> Prediction:
    """Return what the values (logarithms, larger is better) at the points `known` say about the points `wanted`.

    The mean of each round is subtracted first, so that the result does not depend on the unit of the earlier round.

    Args:
        axes: the axes of both.
        known: all different within a round, at least one of them of the earlier round.
        values: shape (n,).
        wanted: shape (m,).
        scale: factor on the variance of the difference between the rounds; a large one trusts the earlier round less.
    """
    covariance = _covariance(axes, known, known, scale) + _NOISE**2 * np.eye(len(values))
    root = np.linalg.cholesky(covariance)
    trend = values - SLOPE * known.at[:, 1]
    earlier, newer = (_mean(trend[known.is_new == which]) for which in (0, 1))
    residual = trend - np.where(known.is_new == 1, newer, earlier)
    white = np.linalg.solve(root, residual)
    shared = np.linalg.solve(root, _covariance(axes, known, wanted, scale))
    own = _variance(axes, wanted, scale)
    variance = np.maximum(own - (shared**2).sum(axis=0), 1e-12)
    evidence = -0.5 * float(white @ white) - float(np.log(np.diag(root)).sum())
    mean = newer + SLOPE * wanted.at[:, 1] + shared.T @ white
    return Prediction(mean=mean, deviation=np.sqrt(variance), evidence=evidence)


def likeness(axes: Axes, left: Array, right: Array) -> Array:
    """Return the correlation of points by their extra parameters alone, shape (n, m); 1 where they are the same."""
    apart = np.abs(left[:, None, 2:] - right[None, :, 2:])
    apart = np.where(axes.is_word[2:], _UNLIKE_WORDS * (apart > 0), apart)
    return np.asarray(np.prod(matern(apart, _EXTRA_LENGTH), axis=2), dtype=np.float64)


def to_logarithms(losses: Array) -> Array | None:
    """Return the logarithms of objective values, larger is better; None if the losses are not all of one sign.

    A loss below 0 is the negative of a value to maximise, one above 0 a value to minimise.
    """
    if (losses < 0).all():
        return np.asarray(np.log(-losses), dtype=np.float64)
    return np.asarray(-np.log(losses), dtype=np.float64) if (losses > 0).all() else None


def _mean(values: Array) -> float:
    """Return the mean, 0 of none: where nothing was measured in the newer round, only the shape matters."""
    return float(values.mean()) if values.size else 0.0


def shared_covariance(axes: Axes, left: Points, right: Points) -> Array:
    """Return the covariance of the surface that both rounds have, with its level and the gain of the last batch."""
    apart = _apart(axes, left, right)
    same = (apart == 0).all(axis=2)
    trend = (left.at[:, :2] - axes.centre) @ (right.at[:, :2] - axes.centre).T
    surface = _LEVEL**2 + _SLOPE_DEVIATION**2 * trend + _SURFACE_ROUGHNESS**2 * same
    surface += _SURFACE**2 * _alike(apart, _SURFACE_GPUS, _SURFACE_BATCH)
    one_load = (np.delete(apart, 1, axis=2) == 0).all(axis=2)
    surface += np.outer(left.is_last, right.is_last) * (LAST_COMMON**2 + _LAST_OWN**2 * one_load)
    return np.asarray(surface, dtype=np.float64)


def change_covariance(axes: Axes, left: Points, right: Points) -> Array:
    """Return the covariance of the difference between the rounds, without its level."""
    apart = _apart(axes, left, right)
    change = _CHANGE**2 * _alike(apart, _CHANGE_GPUS, _CHANGE_BATCH)
    return np.asarray(change + _CHANGE_ROUGHNESS**2 * (apart == 0).all(axis=2), dtype=np.float64)


def shared_variance(axes: Axes, points: Points) -> Array:
    """Return the diagonal of `shared_covariance` of points with themselves, where every correlation is 1."""
    trend = ((points.at[:, :2] - axes.centre) ** 2).sum(axis=1)
    surface = _LEVEL**2 + _SLOPE_DEVIATION**2 * trend + _SURFACE**2 + _SURFACE_ROUGHNESS**2
    return np.asarray(surface + points.is_last**2 * (LAST_COMMON**2 + _LAST_OWN**2), dtype=np.float64)


def _covariance(axes: Axes, left: Points, right: Points, scale: float) -> Array:
    both_new = np.outer(left.is_new, right.is_new)
    change = _LEVEL**2 + scale * change_covariance(axes, left, right)
    return np.asarray(shared_covariance(axes, left, right) + both_new * change, dtype=np.float64)


def _variance(axes: Axes, points: Points, scale: float) -> Array:
    """Return the diagonal of the covariance of `points` with themselves."""
    change = points.is_new**2 * (_LEVEL**2 + scale * CHANGE_VARIANCE)
    return np.asarray(shared_variance(axes, points) + change, dtype=np.float64)


def _apart(axes: Axes, left: Points, right: Points) -> Array:
    apart = np.abs(left.at[:, None, :] - right.at[None, :, :])
    return np.where(axes.is_word, _UNLIKE_WORDS * (apart > 0), apart)


def _alike(apart: Array, gpus_length: float, batch_length: float) -> Array:
    others = np.prod(matern(apart[:, :, 2:], _EXTRA_LENGTH), axis=2)
    return np.asarray(matern(apart[:, :, 0], gpus_length) * matern(apart[:, :, 1], batch_length) * others)


def matern(distance: Array, length: float) -> Array:
    """Return the Matérn 5/2 correlation: Rasmussen and Williams, Gaussian Processes (2006), equation 4.17."""
    ratio = sqrt(5.0) * distance / length
    return np.asarray((1 + ratio + ratio**2 / 3) * np.exp(-ratio), dtype=np.float64)


def _are_numbers(values: tuple[Scalar, ...]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _place(values: tuple[Scalar, ...], value: Scalar) -> float | None:
    """Return the position of a value among the values of its axis, between two of them for another number.

    Numbers are in ascending order, whatever order the study names them in.
    """
    if _are_numbers(values) and isinstance(value, int | float):
        return float(np.interp(float(value), sorted(float(each) for each in values), range(len(values))))
    return float(values.index(value)) if value in values else None
