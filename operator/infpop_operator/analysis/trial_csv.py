"""Trials as CSV: RFC 4180 in UTF-8, a header, CRLF at the end of each record, an empty cell for what is absent.

Two rules keep a cell what it is, and `parse_csv` undoes both:
- A spreadsheet takes text that begins with =, +, -, @ or a control character for a formula, which can start programs.
  Such a text gets an apostrophe in front, and so does one that begins with apostrophes before such a character.
- The value of an extra parameter that is text but looks like a number, or like true or false, is in quotes as in JSON.

Source of the characters: OWASP, "CSV Injection".
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import Kind, Value, column_kind, columns_of, restore_row, row_values
from infpop_operator.core.errors import ExportError, Problem
from infpop_operator.core.study import Scalar

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - spreadsheets take the wide characters too
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


def render_csv(rows: Sequence[TrialResultRow]) -> bytes:
    """Return the table of the rows.

    Raises:
        ExportError: a value cannot stand in a table.
    """
    columns = columns_of(rows)
    stream = io.BytesIO()
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)  # its defaults are RFC 4180
    writer.writerow([column.name for column in columns])
    for row in rows:
        values = zip(row_values(row, columns), columns, strict=True)
        writer.writerow([csv_cell(value, column.kind) for value, column in values])
    text.flush()
    return stream.getvalue()


def parse_csv(content: bytes) -> Iterator[TrialResultRow]:
    """Yield the rows of a table that `render_csv` returned; columns of other names and empty lines are passed over.

    A spreadsheet or pandas may have written it again: `TRUE`, `5.0` for 5, and a time without a zone, which is UTC.

    Raises:
        ExportError: a cell is not of the type of its column, a record has more cells than the table has columns, or the
            table lacks a column.
    """
    return parse_csv_text(content.decode("utf-8-sig"))


def parse_csv_text(text: str) -> Iterator[TrialResultRow]:
    """Yield the rows as `parse_csv` does."""
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, [])
    kinds = [(name, column_kind(name)) for name in header]
    for number, cells in enumerate(reader, start=2):
        if not cells:  # an empty line
            continue
        if len(cells) > len(header):
            message = f"is more than the first line has columns for (record {number})"
            remedy = "Quote a text that contains a comma"
            surplus = ascii(",".join(cells[len(header) :]))
            raise ExportError(str(Problem(field="table", value=surplus, message=message, remedy=remedy)))
        named = zip(kinds, cells, strict=False)
        yield restore_row({name: _parse(cell, name, kind, number) for (name, kind), cell in named if kind is not None})


def csv_cell(value: Value, kind: Kind) -> str:
    """Return the text of a cell."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return iso_time(value)
        case str():
            text = scalar_cell(value) if kind is Kind.SCALAR else value
            return f"'{text}" if _FORMULA.match(text) else text
        case _:
            return repr(value)  # the shortest text that is the same number again


def iso_time(value: datetime) -> str:
    """Return ISO 8601 in UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def scalar_cell(value: Scalar) -> str:
    """Return the text of an argument's value; `parse_scalar_cell` returns the same value of the same type."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            is_plain = value and not value.startswith('"') and isinstance(parse_scalar_cell(value), str)
            return value if is_plain else json.dumps(value, ensure_ascii=False)
        case _:
            return repr(value)


def parse_scalar_cell(text: str) -> Scalar:
    """Return the value of a text of `scalar_cell`."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return str(json.loads(text)) if text.startswith('"') else text


def _parse(cell: str, name: str, kind: Kind, line: int) -> Value:
    if not cell:
        return None
    try:
        return _typed(cell, kind)
    except ValueError as error:
        problem = Problem(
            field=name, value=ascii(cell), message=f"is not {kind} (record {line})", remedy="Correct the cell"
        )
        raise ExportError(str(problem)) from error


def _typed(cell: str, kind: Kind) -> Value:
    match kind:
        case Kind.INTEGER:
            return int(cell.removesuffix(".0"))  # as pandas writes a column that has empty cells
        case Kind.NUMBER:
            return float(cell)
        case Kind.TIMESTAMP:
            time = datetime.fromisoformat(cell)
            return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        case Kind.BOOLEAN:
            if cell.lower() not in _BOOLEANS:
                raise ValueError(cell)
            return _BOOLEANS[cell.lower()]
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return parse_scalar_cell(text) if kind is Kind.SCALAR else text
