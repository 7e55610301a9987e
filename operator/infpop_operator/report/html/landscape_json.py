"""Landscapes as compact JSON values: columns instead of objects, so that a page with a million cells stays small.

Cells are in rows: all GPU counts of the smallest batch size, then those of the next. A number has five significant
digits, which is more than a measurement has.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from infpop_operator.analysis.comparable import hardware_of
from infpop_operator.analysis.result_landscapes import ResultLandscape
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.tradeoffs import tradeoffs
from infpop_operator.core.landscape import CellState
from infpop_operator.report.words import on_one_line

# One letter per cell; landscapes.js and curves.js test for the same letters.
STATE_LETTERS = {
    CellState.MEASURED: "m",
    CellState.RACED_OUT: "r",
    CellState.INFEASIBLE: "x",
    CellState.RULED_OUT: "n",
    CellState.INVALID: "i",
    CellState.BROKEN: "b",
    CellState.RUNNING: "o",
    CellState.UNTRIED: "u",
    CellState.OUTSIDE: " ",
}
_LONGEST_DETAIL = 300

Json = dict[str, Any]


class Reasons:
    """The reasons of cells, each once: cells refer to them by their place in `texts`."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, row: TrialResultRow) -> int:
        """Return the place of the row's reason and detail in `texts`."""
        text = ": ".join(part for part in (row.reason or "", on_one_line(row.detail)[:_LONGEST_DETAIL]) if part)
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]


def to_json(landscape: ResultLandscape, reasons: Reasons) -> Json:
    """Return a landscape as JSON values; a column without any number is left out."""
    row = landscape.first
    cells = [
        landscape.cells.get((batch_size, gpu_count))
        for batch_size in landscape.batch_sizes
        for gpu_count in landscape.gpu_counts
    ]
    best = landscape.best
    choices = tradeoffs(tuple(landscape.cells.values()))
    columns = len(landscape.gpu_counts)
    places = {batch_size: columns * place for place, batch_size in enumerate(landscape.batch_sizes)}
    across = {gpu_count: place for place, gpu_count in enumerate(landscape.gpu_counts)}
    found: Json = {
        "study": row.study,
        "source": row.source,
        "pool": row.pool,
        "round": row.round,
        "model": row.model,
        "engine": row.engine,
        "gpu": hardware_of(row),
        "device": row.device,
        "workload": row.workload,
        "software": row.engine_version or row.software,
        "date": None if landscape.newest is None else landscape.newest.date().isoformat(),
        "simulated": row.simulated,
        "price": row.price_per_gpu_hour,
        "counts": list(landscape.gpu_counts),
        "batches": list(landscape.batch_sizes),
        "states": "".join(" " if cell is None else STATE_LETTERS[cell.state] for cell in cells),
        "values": _column(cells, _number_of),
        "seconds": _column(cells, lambda cell: cell.seconds_per_output_token),
        "joule": _column(cells, lambda cell: cell.tokens_per_joule),
        "low": _column(cells, lambda cell: _end(cell, 0)),
        "high": _column(cells, lambda cell: _end(cell, 1)),
        "spread": _column(cells, lambda cell: cell.spread_ratio),
        "best": None if best is None else places[best.batch_size] + across[best.gpu_count],
        "recommended": best is not None and best.is_best,
        "why": {place: reasons.place(cell) for place, cell in enumerate(cells) if cell is not None and cell.reason},
        "front": [places[each.row.batch_size] + across[each.row.gpu_count] for each in choices.front],
        "binding": list(choices.binding),
        "reused": [place for place, cell in enumerate(cells) if cell is not None and cell.reused_from],
        "variants": {},
        "extra": {},
    }
    for place, cell in enumerate(cells):
        if cell is None:
            continue
        if cell.extra:
            found["extra"][place] = ", ".join(f"{name}={value}" for name, value in sorted(cell.extra.items()))
        if (cell.batch_size, cell.gpu_count) in landscape.variants:
            found["variants"][place] = landscape.variants[cell.batch_size, cell.gpu_count]
    return {name: value for name, value in found.items() if value not in (None, {}, [])}


def short(number: float | None) -> float | None:
    """Return a number with five significant digits, a whole one without a fraction."""
    if number is None:
        return None
    rounded = float(f"{number:.5g}")
    return int(rounded) if rounded.is_integer() else rounded


def _number_of(cell: TrialResultRow) -> float | None:
    return cell.at_most_tokens_per_second if cell.state is CellState.RACED_OUT else cell.throughput_tokens_per_second


def _end(cell: TrialResultRow, which: int) -> float | None:
    return None if cell.interval_tokens_per_second is None else cell.interval_tokens_per_second[which]


def _column(
    cells: Sequence[TrialResultRow | None], of: Callable[[TrialResultRow], float | None]
) -> list[float | None] | None:
    numbers = [None if cell is None else short(of(cell)) for cell in cells]
    return numbers if any(number is not None for number in numbers) else None


def all_to_json(landscapes: Iterable[ResultLandscape]) -> Json:
    """Return all landscapes with the reasons that their cells refer to."""
    reasons = Reasons()
    return {"landscapes": [to_json(each, reasons) for each in landscapes], "reasons": reasons.texts}
