"""How likely each batch size works at each engine load, learned from an earlier round and from the trials of this one.

Each load (`Configuration.load_key`) has a limit: the largest batch that works, as a position in doublings. The earlier
round says between which batch sizes its limit was. Other hardware moves the limits of all loads by one common distance,
and each by a distance of its own; both are unknown, and every trial of this round says something about them. Nothing is
excluded here: only the caller's rules know what is certain.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from math import log2

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.request import PriorCell, SearchRequest, SearchTrial
from infpop_operator.core.study import Configuration

Array = NDArray[np.float64]
LoadKey = tuple[int, tuple[tuple[str, object], ...]]

# Doublings by which the limits move together, and each by itself, as standard deviations. Recorded landscapes on A100
# and V100 (`benchmarks/README.md`): half to one doubling. Between 0.5 and 1.5 a search needed about the same trials.
COMMON_SHIFT = 1.0
OWN_SHIFT = 0.7
# Chance that the limit of a load has nothing to do with the one before: where not even the weights fitted, the first
# GPU that holds them may take any batch.
ANYWHERE = 0.06
_STEP = 0.5  # of the grid of limits, in doublings
_MARGIN = 3.25  # doublings beyond the smallest and largest batch; not on a power of two, so that no batch is a limit
_FARTHEST = 4.0
_CONTRADICTION = 1e-4  # chance of a result that its limit forbids: out of memory is not always monotone


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The largest batch that worked and the smallest that was too large, as positions in doublings."""

    works: float | None
    too_large: float | None

    def allows(self, limits: Array) -> Array:
        """Return 1.0 for each limit that agrees with what is known, and 0.0 for the others."""
        agrees = np.ones_like(limits)
        if self.works is not None:
            agrees *= limits >= self.works
        if self.too_large is not None:
            agrees *= limits < self.too_large
        return agrees


class Capacity:
    """The chances of one request."""

    def __init__(self, request: SearchRequest) -> None:
        """Learn from the prior and the trials of `request`."""
        prior = () if request.prior is None else request.prior.cells
        smallest = min(request.space.batch_sizes)
        loaded = {cell.configuration.load_key for cell in prior if cell.is_usable or cell.too_large}
        before = [_earlier_result(cell, smallest, loaded) for cell in prior]
        now = [_result(each, smallest) for each in request.trials]
        sizes = [log2(size) for size in request.space.batch_sizes]
        sizes += [log2(cell.batch_size) for cell, *_ in (*before, *now)]
        self._limits = np.arange(min(sizes) - _MARGIN, max(sizes) + _MARGIN, _STEP, dtype=np.float64)
        self._sizes = request.space.batch_sizes
        shifts = np.arange(-_FARTHEST, _FARTHEST + _STEP, _STEP, dtype=np.float64)
        weight = np.log(_normal(shifts, COMMON_SHIFT))
        keys = dict.fromkeys(cell.load_key for cell in (*request.open_cells, *(cell for cell, *_ in now)))
        by_shift: dict[LoadKey, Array] = {}
        for key in keys:
            moved = self._moved(_known(before, key), shifts)
            moved = moved * np.maximum(_known(now, key).allows(self._limits), _CONTRADICTION)
            total = moved.sum(axis=1)
            weight = weight + np.log(total)
            by_shift[key] = moved / total[:, None]
        shares = np.exp(weight - weight.max())
        shares /= shares.sum()
        self._chances: dict[LoadKey, Array] = {key: shares @ moved for key, moved in by_shift.items()}

    def works(self, cells: Sequence[Configuration]) -> Array:
        """Return the chance of each cell that its batch is not too large, shape (n,)."""
        return np.array([self._above(cell.load_key, cell.batch_size) for cell in cells])

    def is_last(self, cells: Sequence[Configuration]) -> Array:
        """Return the chance of each cell that works to be the largest batch of the space that does, shape (n,).

        It is 0 for the largest batch of the space: nothing shows a limit there.
        """
        return np.array([self._is_last(cell) for cell in cells])

    def _is_last(self, cell: Configuration) -> float:
        larger = next_size(self._sizes, cell.batch_size)
        if larger is None:
            return 0.0
        works = self._above(cell.load_key, cell.batch_size)
        return max(0.0, 1.0 - self._above(cell.load_key, larger) / max(works, 1e-12))

    def _above(self, key: LoadKey, batch_size: int) -> float:
        return float(self._chances[key][self._limits >= log2(batch_size)].sum())

    def _moved(self, known: _Known, shifts: Array) -> Array:
        """Return the chances of the limits after each common shift, shape (shifts, limits); each row adds up to 1."""
        before = known.allows(self._limits)
        if not before.any():  # a smaller batch was too large than one that worked
            before = np.ones_like(self._limits)
        own = np.arange(-2.0, 2.0 + _STEP, _STEP, dtype=np.float64)
        spread = np.convolve(before / before.sum(), _normal(own, OWN_SHIFT), mode="same")
        rows = np.array([_shifted(spread, round(shift / _STEP)) for shift in shifts]) + 1e-12
        rows /= rows.sum(axis=1, keepdims=True)
        return np.asarray((1 - ANYWHERE) * rows + ANYWHERE / len(self._limits), dtype=np.float64)


def next_size(sizes: Sequence[int], batch_size: int) -> int | None:
    """Return the smallest of `sizes` above `batch_size`, None if there is none."""
    return min((size for size in sizes if size > batch_size), default=None)


def _result(trial: SearchTrial, smallest: int) -> tuple[Configuration, bool, bool]:
    """Return what a trial says: of a load that does not fit, that even the smallest batch is too large."""
    cell = trial.configuration
    if trial.while_loading:
        cell = replace(cell, batch_size=smallest)
    return (cell, trial.state in {"measured", "bounded"}, trial.too_large or trial.while_loading)


def _earlier_result(cell: PriorCell, smallest: int, loaded: Container[LoadKey]) -> tuple[Configuration, bool, bool]:
    """Return what an earlier trial says; a load that failed and worked as well is one whose batch was too large."""
    at = cell.configuration
    if cell.while_loading and at.load_key not in loaded:
        at = replace(at, batch_size=smallest)
    return (at, cell.is_usable, cell.too_large or cell.while_loading)


def _known(results: Iterable[tuple[Configuration, bool, bool]], key: LoadKey) -> _Known:
    own = [(log2(cell.batch_size), works, too_large) for cell, works, too_large in results if cell.load_key == key]
    return _Known(
        works=max((size for size, works, _ in own if works), default=None),
        too_large=min((size for size, _, too_large in own if too_large), default=None),
    )


def _normal(values: Array, deviation: float) -> Array:
    weights = np.exp(-0.5 * (values / deviation) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _shifted(values: Array, steps: int) -> Array:
    moved = np.zeros_like(values)
    if steps > 0:
        moved[steps:] = values[:-steps]
    elif steps < 0:
        moved[:steps] = values[-steps:]
    else:
        moved[:] = values
    return moved
