"""Trials as JSON Lines: an object per line, all with the same keys, null for what is absent.

The text is ASCII, other characters are escaped: some readers also end a line at a Unicode line separator.
"""

import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import Kind, Value, column_kind, columns_of, restore_row, row_values
from infpop_operator.analysis.trial_csv import iso_time
from infpop_operator.core.errors import ExportError, Problem


def render_jsonl(rows: Sequence[TrialResultRow]) -> bytes:
    """Return a line for each row.

    Raises:
        ExportError: a value cannot stand in a table.
    """
    columns = columns_of(rows)
    names = [column.name for column in columns]
    stream = io.BytesIO()
    for row in rows:
        stream.write(_line(names, row_values(row, columns)).encode())
    return stream.getvalue()


def parse_jsonl(content: bytes) -> Iterator[TrialResultRow]:
    """Yield the rows of what `render_jsonl` returned; other keys are passed over.

    Raises:
        ExportError: a line is not an object of JSON, or lacks a key.
    """
    for number, line in enumerate(content.decode().split("\n"), start=1):
        if line.strip():
            yield restore_row(_parse(line, number))


def json_value(value: Value) -> str | int | float | bool | None:
    """Return the value with times as ISO 8601."""
    return iso_time(value) if isinstance(value, datetime) else value


def restore_values(values: dict[str, Value]) -> dict[str, Value]:
    """Return the values of known columns with times as times, the inverse of `json_value`."""
    kinds = {name: column_kind(name) for name in values}
    return {name: _typed(value, kinds[name]) for name, value in values.items() if kinds[name] is not None}


def _line(names: list[str], values: list[Value]) -> str:
    pairs = zip(names, map(json_value, values), strict=True)
    return json.dumps(dict(pairs), allow_nan=False) + "\n"


def _parse(line: str, number: int) -> dict[str, Value]:
    try:
        values = json.loads(line)
        return restore_values(dict(values.items()))
    except (ValueError, AttributeError, RecursionError) as error:
        problem = Problem(
            field=f"line {number}", value="", message="is not an object of JSON", remedy="Correct or remove the line"
        )
        raise ExportError(str(problem)) from error


def _typed(value: Value, kind: Kind | None) -> Value:
    return datetime.fromisoformat(value) if kind is Kind.TIMESTAMP and isinstance(value, str) else value
