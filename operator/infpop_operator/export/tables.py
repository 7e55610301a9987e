"""The formats of `infpop export` that are tables with a row for each trial."""

import csv
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import ExportError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """A form of a table; `module` is imported when the form is asked for, because some need a slow library.

    Args:
        is_text: whether it can be shown on a terminal.
    """

    module: str
    render: str
    parse: str
    is_text: bool = True


TABLE_FORMATS: Mapping[str, TableFormat] = {
    "csv": TableFormat(module="infpop_operator.analysis.trial_csv", render="render_csv", parse="parse_csv"),
    "jsonl": TableFormat(module="infpop_operator.export.jsonl_table", render="render_jsonl", parse="parse_jsonl"),
    "parquet": TableFormat(
        module="infpop_operator.export.parquet_table", render="render_parquet", parse="parse_parquet", is_text=False
    ),
}


def render_table(rows: Sequence[TrialResultRow], form: str) -> bytes:
    """Return the rows as a table.

    Args:
        rows: in the order of the table.
        form: csv, jsonl or parquet.

    Raises:
        ExportError: a value cannot stand in a table; the message names trial and column.
        ModuleNotFoundError: parquet needs pyarrow, which the extra `report` installs.
    """
    render: Callable[[Sequence[TrialResultRow]], bytes] = _function(form, TABLE_FORMATS[form].render)
    return render(rows)


def read_table(content: bytes, form: str) -> tuple[TrialResultRow, ...]:
    """Return the rows of a table that `render_table` returned: the same rows.

    Raises:
        ExportError: this is not such a table; the message names line and column.
        ModuleNotFoundError: parquet needs pyarrow, which the extra `report` installs.
    """
    parse: Callable[[bytes], Iterable[TrialResultRow]] = _function(form, TABLE_FORMATS[form].parse)
    try:
        return tuple(parse(content))
    except (UnicodeDecodeError, csv.Error) as error:
        problem = Problem(
            field="table", value="", message=f"is not a table of trials in {form} ({error})", remedy="Write it again"
        )
        raise ExportError(str(problem)) from error


def _function(form: str, name: str) -> Callable[..., Any]:
    module = importlib.import_module(TABLE_FORMATS[form].module)
    function: Callable[..., Any] = getattr(module, name)
    return function
