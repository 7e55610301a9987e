"""All trials as a directory of Benchmark Reports with an index, `landscape.json`.

The format of llm-d has no state for a configuration that does not work, so a trial without a throughput has no report.
The index has every trial with all its columns, the name of its report or why there is none.
"""

import json
import re
from collections.abc import Sequence

from infpop_operator import __version__
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import Value, columns_of, row_values
from infpop_operator.core.errors import ExportError, Problem
from infpop_operator.core.landscape import CellState
from infpop_operator.export.benchmark_report import VERSION, render_report
from infpop_operator.export.jsonl_table import json_value
from infpop_operator.export.trial_identity import trial_id

INDEX = "landscape.json"
KIND = "InfPopLandscape"
_NAME = re.compile(r"[a-z0-9-]{1,100}\.yaml")
_SLUG_LENGTH = 40


def render_reports(rows: Sequence[TrialResultRow], origin: str) -> dict[str, bytes]:
    """Return the files by name; the index is the last.

    Args:
        rows: in the order of the index.
        origin: an absolute path, or `study/NAMESPACE/NAME`; see `trial_id`.

    Raises:
        ExportError: a value cannot stand in a report, or two trials are the same.
    """
    columns = columns_of(rows)
    names = [column.name for column in columns]
    files: dict[str, bytes] = {}
    entries = []
    for row in rows:
        file = None if row.throughput_tokens_per_second is None else _file_name(row, origin)
        if file is not None:
            if file in files:
                raise _error(file, "two trials have this report", "Remove the duplicate from the source")
            files[file] = render_report(row, columns, origin)
        entry: dict[str, Value] = {"report": file, "why_no_report": None if file is not None else why_no_number(row)}
        values = zip(names, row_values(row, columns), strict=True)
        entries.append(entry | {name: json_value(value) for name, value in values})
    index = {"kind": KIND, "benchmark_report_version": VERSION, "infpop_version": __version__, "trials": entries}
    files[INDEX] = f"{json.dumps(index, indent=1, allow_nan=False)}\n".encode()
    return files


def listed_reports(index: bytes) -> list[str]:
    """Return the names of the reports in an index of ours, and only names that an export gives.

    Raises:
        ExportError: the index is not one of ours.
    """
    names = [str(entry.get("report")) for entry in _entries(index)]
    return [name for name in names if _NAME.fullmatch(name)]


def why_no_number(row: TrialResultRow) -> str:
    """Return why a trial has no throughput, in words of the study."""
    reason = row.reason or row.state.value
    if row.state is CellState.RACED_OUT and row.at_most_tokens_per_second is not None:
        reason = f"{reason}: at most {row.at_most_tokens_per_second:g} tokens/s"
    return f"{reason}: {row.detail}" if row.detail else reason


def _file_name(row: TrialResultRow, origin: str) -> str:
    """Return a name that is safe on every file system, and the same in each export of the source."""
    pool = re.sub(r"[^a-z0-9]+", "-", row.pool.lower()).strip("-")[:_SLUG_LENGTH] or "pool"
    return f"{pool}-round-{row.round}-trial-{row.trial}-{trial_id(row, origin)[:8]}.yaml"


def _entries(index: bytes) -> list[dict[str, Value]]:
    try:
        content = json.loads(index)
        entries = [dict(entry) for entry in content["trials"]]
        kind = content["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise _not_ours() from error
    if kind != KIND:
        raise _not_ours()
    return entries


def _not_ours() -> ExportError:
    return _error(INDEX, "is not an index of benchmark reports by InfPop", "Name another directory")


def _error(field: str, message: str, remedy: str) -> ExportError:
    return ExportError(str(Problem(field=field, value="", message=message, remedy=remedy)))
