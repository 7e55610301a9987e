"""Companions of a cell: what else is worth measuring while its engine is loaded.

A load costs as much as many short measurements. A set for one load grows while the gain of all of it per GPU-second
rises. A companion may be worth it only if the load turns out well: then it says how good an earlier trial of the load
must be.
"""

from collections.abc import Sequence
from math import exp

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.landscape.gain import expected_gain, load_seconds, measuring_seconds
from infpop_operator.core.search.landscape.outlook import HOPELESS, Outlook, outlook
from infpop_operator.core.search.request import Companion, SearchRequest
from infpop_operator.core.study import Configuration

Array = NDArray[np.float64]

_FARTHEST = 700.0  # of a logarithm whose number a float can hold
_PARTS = 8  # of the drawn landscapes, by how good the load turns out


class _Load:
    """The cells of one load in an outlook, and what they cost."""

    def __init__(self, request: SearchRequest, seen: Outlook, first: Configuration) -> None:
        self.seen = seen
        self.gpus = np.array([cell.gpu_count for cell in seen.cells], dtype=np.float64)
        self.seconds = measuring_seconds(request, seen)
        self.load_seconds = load_seconds(request.facts)
        self.first = seen.cells.index(first)
        own = np.array([cell.load_key == first.load_key for cell in seen.cells]) & seen.is_open
        self.others = [int(place) for place in np.flatnonzero(own) if place != self.first]
        self.new_loads = np.flatnonzero(seen.is_open & ~own)

    def rate(self, chosen: Sequence[int]) -> float:
        """Return the gain of a set per GPU-second, with the load."""
        best = self.seen.values[:, list(chosen)].max(axis=1)
        spent = self.load_seconds + float(self.seconds[list(chosen)].sum())
        return float(expected_gain(self.seen, best[:, None])[0]) / (float(self.gpus[self.first]) * spent)

    def is_worth_it(self, place: int, before: Sequence[int], draws: NDArray[np.intp]) -> bool:
        """Return whether, in some of the landscapes, a cell gains more per GPU-second than a load of another kind."""
        part = self.seen.only(draws).after(before)
        own = float(expected_gain(part, part.values[:, [place]])[0] / (self.gpus[place] * self.seconds[place]))
        if not len(self.new_loads):
            return bool(own > 0)
        spent = self.gpus[self.new_loads] * (self.load_seconds + self.seconds[self.new_loads])
        return bool(own >= float((expected_gain(part, part.values[:, self.new_loads]) / spent).max()))


def companions(request: SearchRequest, first: Configuration, most: int) -> tuple[Companion, ...]:
    """Return up to `most` open cells for the load of `first`, in the order to measure them."""
    if first not in request.open_cells:
        return ()
    seen = outlook(request, keep=first.load_key)
    if first not in seen.cells:
        return ()
    load = _Load(request, seen, first)
    chosen = [load.first]
    while len(chosen) <= most:
        left = [place for place in load.others if place not in chosen]
        rates = [round(load.rate([*chosen, place]), 12) for place in left]
        if not rates or max(rates) <= load.rate(chosen) * (1 + 1e-9):
            break
        chosen.append(left[rates.index(max(rates))])
    found = [_companion(request, load, chosen[:number], chosen[number]) for number in range(1, len(chosen))]
    return tuple(each for each in found if each is not None)


def _companion(request: SearchRequest, load: _Load, before: Sequence[int], place: int) -> Companion | None:
    """Return a companion after the cells `before`, with the loss that one of them needs.

    None if nothing is enough, or if no loss can say what is.
    """
    reached = load.seen.values[:, list(before)].max(axis=1)
    order = np.argsort(reached, kind="stable")
    parts = np.array_split(order, _PARTS)
    least: float | None = None
    for part in reversed(parts):
        if not load.is_worth_it(place, before, part):
            break
        least = float(reached[part[0]])
    if least is None:
        return None
    cell = load.seen.cells[place]
    if least <= float(reached[order[0]]) or least <= HOPELESS / 2:
        return Companion(configuration=cell)
    needs = _loss(request, load.seen, least)
    return None if needs is None else Companion(configuration=cell, needs_loss=needs)


def _loss(request: SearchRequest, seen: Outlook, value: float) -> float | None:
    """Return the loss of a value, None where losses have no ratios or their sign is not known yet."""
    known = [trial.loss for trial in request.trials if trial.loss]
    if not seen.scale.are_logarithms or not (known or request.facts.losses_are_throughput):
        return None
    value = min(max(value, -_FARTHEST), _FARTHEST)
    return exp(-value) if known and known[0] > 0 else -exp(value)
