"""Covariances of surfaces over (log2 GPUs, log2 batch): sums of Matérn terms, and the likeness of extra parameters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.surface import matern

Array = NDArray[np.float64]


_FEW = 64  # points up to which it does not pay to look for equal ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Deviations (in units of the logarithm) and lengths (in doublings) of the terms of a covariance.

    A surface is the sum of a level, functions of the GPU count, of the batch size and of both, and for each GPU count a
    level and a function of the batch size that other GPU counts do not share, and roughness of each cell.
    """

    level: float
    gpus: float
    batch: float
    both: float
    own_level: float
    own_batch: float
    roughness: float
    gpus_length: float
    batch_length: float
    both_gpus_length: float
    both_batch_length: float
    own_batch_length: float


def covariance(terms: Terms, left: Array, right: Array) -> Array:
    """Return the covariance of the points `left`, shape (n, 2 or more), with `right`, shape (m, the same)."""
    if max(len(left), len(right)) <= _FEW:
        return _covariance(terms, left, right)
    # Large spaces have extra parameters: many cells share their GPU count and batch size.
    ours, row = np.unique(left[:, :2], axis=0, return_inverse=True)
    theirs, column = np.unique(right[:, :2], axis=0, return_inverse=True)
    return np.asarray(_covariance(terms, ours, theirs)[row.ravel()][:, column.ravel()], dtype=np.float64)


def _covariance(terms: Terms, left: Array, right: Array) -> Array:
    gpus = np.abs(left[:, None, 0] - right[None, :, 0])
    batch = np.abs(left[:, None, 1] - right[None, :, 1])
    same_gpus = (gpus == 0).astype(np.float64)
    total = terms.level**2 + terms.gpus**2 * matern(gpus, terms.gpus_length)
    total = total + terms.batch**2 * matern(batch, terms.batch_length)
    total += terms.both**2 * matern(gpus, terms.both_gpus_length) * matern(batch, terms.both_batch_length)
    total += same_gpus * (terms.own_level**2 + terms.own_batch**2 * matern(batch, terms.own_batch_length))
    total += same_gpus * (batch == 0) * terms.roughness**2
    return np.asarray(total, dtype=np.float64)


def variance(terms: Terms) -> float:
    """Return the variance of one point, where every correlation is 1."""
    own = terms.own_level**2 + terms.own_batch**2 + terms.roughness**2
    return terms.level**2 + terms.gpus**2 + terms.batch**2 + terms.both**2 + own
