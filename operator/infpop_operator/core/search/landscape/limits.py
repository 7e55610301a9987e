"""The largest batch that works, for each engine load: chances from published limits and from the trials of the load.

A limit is a number of working batch sizes, from none (the weights do not fit) to all. A load is judged by its own
trials and, with doubt, by those of loads with as many GPUs and other extra parameters; never by another GPU count:
more GPUs are no certain help.
"""

from collections.abc import Sequence
from math import log2

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.capacity import Capacity
from infpop_operator.core.search.landscape.knowledge import EngineKnowledge
from infpop_operator.core.search.landscape.subject import Subject
from infpop_operator.core.search.request import SearchRequest, SearchTrial
from infpop_operator.core.study import Configuration, Scalar

Array = NDArray[np.float64]
LoadKey = tuple[int, tuple[tuple[str, Scalar], ...]]

# Shares of the chances before any trial: the learned limits, the generic ones, and any limit at all. The last two keep
# a limit possible that no published landscape has. Chosen by leaving one model out (`benchmarks/bench_landscape.py`).
_LEARNED, _ANYWHERE = 0.8, 0.06
WARM = 0.5  # of an earlier round's limits, against those of a first round
_LIKE_NOTHING = 1e-3  # sum of the likenesses below which nothing published counts
_SHARPNESS = 0.35  # of a limit near a published one, doublings
_ALIKE_FILL, _ALIKE_GPUS = 0.6, 1.0  # how far limits of other memory filling and GPU counts count, doublings
# The generic limit: weights that fill this share of the memory work in half of the cases, within about 20 %.
_FITS, _FITS_SHARPNESS = 0.9, 0.12
_UNKNOWN_DOUBT = 0.15  # chance that weights of unknown size do not fit one GPU; for n GPUs divided by the root of n
# Chance that all batch sizes work, where the weights fit: an engine with paged memory takes any, others do not.
_ALL_WORK = {"vllm": 0.7, "hf-pipeline": 0.05}
_ALL_WORK_ELSEWHERE = 0.3
_CONTRADICTION = 1e-4  # chance of a result that its limit forbids: out of memory is not always monotone
_OTHER_FAILURE = 0.5  # what a failure for another reason than memory says against a load without any success
_SIBLING = 0.75  # how far a load with other extra parameters is like this one


class Limits:
    """The chances of one request."""

    def __init__(
        self,
        request: SearchRequest,
        subject: Subject,
        known: EngineKnowledge | None,
        cells: Sequence[Configuration],
    ) -> None:
        """Learn from the trials of `request`; `cells` are those that will be asked about."""
        tried = [trial.configuration for trial in request.trials]
        sizes = {*request.space.batch_sizes, *(cell.batch_size for cell in (*cells, *tried))}
        self._sizes = tuple(sorted(sizes))
        self._place = {size: place for place, size in enumerate(self._sizes)}
        self.keys: tuple[LoadKey, ...] = tuple(dict.fromkeys(cell.load_key for cell in (*cells, *tried)))
        self._row = {key: row for row, key in enumerate(self.keys)}
        by_count = {count: self._before(count, subject, known) for count in {key[0] for key in self.keys}}
        by_load: dict[LoadKey, list[SearchTrial]] = {}
        for trial in request.trials:
            by_load.setdefault(trial.configuration.load_key, []).append(trial)
        evidence = {key: self._evidence(own) for key, own in by_load.items()}
        nothing = np.ones(self.count + 1)
        rows = [by_count[key[0]] * evidence.get(key, nothing) * self._of_siblings(key, evidence) for key in self.keys]
        cold: Array = np.array([row / row.sum() for row in rows]).reshape(len(rows), self.count + 1)
        self.chances = cold if request.prior is None else (1 - WARM) * cold + WARM * self._earlier(Capacity(request))

    def rows(self, cells: Sequence[Configuration]) -> NDArray[np.intp]:
        """Return the row of each cell's load in `chances`."""
        return np.array([self._row[cell.load_key] for cell in cells], dtype=np.intp)

    def places(self, cells: Sequence[Configuration]) -> NDArray[np.intp]:
        """Return the position of each cell's batch among all batch sizes; it works if its limit is larger."""
        return np.array([self._place[cell.batch_size] for cell in cells], dtype=np.intp)

    @property
    def count(self) -> int:
        """How many batch sizes there are; a limit of this many has no batch that fails."""
        return len(self._sizes)

    def works(self, cells: Sequence[Configuration]) -> Array:
        """Return the chance of each cell that its batch is not too large, shape (n,)."""
        above = np.cumsum(self.chances[:, ::-1], axis=1)[:, ::-1]
        return np.asarray(above[self.rows(cells), self.places(cells) + 1], dtype=np.float64)

    def is_last(self, cells: Sequence[Configuration]) -> Array:
        """Return the chance of each cell, if it works, to be the last that does; 0 for the largest batch of all."""
        places = self.places(cells)
        own = self.chances[self.rows(cells), places + 1]
        return np.asarray(np.where(places + 1 < self.count, own / np.maximum(self.works(cells), 1e-12), 0.0))

    def drawn(self, uniform: Array) -> NDArray[np.intp]:
        """Return limits drawn with uniform numbers, shape (draws, loads)."""
        below = np.cumsum(self.chances, axis=1)
        drawn = (uniform[:, :, None] > below[None, :, :-1]).sum(axis=2)
        return np.asarray(drawn, dtype=np.intp)

    def _earlier(self, capacity: Capacity) -> Array:
        """Return the chances that an earlier round and the trials of this one give, shape of `chances`."""
        works = [
            capacity.works([Configuration(gpu_count=count, batch_size=size, extra=extra) for size in self._sizes])
            for count, extra in self.keys
        ]
        above = np.array(works).reshape(len(self.keys), self.count)
        edges = np.ones((len(self.keys), 1))
        return np.asarray(np.maximum(-np.diff(np.hstack([edges, above, 0 * edges])), 0.0), dtype=np.float64)

    def _before(self, gpu_count: int, subject: Subject, known: EngineKnowledge | None) -> Array:
        """Return the chances of the limits of a GPU count before any trial, shape (batch sizes + 1,)."""
        generic = self._generic(gpu_count, subject)
        learned = None if known is None else self._learned(gpu_count, subject, known)
        mixed = generic if learned is None else _LEARNED * learned + (1 - _LEARNED) * generic
        return np.asarray((1 - _ANYWHERE) * mixed + _ANYWHERE / len(mixed), dtype=np.float64)

    def _generic(self, gpu_count: int, subject: Subject) -> Array:
        if subject.fill is None:
            fits = 1 - _UNKNOWN_DOUBT / gpu_count**0.5
        else:
            fits = float(_logistic(np.array((log2(_FITS) - (subject.fill - log2(gpu_count))) / _FITS_SHARPNESS)))
        all_work = _ALL_WORK.get(subject.engine or "", _ALL_WORK_ELSEWHERE)
        some = np.full(self.count, (1 - all_work) / self.count)
        some[-1] += all_work
        return np.concatenate([[1 - fits], fits * some])

    def _learned(self, gpu_count: int, subject: Subject, known: EngineKnowledge) -> Array | None:
        gpus = log2(gpu_count)
        if not known.limits:
            return None
        apart = np.array([(each.gpus - gpus) / _ALIKE_GPUS for each in known.limits]) ** 2
        if subject.fill is not None:
            apart += np.array([(each.fill - subject.fill + gpus) / _ALIKE_FILL for each in known.limits]) ** 2
        weights = np.exp(-0.5 * apart)
        if weights.sum() < _LIKE_NOTHING:
            return None
        total = np.zeros(self.count + 1)
        for weight, each in zip(weights / weights.sum(), known.limits, strict=True):
            total += weight * self._near(each.last, is_open=each.is_open)
        return total

    def _near(self, last: float | None, *, is_open: bool) -> Array:
        """Return chances centred on a published limit."""
        chances = np.zeros(self.count + 1)
        if last is None:
            chances[0] = 1.0
            return chances
        if is_open:
            chances[-1] = 1.0
            return chances
        positions = np.log2(np.array(self._sizes, dtype=np.float64))
        works = np.concatenate([[1.0], _logistic((last + 0.5 - positions) / _SHARPNESS), [0.0]])
        return np.asarray(works[:-1] - works[1:], dtype=np.float64)

    def _evidence(self, own: Sequence[SearchTrial]) -> Array:
        """Return how likely each limit makes the results of one load."""
        limits = np.arange(self.count + 1)
        total = np.ones(self.count + 1)
        any_works = any(trial.state in {"measured", "bounded"} for trial in own)
        for trial in own:
            place = self._place[trial.configuration.batch_size]
            if trial.state in {"measured", "bounded"}:
                total = total * np.where(limits > place, 1.0, _CONTRADICTION)
            elif trial.while_loading and not any_works:
                total = total * np.where(limits == 0, 1.0, _CONTRADICTION)
            elif trial.too_large and not trial.while_loading:
                total = total * np.where(limits <= place, 1.0, _CONTRADICTION)
            elif trial.state == "failed" and not any_works:
                total = total * np.where(limits == 0, 1.0, _OTHER_FAILURE)
        return total

    def _of_siblings(self, key: LoadKey, evidence: dict[LoadKey, Array]) -> Array:
        total = np.ones(self.count + 1)
        for other, found in evidence.items():
            if other != key and other[0] == key[0] and found.min() < 1.0:
                total = total * (_SIBLING * found / found.max() + 1 - _SIBLING)
        return total


def _logistic(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))), dtype=np.float64)
