"""Arrange rows as grids: the throughput of one model on one engine and GPU model at each GPU count and batch size.

Only measured numbers count, and 0 is none. What ran out of memory, was raced out or is broken has no number here. Of a
pool with several rounds on the same hardware only the newest counts: an older one was measured under another spec.
Of several variants of extra parameters a cell holds the fastest, as a landscape shows it; of several studies that
measured the same cell, the median.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from infpop_operator.analysis.comparable import Conditions, conditions_of, hardware_of
from infpop_operator.analysis.landscape_csv import RECORDED_AS_INFEASIBLE
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.landscape import CellState
from infpop_operator.core.load_memory import OUT_OF_MEMORY
from infpop_operator.core.standard_error import error_of_interval, error_of_spread

# A recorded landscape has no reason. What works at smaller batch sizes, but not here, is out of memory.
_OUT_OF_MEMORY = (OUT_OF_MEMORY, RECORDED_AS_INFEASIBLE)
# Tokens/s. One token in 11 days, and a million GPUs with a million tokens/s each; squares of these fit into a double.
_THROUGHPUT = frozenset({"throughput", None})  # the default; None: an older table does not tell
_PLAUSIBLE = (1e-6, 1e12)
Place = tuple[int, int]  # GPU count and batch size


class Best(NamedTuple):
    """The best number of a grid, in tokens/s, and its place."""

    place: Place
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The numbers of one model on one engine and one GPU model under the same conditions, in tokens/s.

    `errors` are the standard errors of those numbers of which it is known, relative to them.
    `without_number` are the places that were tried and have no number, with the reason; `has_variants` says that places
    had several variants of extra parameters; `recommended` is what its study recommends, which may have other aims than
    throughput, and `recommended_row` the row if its place has a faster variant. Of what several studies recommend, that
    is what was confirmed on fresh loads, then the fastest, and of equal ones as `fastest`. `is_confirmed` says that it
    was confirmed as the highest throughput.
    """

    conditions: Conditions
    engine: str
    hardware: str
    model: str
    rates: Mapping[Place, float]
    errors: Mapping[Place, float] = field(default_factory=dict)
    without_number: Mapping[Place, str] = field(default_factory=dict)
    has_variants: bool = False
    recommended: Place | None = None
    recommended_row: TrialResultRow | None = None
    is_confirmed: bool = False

    @property
    def best(self) -> Best | None:
        """What was confirmed of the recommended place, else the fastest place; None if no place has a number.

        The highest of many noisy numbers is too high, so a confirmed number counts before it. What a study recommends
        for another metric, such as the cost, is not its highest throughput.
        """
        place = self.recommended if self.is_confirmed and self.recommended in self.rates else self.fastest
        if place is None:
            return None
        row = self.recommended_row if place == self.recommended and self.is_confirmed else None
        return Best(place, (row and number_of(row)) or self.rates[place])

    @property
    def fastest(self) -> Place | None:
        """The fastest place, None if none has a number; equal ones go to fewer GPUs, then to the smaller batch."""
        highest = max(self.rates.values(), default=None)
        return min((place for place, rate in self.rates.items() if rate == highest), default=None)

    def at_batch(self, batch_size: int) -> dict[int, float]:
        """Return tokens/s by GPU count at one batch size."""
        return {gpus: rate for (gpus, batch), rate in self.rates.items() if batch == batch_size}

    def is_out_of_memory(self, place: Place) -> bool:
        """Return whether the place was tried and did not fit into memory."""
        return self.without_number.get(place) in _OUT_OF_MEMORY


def arrange_grids(rows: Iterable[TrialResultRow]) -> tuple[Grid, ...]:
    """Return the grids of the rows, sorted by conditions, engine, hardware and model."""
    rows = tuple(rows)
    newest: dict[tuple[str, str, str, str], int] = {}
    for row in rows:
        key = _round_key(row)
        newest[key] = max(newest.get(key, 0), row.round)
    by_grid: dict[tuple[Conditions, str, str, str], dict[Place, list[TrialResultRow]]] = defaultdict(dict)
    known: dict[Conditions, Conditions] = {}  # one object for all rows, not one for each
    for row in rows:
        if row.round == newest[_round_key(row)]:
            conditions = conditions_of(row)
            places = by_grid[known.setdefault(conditions, conditions), row.engine, hardware_of(row), row.model]
            places.setdefault((row.gpu_count, row.batch_size), []).append(row)
    return tuple(_grid(*key, by_grid[key]) for key in sorted(by_grid))


def shared_places(first: Grid, second: Grid) -> tuple[Place, ...]:
    """Return where both have a number, sorted."""
    return tuple(sorted(first.rates.keys() & second.rates.keys()))


def by_conditions(grids: Iterable[Grid]) -> dict[Conditions, tuple[Grid, ...]]:
    """Return the grids by their conditions: only those of the same conditions are ever compared."""
    found: dict[Conditions, list[Grid]] = defaultdict(list)
    for grid in grids:
        found[grid.conditions].append(grid)
    return {key: tuple(each) for key, each in found.items()}


def _grid(
    conditions: Conditions, engine: str, hardware: str, model: str, places: Mapping[Place, list[TrialResultRow]]
) -> Grid:
    rates: dict[Place, float] = {}
    errors: dict[Place, float] = {}
    without: dict[Place, str] = {}
    has_variants = False
    recommended: dict[Place, list[TrialResultRow]] = {}
    for place, rows in places.items():
        rate = _rate(rows)
        has_variants = has_variants or (len(rows) > 1 and len({str(sorted(row.extra.items())) for row in rows}) > 1)
        if rate is not None:
            rates[place] = rate
            if any(row.is_best for row in rows):
                recommended[place] = rows
            error = _error(rows, rate)
            if error is not None:
                errors[place] = error
        else:
            without[place] = next((row.reason for row in rows if row.reason), _why_not(rows[0]))
    chosen = min(
        recommended, key=lambda place: (not _is_confirmed(recommended[place]), -rates[place], place), default=None
    )
    return Grid(
        conditions=conditions,
        engine=engine,
        hardware=hardware,
        model=model,
        rates=rates,
        errors=errors,
        without_number=without,
        has_variants=has_variants,
        recommended=chosen,
        recommended_row=None if chosen is None else _slower_variant(recommended[chosen], rates[chosen]),
        is_confirmed=chosen is not None and _is_confirmed(recommended[chosen], metrics=_THROUGHPUT),
    )


def _is_confirmed(rows: list[TrialResultRow], *, metrics: AbstractSet[str | None] | None = None) -> bool:
    """Return whether what a study recommends there was confirmed: any study, or one with an objective of `metrics`."""
    confirmed = (row for row in rows if row.is_best and row.confirmed_loads is not None)
    return any(metrics is None or row.objective in metrics for row in confirmed)


def _slower_variant(rows: list[TrialResultRow], rate: float) -> TrialResultRow | None:
    """Return the recommended row of a place if another variant that the same study measured there is faster."""
    best = next(row for row in rows if row.is_best)
    is_slower = (number_of(best) or rate) < rate and len({_study(row) for row in rows}) == 1
    return best if is_slower else None


def _rate(rows: list[TrialResultRow]) -> float | None:
    if len(rows) == 1:
        return number_of(rows[0])
    by_study: dict[tuple[str, str, str], float] = {}
    for row in rows:
        number, study = number_of(row), _study(row)
        if number is not None:
            by_study[study] = max(number, by_study.get(study, number))
    return median(by_study.values()) if by_study else None


def _study(row: TrialResultRow) -> tuple[str, str, str]:
    return (row.source, row.study, row.pool)


def _why_not(row: TrialResultRow) -> str:
    return "ImplausibleNumber" if row.state is CellState.MEASURED else row.state.value


def _error(rows: list[TrialResultRow], rate: float) -> float | None:
    """Return the relative standard error of the row that gave the number, None if it is unknown.

    It is unknown of the median of several studies: the error of one of them does not cover how the studies differ.
    """
    numbered = [row for row in rows if number_of(row) is not None]
    if len({_study(row) for row in numbered}) > 1:
        return None
    row = next((row for row in numbered if row.throughput_tokens_per_second == rate), None)
    return None if row is None else error_of(row, rate)


def error_of(row: TrialResultRow, rate: float) -> float | None:
    """Return the standard error of the tokens/s of a row, relative to them, None if it is unknown."""
    if row.interval_tokens_per_second is not None:
        return error_of_interval(rate, row.interval_tokens_per_second)
    if row.spread_ratio is not None and row.repeats is not None and row.repeats > 1:
        return error_of_spread(row.spread_ratio, row.repeats)
    return None


def number_of(row: TrialResultRow) -> float | None:
    """Return the tokens/s of a row, None if it has no number, or none that an engine can have reached."""
    number = row.throughput_tokens_per_second
    low, high = _PLAUSIBLE
    return number if row.state is CellState.MEASURED and number is not None and low <= number <= high else None


def _round_key(row: TrialResultRow) -> tuple[str, str, str, str]:
    return (row.source, row.study, row.pool, hardware_of(row))
