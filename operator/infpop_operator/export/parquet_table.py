"""Trials as parquet, with real types: 64-bit integers, doubles, times in UTC, dictionaries of text.

A column `extra.NAME` has the type of its values. If they are of several types, such as 8 and "auto", it is text,
written as in CSV, and its metadata has `infpop.values: mixed`.
"""

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyarrow import parquet

from infpop_operator import __version__
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import Column, Kind, Value, columns_of, restore_row, row_values
from infpop_operator.analysis.trial_csv import parse_scalar_cell, scalar_cell
from infpop_operator.core.errors import ExportError, Problem

_TEXT = pa.dictionary(pa.int32(), pa.string())
_TYPES = {
    Kind.TEXT: _TEXT,
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}
_MIXED = {b"infpop.values": b"mixed"}
_EXACT = 2**53  # integers up to here are doubles without loss


def render_parquet(rows: Sequence[TrialResultRow]) -> bytes:
    """Return the file of the rows.

    Raises:
        ExportError: a value cannot stand in a table.
    """
    columns = columns_of(rows)
    records = [row_values(row, columns) for row in rows]
    cells: list[list[Value]] = [list(values) for values in zip(*records, strict=True)] or [[] for _ in columns]
    arrays = [_array(values, column) for values, column in zip(cells, columns, strict=True)]
    schema = pa.schema(
        [field for field, _ in arrays], metadata={"infpop.version": __version__, "infpop.table": "trials"}
    )
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays([array for _, array in arrays], schema=schema), stream)
    return stream.getvalue()


def parse_parquet(content: bytes) -> Iterator[TrialResultRow]:
    """Yield the rows of what `render_parquet` returned.

    Raises:
        ExportError: this is no parquet, or it lacks a column.
    """
    try:
        table = parquet.read_table(io.BytesIO(content))
    except pa.ArrowException as error:
        problem = Problem(field="table", value="", message=f"is not parquet ({error})", remedy="Write it again")
        raise ExportError(str(problem)) from error
    mixed = {field.name for field in table.schema if _is_mixed(field)}
    for record in table.to_pylist():
        yield restore_row({name: _restored(value, is_mixed=name in mixed) for name, value in record.items()})


def _array(values: list[Value], column: Column) -> tuple[pa.Field, pa.Array]:
    metadata = {b"description": column.meaning.encode()}
    kind = _TYPES.get(column.kind) or _scalar_type(values)
    if kind is None:
        texts = [None if value is None else scalar_cell(value) for value in values]  # type: ignore[arg-type]  # no times
        return pa.field(column.name, _TEXT, metadata=metadata | _MIXED), pa.array(texts, type=_TEXT)
    return pa.field(column.name, kind, metadata=metadata), pa.array(values, type=kind)


def _scalar_type(values: list[Value]) -> pa.DataType | None:
    """Return the type of an extra parameter's values, None if no type but text holds them all."""
    types = {type(value) for value in values if value is not None}
    if types == {int, float}:
        integers = [value for value in values if isinstance(value, int)]
        return pa.float64() if all(-_EXACT <= value <= _EXACT for value in integers) else None
    if len(types) != 1:
        return None
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: _TEXT}[types.pop()]


def _is_mixed(field: pa.Field) -> bool:
    return _MIXED.items() <= (field.metadata or {}).items()


def _restored(value: Value, *, is_mixed: bool) -> Value:
    return parse_scalar_cell(value) if is_mixed and isinstance(value, str) else value
