"""Compare two sets of rows side by side: the best of each, and every cell that both have.

Nothing is ranked that may not be compared (`analysis.comparable`). A ratio is always second / first. Its interval is
that of two independent numbers on a logarithmic scale, from the intervals of the rows or the spread of their repeats;
where one of the two is unknown, so is the interval of the ratio.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import comb, exp, floor, log, sqrt
from statistics import fmean, median

from infpop_operator.analysis.comparable import compare_conditions, condition_differences
from infpop_operator.analysis.grids import Grid, Place, arrange_grids, error_of, number_of, shared_places
from infpop_operator.analysis.rows import Interval, TrialResultRow

_Z = 1.959963984540054  # of a 95 % interval
_TAIL = 0.025
_EXACT = 1000  # numbers; above, the binomial distribution is as good as normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A number of one side, with what it was measured on."""

    engine: str
    gpu_model: str
    gpu_count: int
    batch_size: int
    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two numbers of one model; `ratio_interval` is None where the noise of one of them is unknown."""

    model: str
    first: Cell
    second: Cell
    ratio: float
    ratio_interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Over all paired cells: the geometric mean of the ratios, their median with its interval, and unpaired cells."""

    pairs: int
    mean_ratio: float | None
    median_ratio: float | None
    median_ratio_interval: Interval | None
    only_first: int
    only_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sides. If `differences` is not empty they must not be compared, and nothing else is there but the names."""

    first: str
    second: str
    differences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    best: tuple[Pair, ...] = ()
    cells: tuple[Pair, ...] = ()
    summary: Summary | None = None


def compare_results(
    first: tuple[str, Sequence[TrialResultRow]], second: tuple[str, Sequence[TrialResultRow]]
) -> Comparison:
    """Return two sides next to each other, or what differs so that they must not be compared.

    Args:
        first: the name and the rows of the first side, at least one.
        second: likewise; ratios are second / first.

    Where each side has one engine, two engines may be compared; so may two GPU models. Otherwise like is compared with
    like: cells of the same engine and the same GPU model.
    """
    found = compare_conditions(first[1], second[1])
    if found.refusals:
        return Comparison(first=first[0], second=second[0], differences=found.refusals)
    pairs = _matched(arrange_grids(first[1]), arrange_grids(second[1]))
    if not pairs:
        missing = "no model has a number of both sides under the same conditions, on the same engine and GPU model"
        return Comparison(first=first[0], second=second[0], differences=(missing,))
    cells = tuple(pair for old, new in pairs for pair in _cells(old, new))
    warnings = [*found.warnings]
    if any(grid.has_variants for both in pairs for grid in both):
        warnings.append("some cells were measured with several extra parameters: the fastest is shown")
    return Comparison(
        first=first[0],
        second=second[0],
        warnings=tuple(warnings),
        best=tuple(_best(old, new) for old, new in pairs),
        cells=cells,
        summary=_summary(cells, pairs),
    )


def to_document(comparison: Comparison) -> dict[str, object]:
    """Return the comparison as JSON values."""
    return {"comparable": not comparison.differences, **asdict(comparison)}


def median_interval(values: Sequence[float]) -> Interval | None:
    """Return a 95 % interval of the median that assumes no distribution, None for fewer than 6 values.

    Its ends are the k-th smallest and k-th largest value, with the largest k for which fewer than k of n tosses of a
    coin are heads with a probability of at most 2.5 %. Source: Conover, Practical Nonparametric Statistics, 3.2.
    """
    n, ordered = len(values), sorted(values)
    if n > _EXACT:
        k = floor(n / 2 - _Z * sqrt(n) / 2)
    else:
        k, below = 0, 1
        while below <= _TAIL * 2**n:
            k += 1
            below += comb(n, k)
    return (ordered[k - 1], ordered[n - k]) if k else None


def _matched(first: Sequence[Grid], second: Sequence[Grid]) -> list[tuple[Grid, Grid]]:
    first, second = ([grid for grid in side if grid.rates] for side in (first, second))
    by_engine = _differs(first, second, lambda grid: grid.engine)
    by_hardware = _differs(first, second, lambda grid: grid.hardware)

    def key(grid: Grid) -> tuple[str, str, str]:
        return (grid.model, "" if by_engine else grid.engine, "" if by_hardware else grid.hardware)

    others: dict[tuple[str, str, str], list[Grid]] = defaultdict(list)
    for grid in second:
        others[key(grid)].append(grid)
    return [
        (grid, other)
        for grid in sorted(first, key=lambda each: (*key(each), each.conditions))
        for other in others[key(grid)]
        if not condition_differences([grid.conditions], [other.conditions])
    ]


def _differs(first: Sequence[Grid], second: Sequence[Grid], of: Callable[[Grid], str]) -> bool:
    """Return whether each side has one value of its own, so that the values are what is compared."""
    sides = tuple({of(grid) for grid in side} for side in (first, second))
    return all(len(side) == 1 for side in sides) and sides[0] != sides[1]


def _best(first: Grid, second: Grid) -> Pair:
    """Return the recommended numbers of both, or the fastest of one for which nothing is recommended."""
    first, second = _with_recommended_number(first), _with_recommended_number(second)
    places = tuple(grid.recommended or max(grid.rates, key=grid.rates.__getitem__) for grid in (first, second))
    return _pair(first, second, *places)


def _with_recommended_number(grid: Grid) -> Grid:
    """Return the grid with the number of what is recommended, where that is not the fastest variant of its place."""
    place, row = grid.recommended, grid.recommended_row
    rate = None if row is None else number_of(row)
    if place is None or row is None or rate is None:
        return grid
    error = error_of(row, rate)
    errors = {**grid.errors, place: error} if error is not None else {}
    return replace(grid, rates={**grid.rates, place: rate}, errors=errors)


def _cells(first: Grid, second: Grid) -> Iterator[Pair]:
    for place in shared_places(first, second):
        yield _pair(first, second, place, place)


def _pair(first: Grid, second: Grid, at: Place, other_at: Place) -> Pair:
    cells = (_cell(first, at), _cell(second, other_at))
    ratio = cells[1].tokens_per_second / cells[0].tokens_per_second
    errors = (first.errors.get(at), second.errors.get(other_at))
    return Pair(
        model=first.model, first=cells[0], second=cells[1], ratio=ratio, ratio_interval=_ratio_interval(ratio, *errors)
    )


def _cell(grid: Grid, place: Place) -> Cell:
    return Cell(
        engine=grid.engine,
        gpu_model=grid.hardware,
        gpu_count=place[0],
        batch_size=place[1],
        tokens_per_second=grid.rates[place],
    )


def _ratio_interval(ratio: float, first: float | None, second: float | None) -> Interval | None:
    if first is None or second is None:
        return None
    width = _Z * sqrt(first**2 + second**2)
    return (ratio * exp(-width), ratio * exp(width))


def _summary(cells: Sequence[Pair], pairs: Sequence[tuple[Grid, Grid]]) -> Summary:
    ratios = [pair.ratio for pair in cells]
    return Summary(
        pairs=len(cells),
        mean_ratio=exp(fmean(map(log, ratios))) if ratios else None,
        median_ratio=median(ratios) if ratios else None,
        median_ratio_interval=median_interval(ratios),
        only_first=sum(len(old.rates.keys() - new.rates.keys()) for old, new in pairs),
        only_second=sum(len(new.rates.keys() - old.rates.keys()) for old, new in pairs),
    )
