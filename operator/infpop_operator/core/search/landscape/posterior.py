"""Landscapes drawn from what is believed and what was measured.

Each belief becomes a Student-t posterior: a Gaussian one is too sure of its scale after a few trials, and stops too
early. The evidence of the trials shifts the chances between the beliefs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, exp, lgamma, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.landscape.surfaces import Belief

Array = NDArray[np.float64]
Places = NDArray[np.intp]

FREEDOM = 6.0  # degrees of freedom before any trial
_JITTER = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Cells as arrays of n rows: coordinates, the row of the load, and the chance to be the last batch that works."""

    at: Array
    loads: Places
    is_last: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was observed at points: values with variances of their noise; a `bounded` value is at most the given one."""

    points: Points
    values: Array
    noise: Array
    bounded: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Mean and scale matrix of the surface at the wanted points, then of the jump of each of their loads, by its row.

    `freedom` are the degrees of freedom, `evidence` the logarithm of the likelihood of what was measured.
    """

    mean: Array
    scale: Array
    freedom: float
    evidence: float


def posterior(belief: Belief, known: Known, wanted: Points) -> Posterior:
    """Return what a belief says about the wanted points after what is known."""
    at, loads, last = known.points.at, known.points.loads, known.points.is_last
    rows = np.unique(wanted.loads)
    jumps = _jumps(belief, rows, rows)
    total = len(wanted.at) + len(rows)
    mean = np.concatenate([belief.mean(wanted.at), np.full(len(rows), belief.jump.mean)])
    scale = np.zeros((total, total))
    scale[: len(wanted.at), : len(wanted.at)] = belief.covariance(wanted.at, wanted.at)
    scale[len(wanted.at) :, len(wanted.at) :] = jumps
    if not len(at):
        return Posterior(mean=mean, scale=scale, freedom=FREEDOM, evidence=0.0)
    own = belief.covariance(at, at) + np.outer(last, last) * _jumps(belief, loads, loads)
    cross = np.concatenate([belief.covariance(at, wanted.at), last[:, None] * _jumps(belief, loads, rows)], axis=1)
    expected = belief.mean(at) + last * belief.jump.mean
    values, noise = _with_bounds(known, expected, own)
    return _conditioned(
        Posterior(mean=mean, scale=scale, freedom=FREEDOM, evidence=0.0), values - expected, own, cross, noise
    )


def _jumps(belief: Belief, left: Places, right: Places) -> Array:
    """Return the covariance of the jumps of loads."""
    same = left[:, None] == right[None, :]
    return np.asarray(belief.jump.shared**2 + belief.jump.own**2 * same, dtype=np.float64)


def marginal(belief: Belief, known: Known, wanted: Points) -> tuple[Array, Array]:
    """Return mean and deviation of each wanted point alone, with its jump if it is the last: cheap for many points."""
    jump = belief.jump
    mean = belief.mean(wanted.at) + wanted.is_last * jump.mean
    variance = belief.variance(wanted.at) + wanted.is_last**2 * (jump.shared**2 + jump.own**2)
    at, loads, last = known.points.at, known.points.loads, known.points.is_last
    if not len(at):
        return mean, np.sqrt(variance)
    own = belief.covariance(at, at) + np.outer(last, last) * _jumps(belief, loads, loads)
    cross = belief.covariance(at, wanted.at) + np.outer(last, wanted.is_last) * _jumps(belief, loads, wanted.loads)
    expected = belief.mean(at) + last * jump.mean
    values, noise = _with_bounds(known, expected, own)
    root = np.linalg.cholesky(own + np.diag(noise + _JITTER))
    white = np.linalg.solve(root, np.column_stack([cross, values - expected]))
    mean = mean + white[:, :-1].T @ white[:, -1]
    return mean, np.sqrt(np.maximum(variance - (white[:, :-1] ** 2).sum(axis=0), 1e-12))


def chances(beliefs: Sequence[Belief], found: Sequence[Posterior], *, least_last: float) -> Array:
    """Return how likely each belief is after what was measured; they add up to 1, the last is about `least_last`."""
    evidence = np.array([log(belief.chance) + each.evidence for belief, each in zip(beliefs, found, strict=True)])
    shares = np.exp(evidence - evidence.max())
    shares /= shares.sum()
    shares[-1] = max(shares[-1], least_last)
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def draw(found: Posterior, normal: Array, chi_square: Array) -> Array:
    """Return draws of a posterior, shape (draws, points + loads).

    Args:
        found: the posterior.
        normal: standard normal numbers, shape (draws, points + loads).
        chi_square: chi-square numbers with `found.freedom` degrees of freedom, divided by these, shape (draws,).
    """
    root = np.linalg.cholesky(found.scale + _JITTER * np.eye(len(found.scale)))
    return np.asarray(found.mean + (normal @ root.T) / np.sqrt(chi_square)[:, None], dtype=np.float64)


def _conditioned(before: Posterior, residual: Array, own: Array, cross: Array, noise: Array) -> Posterior:
    """Return the posterior after residuals with covariance `own` + noise.

    Source: Shah, Wilson and Ghahramani, Student-t Processes as Alternatives to Gaussian Processes (2014).
    """
    count = len(residual)
    root = np.linalg.cholesky(own + np.diag(noise + _JITTER))
    white = np.linalg.solve(root, np.column_stack([cross, residual]))
    square = float(white[:, -1] @ white[:, -1])
    freedom = FREEDOM + count
    scale = before.scale - white[:, :-1].T @ white[:, :-1]
    evidence = lgamma(freedom / 2) - lgamma(FREEDOM / 2) - count / 2 * log(FREEDOM * pi)
    evidence -= float(np.log(np.diag(root)).sum()) + freedom / 2 * log(1 + square / FREEDOM)
    return Posterior(
        mean=before.mean + white[:, :-1].T @ white[:, -1],
        scale=scale * (FREEDOM + square) / freedom,
        freedom=freedom,
        evidence=evidence,
    )


def _with_bounds(known: Known, expected: Array, own: Array) -> tuple[Array, Array]:
    """Return values and noise in which each bound is replaced by a value that tells as much.

    The value has the mean and variance of the normal distribution below the bound (assumed density filtering: Minka
    2001, one pass).
    """
    values, noise = known.values.copy(), known.noise.copy()
    done = list(np.flatnonzero(~known.bounded))
    for place in np.flatnonzero(known.bounded):
        mean, variance = _predicted(place, done, values - expected, own, noise)
        mean, deviation = mean + expected[place], sqrt(variance)
        bound = min((known.values[place] - mean) / deviation, 8.0)
        ratio = _density(bound) / max(_below(bound), 1e-12) if bound > -5 else -bound  # noqa: PLR2004 - Mills' ratio
        left = min(max(1 - ratio * (bound + ratio), 0.01), 1 - 1e-6)
        noise[place] = variance * left / (1 - left)
        values[place] = mean - deviation * ratio / (1 - left)
        done.append(place)
    return values, noise


def _predicted(place: int, done: list[int], residual: Array, own: Array, noise: Array) -> tuple[float, float]:
    variance = float(own[place, place])
    if not done:
        return 0.0, variance
    root = np.linalg.cholesky(own[np.ix_(done, done)] + np.diag(noise[done] + _JITTER))
    white = np.linalg.solve(root, np.column_stack([own[done, place], residual[done]]))
    return float(white[:, 0] @ white[:, 1]), max(variance - float(white[:, 0] @ white[:, 0]), 1e-9)


def _density(value: float) -> float:
    return exp(-0.5 * value**2) / sqrt(2 * pi)


def _below(value: float) -> float:
    return 0.5 * (1 + erf(value / sqrt(2)))
