"""Pair the cells of landscapes that differ in one respect: the same configuration on two GPU models, or two engines.

Only cells of the same model, extra parameters, GPU count and batch size under the same conditions (`comparable`) are a
pair, both with a number.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal

from infpop_operator.analysis.comparable import Conditions, conditions_of
from infpop_operator.analysis.result_landscapes import ResultLandscape

Respect = Literal["gpu_model", "engine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCells:
    """The pairs of one model: throughput on `second` / throughput on `first`, in ascending order.

    Attributes:
        model: the model.
        other: what both sides have in common besides: the engine, or the GPU model.
        first: the slower side of the comparison over all of its models: a GPU model, or an engine.
        second: the faster side.
        ratios: one for each pair, at least one, ascending.
    """

    model: str
    other: str
    first: str
    second: str
    ratios: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the quantile of the ratios, linear between neighbours (Hyndman and Fan 1996, definition 7)."""
        place = share * (len(self.ratios) - 1)
        below = int(place)
        above = min(below + 1, len(self.ratios) - 1)
        return self.ratios[below] + (place - below) * (self.ratios[above] - self.ratios[below])


def paired_cells(landscapes: Iterable[ResultLandscape], respect: Respect) -> tuple[PairedCells, ...]:
    """Return the pairs of every model for which both sides were measured, the slower side of both first.

    Of several landscapes on the same side the last counts: as `to_landscapes` sorts them, the newest round of a pool,
    and the last by name of several studies.
    """
    sides: dict[tuple[str, str, Conditions], dict[str, ResultLandscape]] = {}
    for landscape in landscapes:
        side = _side(landscape, respect)
        if side is not None:
            sides.setdefault(_common(landscape, respect), {})[side] = landscape
    pairs = [pair for (model, other, _), each in sides.items() for pair in _pairs(model, other, each)]
    return tuple(_slower_first(pairs))


def _side(landscape: ResultLandscape, respect: Respect) -> str | None:
    return landscape.first.gpu_model if respect == "gpu_model" else landscape.first.engine


def _common(landscape: ResultLandscape, respect: Respect) -> tuple[str, str, Conditions]:
    row = landscape.first
    return (row.model, row.engine if respect == "gpu_model" else row.gpu_model or row.device, conditions_of(row))


def _pairs(model: str, other: str, sides: dict[str, ResultLandscape]) -> Iterator[PairedCells]:
    for first, second in combinations(sorted(sides), 2):
        ratios = sorted(_ratios(sides[first], sides[second]))
        if ratios:
            yield PairedCells(model=model, other=other, first=first, second=second, ratios=tuple(ratios))


def _ratios(first: ResultLandscape, second: ResultLandscape) -> Iterator[float]:
    for place, row in first.cells.items():
        partner = second.cells.get(place)
        if partner is None or dict(partner.extra) != dict(row.extra):
            continue
        slow, fast = row.throughput_tokens_per_second, partner.throughput_tokens_per_second
        if slow is not None and fast is not None:
            yield fast / slow


def _slower_first(pairs: list[PairedCells]) -> Iterator[PairedCells]:
    """Turn a comparison round where its median over all models says that the first side is the faster one."""
    together: dict[tuple[str, str], list[float]] = {}
    for pair in pairs:
        together.setdefault((pair.first, pair.second), []).append(pair.quantile(0.5))
    for pair in pairs:
        if median(together[pair.first, pair.second]) >= 1:
            yield pair
        else:
            ratios = tuple(1 / ratio for ratio in reversed(pair.ratios))
            yield PairedCells(model=pair.model, other=pair.other, first=pair.second, second=pair.first, ratios=ratios)
