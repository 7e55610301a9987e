"""The grids whose numbers may be compared with each other, in the orders in which the questions need them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal

from infpop_operator.analysis.grids import Grid, shared_places

Side = Literal["hardware", "engine"]  # what two sides of a comparison differ in
_Match = tuple[str, str]  # what the two sides share: the engine or the GPU model, and the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Grids of the same conditions. `workload` names them if there are others, or they are simulated."""

    grids: tuple[Grid, ...]
    workload: str | None = None

    @property
    def device(self) -> str:
        """What the GPU counts of the grids count: "GPU" or "CPU rank"."""
        return next((grid.conditions.device for grid in self.grids), "GPU")

    def by_engine_and_hardware(self) -> Mapping[tuple[str, str], tuple[Grid, ...]]:
        """Return the grids of each engine on each GPU model: one for each model."""
        found: dict[tuple[str, str], list[Grid]] = defaultdict(list)
        for grid in self.grids:
            found[grid.engine, grid.hardware].append(grid)
        return {key: tuple(grids) for key, grids in sorted(found.items())}

    def pairs(self, side: Side) -> tuple[tuple[str, str], ...]:
        """Return each two GPU models, or engines, that share a configuration of a model: the slower one first."""
        by_match: dict[_Match, list[Grid]] = defaultdict(list)
        for grid in self.grids:
            by_match[match_of(grid, side)].append(grid)
        ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        for grids in by_match.values():
            for one, other in combinations(sorted(grids, key=lambda grid: name_of(grid, side)), 2):
                shared = shared_places(one, other)
                if shared:
                    ratio = median(other.rates[place] / one.rates[place] for place in shared)
                    ratios[name_of(one, side), name_of(other, side)].append(ratio)
        return tuple(pair if median(found) >= 1 else (pair[1], pair[0]) for pair, found in sorted(ratios.items()))

    def matched(self, side: Side, first: str, second: str) -> dict[str, dict[str, tuple[Grid, Grid]]]:
        """Return the grids of each model that both sides have, by the engine or the GPU model that they share."""
        own, other = (
            {match_of(grid, side): grid for grid in self.grids if name_of(grid, side) == name}
            for name in (first, second)
        )
        found: dict[str, dict[str, tuple[Grid, Grid]]] = defaultdict(dict)
        for key in sorted(own.keys() & other.keys()):
            shared, model = key
            found[shared][model] = (own[key], other[key])
        return dict(found)


def name_of(grid: Grid, side: Side) -> str:
    """Return the name of the side that a grid is on."""
    return grid.hardware if side == "hardware" else grid.engine


def match_of(grid: Grid, side: Side) -> _Match:
    """Return what the grid of the other side must share with this one."""
    return (grid.engine if side == "hardware" else grid.hardware, grid.model)
