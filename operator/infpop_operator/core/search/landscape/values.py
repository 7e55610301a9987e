"""Losses as values of a surface: logarithms where losses have ratios, ranks where they have none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# How far below (or above) all others, in units of the logarithm, a value of 0 lies. Reasoned, not measured.
_ZERO = 3.0
NOISE = 0.01  # relative error of one measurement
_FINEST_STEP = 3  # decimal digits up to which recorded numbers may have been rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values, larger is better, with the variance of their noise; `are_logarithms` is False where they are ranks."""

    values: Array
    noise: Array
    are_logarithms: bool


def values_of(losses: Sequence[float], errors: Sequence[float | None] | None = None) -> Values:
    """Return the values of losses, with `errors` relative to them; an error is at least 1 %.

    A loss below 0 is the negative of something to maximise, one above 0 something to minimise. A loss of 0 is worse
    than all others of the first kind, and better than all others of the second. Losses of both signs have no ratios:
    only their order counts, in units of the whole range.
    """
    found = np.asarray(losses, dtype=np.float64)
    own = np.maximum(NOISE, [error or 0.0 for error in errors or ()] or NOISE) ** 2 * np.ones_like(found)
    if (found < 0).any() and (found > 0).any():
        _, ranks = np.unique(-found, return_inverse=True)
        scaled = ranks / max(1, int(ranks.max(initial=0)))
        return Values(values=scaled.astype(np.float64), noise=own, are_logarithms=False)
    size = np.abs(found)
    sign = -1.0 if (found > 0).any() else 1.0
    logarithms = np.log(size, out=np.zeros_like(size), where=size > 0)
    others = sign * logarithms[size > 0]
    values = np.where(size > 0, sign * logarithms, 0.0)
    if others.size and (size == 0).any():
        values[size == 0] = others.max() + _ZERO if sign < 0 else others.min() - _ZERO
    return Values(values=values, noise=own + _rounding(size), are_logarithms=True)


def _rounding(size: Array) -> Array:
    """Return the variance, relative to each number, that rounding hides: recorded numbers may have few digits."""
    for digits in range(_FINEST_STEP + 1):
        scaled = size * 10.0**digits
        if (np.abs(scaled - np.round(scaled)) < 1e-9 * np.maximum(scaled, 1.0)).all():
            step = 10.0**-digits
            return np.asarray((step / np.maximum(size, step)) ** 2 / 12, dtype=np.float64)
    return np.zeros_like(size)
