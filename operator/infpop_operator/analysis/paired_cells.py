"""Pair the cells of landscapes that differ in one respect: the same configuration on two GPU models, or two engines.

Only cells of the same model, extra parameters, GPU count and batch size under the same conditions (`comparable`) are a
pair, both with a number.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal

from infpop_operator.analysis.comparable import Conditions, conditions_of
from infpop_operator.analysis.grids import number_of
from infpop_operator.analysis.result_landscapes import ResultLandscape
from infpop_operator.core.study import Scalar

Respect = Literal["gpu_model", "engine"]
_Common = tuple[str, str, Conditions]  # the model, and the engine or GPU model
_Configuration = tuple[int, int, tuple[tuple[str, Scalar], ...]]  # GPU count, batch size, extra parameters
_Numbers = dict[_Configuration, list[float]]  # in tokens/s, one for each study


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

    Of several studies on the same side a configuration has the median, as in the statistics.

    Args:
        landscapes: the newest round of each pool.
        respect: what the two sides differ in.
    """
    sides: dict[_Common, dict[str, _Numbers]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for landscape in landscapes:
        side = _side(landscape, respect)
        if side is not None:
            numbers = sides[_common(landscape, respect)][side]
            for row in landscape.cells.values():
                number = number_of(row)
                if number is not None:
                    numbers[row.gpu_count, row.batch_size, tuple(sorted(row.extra.items()))].append(number)
    pairs = [pair for (model, other, _), each in sides.items() for pair in _pairs(model, other, each)]
    return tuple(_slower_first(pairs))


def _side(landscape: ResultLandscape, respect: Respect) -> str | None:
    return landscape.first.gpu_model if respect == "gpu_model" else landscape.first.engine


def _common(landscape: ResultLandscape, respect: Respect) -> _Common:
    row = landscape.first
    return (row.model, row.engine if respect == "gpu_model" else row.gpu_model or row.device, conditions_of(row))


def _pairs(model: str, other: str, sides: Mapping[str, _Numbers]) -> Iterator[PairedCells]:
    for first, second in combinations(sorted(sides), 2):
        shared = sides[first].keys() & sides[second].keys()
        ratios = sorted(median(sides[second][each]) / median(sides[first][each]) for each in shared)
        if ratios:
            yield PairedCells(model=model, other=other, first=first, second=second, ratios=tuple(ratios))


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
