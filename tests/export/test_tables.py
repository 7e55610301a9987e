"""Tables of trials: every format gives back the rows that it was given, and says what a cell cannot hold."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import fields, replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from export.trials import FAILED, MEASURED, ROWS, START
from infpop_operator import __version__
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import COLUMNS, Kind, columns_of
from infpop_operator.analysis.trial_csv import parse_scalar_cell, scalar_cell
from infpop_operator.core.errors import ExportError
from infpop_operator.core.study import Scalar
from infpop_operator.export.tables import TABLE_FORMATS, read_table, render_table

TWO = (MEASURED, FAILED)


def scalar_types(row: TrialResultRow) -> dict[str, type]:
    """Return the types of the extra parameters, an integer as a number: True == 1, but they are different arguments."""
    return {name: float if type(value) is int else type(value) for name, value in row.extra.items()}


def records(rows: tuple[TrialResultRow, ...]) -> list[dict[str, str]]:
    """Return what an ordinary reader of CSV reads."""
    return list(csv.DictReader(io.StringIO(render_table(rows, "csv").decode(), newline=""), strict=True))


@pytest.mark.parametrize("form", TABLE_FORMATS)
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROWS, max_size=4).map(tuple))
def test_a_table_gives_back_its_rows(form: str, rows: tuple[TrialResultRow, ...]) -> None:
    """Any rows are read back equal, whatever their text, and an extra parameter keeps its type."""
    again = read_table(render_table(rows, form), form)
    assert again == rows
    assert [scalar_types(row) for row in again] == [scalar_types(row) for row in rows]


@pytest.mark.parametrize("form", TABLE_FORMATS)
def test_every_field_of_a_row_is_in_the_tables(form: str) -> None:
    """A row in which every field has a value of its own comes back whole."""
    defaults = {field.name: field.default for field in fields(TrialResultRow)}
    assert [name for name, default in defaults.items() if getattr(MEASURED, name) == default and name != "device"] == []
    assert read_table(render_table(TWO, form), form) == TWO


@pytest.mark.parametrize("value", ['"', '"8"', "'", "8", 8, "1e5", 1e5, "true", True, "", "-5", -5, 0.5, "fp8", "1_0"])
def test_the_text_of_an_argument_tells_its_type(value: Scalar) -> None:
    """Text that looks like a number, and a number, are different arguments, in a cell as in a column of text."""
    again = parse_scalar_cell(scalar_cell(value))
    assert (again, type(again)) == (value, type(value))
    row = replace(FAILED, extra={"a": value})
    assert read_table(render_table((row,), "csv"), "csv") == (row,)


def test_parquet_never_rounds_an_argument() -> None:
    """Integers among other numbers are numbers, unless one is too large for a number to hold exactly."""
    for large in (2**53, 2**53 + 1):
        rows = tuple(replace(FAILED, trial=at, extra={"a": value}) for at, value in enumerate((large, 0.5)))
        assert read_table(render_table(rows, "parquet"), "parquet") == rows


def test_columns_are_in_one_order_with_units() -> None:
    """The fixed columns come first, then extra parameters, then own metrics, each sorted by name."""
    names = [column.name for column in columns_of(TWO)]
    assert names[: len(COLUMNS)] == [column.name for column in COLUMNS]
    assert names[len(COLUMNS) :] == [
        "extra.block",
        "extra.enforce_eager",
        "extra.kv_cache_dtype",
        "extra.max_num_batched_tokens",
        "metric.cpuUsage",
        "metric.gpuPower",
    ]
    assert len(set(names)) == len(names)
    with_unit = ("_per_", "_seconds", "_bytes", "_ratio", "_tokens", "repeats")
    numbers = [c.name for c in COLUMNS if c.kind is Kind.NUMBER]
    assert [name for name in numbers if not any(unit in name for unit in with_unit)] == []


def test_csv_has_an_empty_cell_for_what_is_absent() -> None:
    """Absence is empty, and zero is zero."""
    measured, failed = records(TWO)
    assert measured["metric.cpuUsage"] == "0.0"
    assert measured["started_at"] == "2026-01-02T03:04:05.678901Z"
    assert measured["cost_per_million_tokens"] == repr(3.67 * 4 / (1234.5 * 3600) * 1e6)
    absent = ("throughput_tokens_per_second", "interval_low_tokens_per_second", "repeats", "started_at", "detail")
    assert [failed[name] for name in (*absent, "extra.block", "metric.gpuPower")] == [""] * 7
    assert {failed["infpop_version"], measured["infpop_version"]} == {__version__}


def test_csv_is_rfc_4180() -> None:
    """Records end in CRLF, and quotes and line breaks inside a cell are quoted."""
    content = render_table((replace(FAILED, detail='a "b"\nc'),), "csv")
    assert content.count(b"\r\n") == 2
    assert b',"a ""b""\nc",' in content


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "＝1"])  # noqa: RUF001
def test_no_text_of_a_study_is_a_formula_in_a_spreadsheet(text: str) -> None:
    """A name that begins as a formula does is text in CSV; in the other formats it stays as it is."""
    row = replace(FAILED, model=text, extra={"a": text})
    (record,) = records((row,))
    assert record["model"] == f"'{text}"
    assert record["extra.a"][0] in "'\""
    assert json.loads(render_table((row,), "jsonl"))["model"] == text
    assert read_table(render_table((row,), "csv"), "csv") == (row,)


def test_json_lines_have_the_same_keys_and_null() -> None:
    """Each line is an object with every column; numbers are numbers."""
    measured, failed = map(json.loads, render_table(TWO, "jsonl").splitlines())
    assert list(measured) == list(failed) == [column.name for column in columns_of(TWO)]
    assert measured["throughput_tokens_per_second"] == 1234.5
    assert measured["extra.enforce_eager"] is True
    assert failed["throughput_tokens_per_second"] is None
    assert failed["detail"] is None


def test_parquet_has_real_types_and_the_version() -> None:
    """An analyst needs no conversion, and the file says what wrote it."""
    table = parquet.read_table(io.BytesIO(render_table(TWO, "parquet")))
    types = {name: table.schema.field(name).type for name in table.schema.names}
    assert types["throughput_tokens_per_second"] == pa.float64()
    assert types["gpu_count"] == types["extra.max_num_batched_tokens"] == pa.int64()
    assert types["started_at"] == pa.timestamp("us", tz="UTC")
    assert types["is_best"] == types["extra.enforce_eager"] == pa.bool_()
    assert types["model"] == pa.dictionary(pa.int32(), pa.string())
    assert table.schema.metadata[b"infpop.version"] == __version__.encode()
    assert table["started_at"].to_pylist() == [START, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "a\ud800"}, "model: 'a\\ud800': has half of a surrogate pair"),
        ({"detail": "a\0b"}, "detail: 'a\\x00b': has a NUL character"),
        ({"throughput_tokens_per_second": float("nan")}, "throughput_tokens_per_second: nan: is not a finite number"),
        ({"metrics": {"x": float("inf")}}, "metric.x: inf: is not a finite number"),
        ({"generated_tokens": 2**63}, "generated_tokens: 9223372036854775808: does not fit in 64 bits"),
        ({"started_at": START.replace(tzinfo=None)}, "is a time without a time zone"),
    ],
)
@pytest.mark.parametrize("form", TABLE_FORMATS)
def test_a_value_that_no_table_can_hold_is_refused(form: str, changes: dict[str, object], message: str) -> None:
    """The message names column, value and trial; nothing is written that another reader would take for a number."""
    with pytest.raises(ExportError) as caught:
        render_table((replace(FAILED, **changes),), form)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "(trial 1 of pool V100, round 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("csv", b"source,study\r\na,b\r\n", "pool: the table has no value for it"),
        ("csv", b"gpu_count\r\nmany\r\n", "gpu_count: 'many': is not integer (record 2)"),
        ("csv", b"simulated\r\nyes\r\n", "simulated: 'yes': is not true or false (record 2)"),
        ("csv", b"\xff", "table: is not a table of trials in csv"),
        ("csv", b"model\r\n" + b"m" * 200_000, "table: is not a table of trials in csv"),
        ("jsonl", b"\xff", "table: is not a table of trials in jsonl"),
        ("jsonl", b"[]\n", "line 1: is not an object of JSON"),
        ("jsonl", b'{"a": 1\n', "line 1: is not an object of JSON"),
        ("jsonl", b'{"source": "a", "started_at": "now"}\n', "line 1: is not an object of JSON"),
        ("parquet", b"PAR1", "table: is not parquet"),
    ],
)
def test_a_table_of_another_form_is_refused(form: str, content: bytes, message: str) -> None:
    """What cannot be read as trials is named, with where it is."""
    with pytest.raises(ExportError, match=r".*") as caught:
        read_table(content, form)
    assert message in str(caught.value)


def test_text_tables_need_no_library() -> None:
    """CSV and JSON Lines are written in the base install: without pandas, numpy and pyarrow."""
    program = (
        "import sys; from export.trials import MEASURED; from infpop_operator.export.tables import render_table;"
        "[render_table((MEASURED,), form) for form in ('csv', 'jsonl')];"
        "sys.exit(' '.join({'numpy', 'pandas', 'pyarrow', 'mlflow'} & set(sys.modules)) or None)"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
