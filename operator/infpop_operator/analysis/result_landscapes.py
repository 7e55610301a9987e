"""Group the rows of results into landscapes: one for each model, engine, GPU model and round of a study.

Several trials at one GPU count and batch size (they differ in extra parameters) share a cell. The cell shows the best
of them, and says how many there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from infpop_operator.analysis.rows import ResultTable, TrialResultRow
from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell, arrange

Place = tuple[int, int]  # batch size, GPU count

# Of several trials in one cell the most informative one is shown: a number, then open work, then failures.
_ORDER = tuple(
    CellState[name]
    for name in (
        "MEASURED",
        "RUNNING",
        "UNTRIED",
        "RACED_OUT",
        "INVALID",
        "BROKEN",
        "INFEASIBLE",
        "RULED_OUT",
        "OUTSIDE",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLandscape:
    """The cells of one round of a pool, or of one recorded landscape.

    Attributes:
        first: a row of it; what all rows have in common is read there.
        gpu_counts: ascending.
        batch_sizes: ascending.
        cells: the row that a cell shows.
        variants: how many trials share a cell, only where there are several.
        newest: when its last trial ended, None if no row says.
    """

    first: TrialResultRow
    gpu_counts: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    cells: dict[Place, TrialResultRow]
    variants: dict[Place, int]
    newest: datetime | None

    @property
    def best(self) -> TrialResultRow | None:
        """The recommended row, else the fastest that may be recommended; None without a measured one."""
        measured = [row for row in self.cells.values() if row.throughput_tokens_per_second is not None]
        chosen = next((row for row in measured if row.is_best), None)
        return chosen or max(measured, key=_preferred, default=None)


def to_landscapes(table: ResultTable) -> tuple[ResultLandscape, ...]:
    """Return the landscapes in the order of model, engine, GPU model, study, pool and round.

    They have the configurations without a trial too, where at least one of their round has a trial.
    """
    groups: dict[tuple[str | int, ...], list[TrialResultRow]] = {}
    for row in table.trials:
        groups.setdefault(_key(row), []).append(row)
    for row in _without_trial(table):
        groups[_key(row)].append(row)
    return tuple(_to_landscape(groups[key]) for key in sorted(groups))


def to_picture(landscape: ResultLandscape) -> Landscape:
    """Return the landscape in the form that tables and heat maps draw; without a recommended cell, the fastest is best.

    Parameters of which it shows only the best value are in `collapsed_extra`.
    """
    best = landscape.best
    cells = (_to_cell(row, is_best=row is best) for row in landscape.cells.values())
    extra = sorted({name for place in landscape.variants for name in landscape.cells[place].extra})
    return arrange(cells, collapsed_extra=tuple(extra))


def _without_trial(table: ResultTable) -> Iterator[TrialResultRow]:
    rounds = {(row.source, row.study, row.pool, row.round): row for row in table.trials} if table.cells else {}
    for cell in table.cells:
        row = rounds.get((cell.source, cell.study, cell.pool, cell.round))
        if row is not None:
            yield TrialResultRow(
                source=row.source,
                study=row.study,
                pool=row.pool,
                round=row.round,
                trial=-1,
                gpu_model=row.gpu_model,
                device=row.device,
                model=row.model,
                engine=row.engine,
                workload=row.workload,
                simulated=row.simulated,
                gpu_count=cell.gpu_count,
                batch_size=cell.batch_size,
                extra=cell.extra,
                state=cell.state,
                reason=cell.reason,
                detail=cell.detail,
            )


def _preferred(row: TrialResultRow) -> tuple[bool, float]:
    return (row.reason is None, row.throughput_tokens_per_second or 0.0)


def _key(row: TrialResultRow) -> tuple[str | int, ...]:
    return (
        row.model,
        row.engine,
        row.gpu_model or "",
        row.study,
        row.source,
        row.pool,
        row.workload or "",
        row.device,
        row.simulated,
        row.round,
    )


def _to_landscape(rows: list[TrialResultRow]) -> ResultLandscape:
    cells: dict[Place, TrialResultRow] = {}
    variants: dict[Place, int] = {}
    for row in rows:
        place = (row.batch_size, row.gpu_count)
        shown = cells.get(place)
        if shown is not None:
            variants[place] = variants.get(place, 1) + 1
        if shown is None or _shown_first(row) < _shown_first(shown):
            cells[place] = row
    return ResultLandscape(
        first=rows[0],
        gpu_counts=tuple(sorted({gpu_count for _, gpu_count in cells})),
        batch_sizes=tuple(sorted({batch_size for batch_size, _ in cells})),
        cells=cells,
        variants=variants,
        newest=max((row.ended_at for row in rows if row.ended_at is not None), default=None),
    )


def _shown_first(row: TrialResultRow) -> tuple[bool, int, float]:
    return (not row.is_best, _ORDER.index(row.state), -(row.throughput_tokens_per_second or 0.0))


def _to_cell(row: TrialResultRow, *, is_best: bool) -> LandscapeCell:
    return LandscapeCell(
        gpu_count=row.gpu_count,
        batch_size=row.batch_size,
        state=row.state,
        throughput_tokens_per_second=row.throughput_tokens_per_second,
        at_most_tokens_per_second=row.at_most_tokens_per_second,
        spread_ratio=row.spread_ratio,
        reason=row.reason,
        detail=row.detail,
        extra=tuple(sorted(row.extra.items())),
        is_best=is_best,
        reused_from=row.reused_from,
    )
