"""Recorded landscapes in CSV text: one line for each cell, read strictly, and turned into result rows.

The seven `COLUMNS` are required. Those of `WORKLOAD_COLUMNS` tell landscapes of one model apart; those of
`_MORE_NUMBERS`, `_MORE_TEXTS` and `date` add to a cell what is known of it. Any other column is ignored. Throughput is
in tokens/s: a file in another unit, or with numbers that only a person can read, is refused.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from pathlib import PurePath
from typing import Any

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import Problem, ResultError
from infpop_operator.core.landscape import CellState
from infpop_runner.contract import one_line

COLUMNS = ("gpu_model", "engine", "model", "gpu_count", "batch_size", "outcome", "throughput_tokens_per_second")
# Optional columns, and what names them; different values are different landscapes.
WORKLOAD_COLUMNS = {"input_tokens": "in ", "output_tokens": "out ", "precision": ""}
OUTCOMES = ("ok", "infeasible", "missing")
GENERATED_NOTHING = "GeneratedNothing"
RECORDED_AS_INFEASIBLE = "RecordedAsInfeasible"
NOT_RECORDED = "NotRecorded"

_THROUGHPUT = COLUMNS[6]
_MORE_NUMBERS = (  # optional columns with a number above 0, named like the fields of a row
    "price_per_gpu_hour",
    "load_seconds",
    "measured_seconds",
    "gpu_seconds",
    "seconds_per_output_token",
    "tokens_per_joule",
)
_MORE_COUNTS = ("parameters", "repeats", "generated_tokens", "gpu_memory_peak_bytes")
_MORE_TEXTS = ("reason", "detail", "software", "engine_version", "gpu_driver", "node")
_NO_MORE: Mapping[str, Any] = {}  # one for all cells: there may be a million
_OPTIONAL = {*WORKLOAD_COLUMNS, *_MORE_NUMBERS, *_MORE_COUNTS, *_MORE_TEXTS, "date"}
_PER_SECOND = {"second": "", "minute": "Divide by 60", "hour": "Divide by 3600", "ms": "Multiply by 1000"}
_NUMBER = r"\d[\d.,' _\u00a0\u202f]*"  # as people write one: 1,234.5 or 1 234


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCell:
    """One line of the file. `rate` is in tokens/s, None where the configuration does not work or was not recorded.

    `workload` is what the columns of the workload say, empty without them; `more` has the optional fields of a row.
    """

    line: int
    gpu_model: str
    engine: str
    model: str
    workload: str
    gpu_count: int
    batch_size: int
    outcome: str
    rate: float | None
    new_tokens: int | None
    more: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the landscape of the cell belongs to."""
        return (self.gpu_model, self.engine, self.model, self.workload)


def parse_landscape(text: str, source: str) -> tuple[RecordedCell, ...]:
    """Return the cells of a file in its order; one cell may occur several times.

    Args:
        text: the content of the file.
        source: names it in errors.

    Raises:
        ResultError: a column is missing or in another unit, or a line cannot be understood. It names file, line, column
            and value.
    """
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey=None, restval=None)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        _check_columns(source, reader.fieldnames)
        optional = tuple(name for name in reader.fieldnames if name in _OPTIONAL)
        return tuple(_cell(_Line(source, reader.line_num, fields), optional) for fields in reader)
    except csv.Error as error:
        raise cell_error(source, None, "", "", f"is not CSV ({error})", "Name a CSV file of recorded cells") from error


def landscape_rows(cells: Iterable[RecordedCell], source: str) -> tuple[TrialResultRow, ...]:
    """Return the row of each cell; the fastest cell of a landscape is its best, equal ones go to fewer GPUs.

    Raises:
        ResultError: a cell occurs twice: nothing says which of its numbers is right.
    """
    cells = tuple(cells)
    _refuse_repeated(cells, source)
    bests, study = _bests(cells), PurePath(source).stem
    numbers: dict[tuple[str, str, str, str], int] = {}
    rows = []
    for cell in cells:
        numbers[cell.key] = numbers.get(cell.key, -1) + 1
        rows.append(_row(cell, source, study, numbers[cell.key], is_best=bests.get(cell.key) is cell))
    return tuple(rows)


def cell_error(source: str, line: int | None, column: str, value: str, message: str, remedy: str) -> ResultError:  # noqa: PLR0917 - one for each part
    """Return the error about one place of a file."""
    place = [source, *([] if line is None else [f"line {line}"]), *([f"column {column}"] if column else [])]
    return ResultError(str(Problem(field=", ".join(place), value=value, message=message, remedy=remedy)))


class _Line:
    """The values of one line by column, without the spaces around them."""

    def __init__(self, source: str, number: int, fields: Mapping[str | None, Any]) -> None:
        self.at = number
        self._source = source
        if fields.get(None):
            remedy = "Quote a text that contains a comma, and write numbers without separators: 1234, not 1,234"
            raise self.error("", ",".join(fields[None]), "is more than the first line has columns for", remedy)
        self._values = {name: (value or "").strip() for name, value in fields.items() if name is not None}

    def __getitem__(self, column: str) -> str:
        return self._values.get(column, "")

    def error(self, column: str, value: str, message: str, remedy: str) -> ResultError:
        return cell_error(self._source, self.at, column, value, message, remedy)

    def name(self, column: str) -> str:
        value = _name(self[column])
        if not value:
            raise self.error(column, "", "is empty", "Fill it in")
        return value

    def count(self, column: str) -> int:
        value = self[column]
        number = int(value) if value.isascii() and value.isdigit() else 0
        if number < 1:
            raise self.error(column, value, "is not a whole number of at least 1", "Correct it")
        return number

    def number(self, column: str, *, above_zero: bool) -> float:
        value = self[column]
        try:
            number = float(value) if "_" not in value else -1.0
        except ValueError:
            number = -1.0
        if not isfinite(number) or number < 0 or (above_zero and number == 0):
            least = "above 0" if above_zero else "of at least 0"
            raise self.error(column, value, f"is not a number {least}", _number_remedy(column, value))
        return number

    def date(self, column: str) -> datetime:
        value = self[column]
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise self.error(column, value, "is no date", "Write it as 2026-11-29 or 2026-11-29T12:00:00Z") from None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@lru_cache(maxsize=4096)
def _name(text: str) -> str:
    """Return a name as one line, the same object for each line of the file that has it."""
    return one_line(text)


def _number_remedy(column: str, value: str) -> str:
    if re.fullmatch(_NUMBER, value) and not re.fullmatch(r"[\d.]+", value):
        return "Write it without separators, with a point before decimals: 1234.5"
    if re.fullmatch(_NUMBER + r"[^\d\s]+.*", value):
        unit = "tokens per second" if column == _THROUGHPUT else column.rpartition("_")[2]
        return f"Write the number of {unit} alone, without a unit"
    return (
        "Write the tokens per second, or another outcome" if column == _THROUGHPUT else "Correct it or leave it empty"
    )


def _check_columns(source: str, known: Sequence[str]) -> None:
    repeated = sorted({name for name in known if known.count(name) > 1})
    if repeated:
        raise cell_error(source, 1, repeated[0], "", "occurs twice", "Name each column once")
    missing = [name for name in COLUMNS if name not in known]
    other = next((name for name in known if re.match(r"(throughput|tokens)(_|$)", name)), None)
    if missing == [_THROUGHPUT] and other is not None:
        raise cell_error(
            source, 1, other, "", f"does not say tokens per second; {_THROUGHPUT} is missing", _unit(other)
        )
    if missing:
        remedy = f"The first line names the columns: {', '.join(COLUMNS)}"
        raise cell_error(source, 1, "", "", f"the columns {', '.join(missing)} are missing", remedy)


def _unit(column: str) -> str:
    words = column.split("_")
    steps = next((step for unit, step in _PER_SECOND.items() if unit in words), "")
    name = f"ame the column {_THROUGHPUT}"
    return f"{steps}, and n{name}" if steps else f"N{name} if it is in tokens per second"


def _cell(line: _Line, optional: Sequence[str]) -> RecordedCell:
    names = [line.name(column) for column in COLUMNS[:3]]
    counts = [line.count(column) for column in COLUMNS[3:5]]
    outcome = line["outcome"]
    if outcome not in OUTCOMES:
        raise line.error("outcome", outcome, "is not known", f"Use one of: {', '.join(OUTCOMES)}")
    if outcome != "ok" and line[_THROUGHPUT] not in {"", "0", "0.0"}:
        message = f"is a throughput, and the outcome is {outcome}"
        raise line.error(_THROUGHPUT, line[_THROUGHPUT], message, "Write the outcome ok, or leave the throughput empty")
    known = [name for name in optional if line[name]]
    workload = [f"{word}{line[name]}" for name, word in WORKLOAD_COLUMNS.items() if name in known]
    return RecordedCell(
        line=line.at,
        gpu_model=names[0],
        engine=names[1],
        model=names[2],
        workload=_name(", ".join(workload)),
        gpu_count=counts[0],
        batch_size=counts[1],
        outcome=outcome,
        rate=line.number(_THROUGHPUT, above_zero=False) if outcome == "ok" else None,
        new_tokens=line.count("output_tokens") if "output_tokens" in known else None,
        more={name: value for each in known for name, value in _more(line, each)} if known else _NO_MORE,
    )


def _more(line: _Line, column: str) -> Iterator[tuple[str, object]]:
    """Yield the field of a row that an optional column gives, if any."""
    if column in _MORE_NUMBERS:
        yield (column, line.number(column, above_zero=True))
    elif column in _MORE_COUNTS:
        yield (column, line.count(column))
    elif column in _MORE_TEXTS:
        yield (column, _name(line[column]))
    elif column == "input_tokens" and line[column].isdecimal():  # a range, or a mean with a spread, is only a name
        yield ("prompt_tokens_mean", float(line[column]))
    elif column == "output_tokens":
        yield ("new_tokens_per_sequence", line.count(column))
    elif column == "date":
        yield ("ended_at", line.date(column))


def _refuse_repeated(cells: Iterable[RecordedCell], source: str) -> None:
    first: dict[tuple[object, ...], RecordedCell] = {}
    for cell in cells:
        before = first.setdefault((*cell.key, cell.gpu_count, cell.batch_size), cell)
        if before is not cell:
            what = f"{cell.gpu_count} GPUs, batch size {cell.batch_size}"
            message = f"is the cell of line {before.line} again: {', '.join(part for part in cell.key if part)}"
            remedy = f"Remove one of the two lines, or add a column that differs: {', '.join(WORKLOAD_COLUMNS)}"
            raise cell_error(source, cell.line, "", what, message, remedy)


def _bests(cells: Iterable[RecordedCell]) -> Mapping[tuple[str, str, str, str], RecordedCell]:
    bests: dict[tuple[str, str, str, str], RecordedCell] = {}
    for cell in cells:
        if cell.rate and (cell.key not in bests or _order(cell) < _order(bests[cell.key])):
            bests[cell.key] = cell
    return bests


def _order(cell: RecordedCell) -> tuple[float, int, int]:
    return (-(cell.rate or 0.0), cell.gpu_count, cell.batch_size)


def _row(cell: RecordedCell, source: str, study: str, number: int, *, is_best: bool) -> TrialResultRow:
    state, why = _state(cell)
    return TrialResultRow(
        source=source,
        study=study,
        pool=cell.gpu_model,
        trial=number,
        gpu_model=cell.gpu_model,
        model=cell.model,
        engine=cell.engine,
        gpu_count=cell.gpu_count,
        batch_size=cell.batch_size,
        state=state,
        throughput_tokens_per_second=cell.rate or None,
        workload=cell.workload or None,
        is_best=is_best,
        **{"reason": why, **cell.more},
    )


def _state(cell: RecordedCell) -> tuple[CellState, str | None]:
    """Return the state of a cell, and why it has no number; 0 tokens/s is no number to compare with."""
    match cell.outcome:
        case "infeasible":
            return (CellState.INFEASIBLE, RECORDED_AS_INFEASIBLE)
        case "missing":
            return (CellState.UNTRIED, NOT_RECORDED)
        case _:
            return (CellState.MEASURED, None) if cell.rate else (CellState.INVALID, GENERATED_NOTHING)
