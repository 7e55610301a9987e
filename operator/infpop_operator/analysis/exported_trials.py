"""Read a CSV that `infpop export` wrote, or the report: the same rows, also after a spreadsheet has saved it.

A table has the trials, and not what a study knows besides: the course of its rounds, the configurations without a
trial, and which of several pools it recommends.
"""

import csv
from collections.abc import Iterator
from dataclasses import fields, replace
from math import isfinite

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import COLUMNS, Kind
from infpop_operator.analysis.trial_csv import parse_csv_text
from infpop_operator.core.errors import ExportError, Problem, ResultError
from infpop_runner.contract import one_line

_MARKS = {"trial", "state"}  # columns of every table of trials; a recorded landscape has the column outcome instead
_FROM_ONE = {"round", "gpu_count", "batch_size", "attempts"}
_ABOVE_ZERO = {"throughput_tokens_per_second", "seconds_per_output_token", "tokens_per_joule"}
_FIELDS = {field.name for field in fields(TrialResultRow)}
_NUMBERS = [each.name for each in COLUMNS if each.kind in {Kind.INTEGER, Kind.NUMBER} and each.name in _FIELDS]
_TEXTS = [each.name for each in COLUMNS if each.kind is Kind.TEXT and each.name in _FIELDS]


def is_trial_table(text: str) -> bool:
    """Return whether the first line of a CSV text names the columns of a table of trials."""
    try:
        header = set(next(csv.reader([text.partition("\n")[0]]), []))
    except csv.Error:
        return False
    return header >= _MARKS and "outcome" not in header


def exported_trials(text: str, source: str) -> tuple[TrialResultRow, ...]:
    """Return the rows of a table; each keeps the source that it was exported from.

    Args:
        text: the content of the file.
        source: names it in errors.

    Raises:
        ResultError: a cell cannot be understood, a number is impossible, or a trial is there twice.
    """
    try:
        return tuple(_checked(parse_csv_text(text)))
    except (ExportError, csv.Error) as error:
        raise ResultError(f"{source}: {error}") from error


def _checked(rows: Iterator[TrialResultRow]) -> Iterator[TrialResultRow]:
    known: dict[tuple[object, ...], int] = {}
    for number, row in enumerate(rows, start=2):
        _refuse_impossible(row, number)
        key = (row.source, row.study, row.pool, row.round, row.trial, row.model, row.engine, row.workload)
        if known.setdefault(key, number) != number:
            message = f"is the trial of record {known[key]} again (record {number})"
            raise _error("trial", str(row.trial), message, "Remove one of the two")
        yield _printable(row)


def _refuse_impossible(row: TrialResultRow, number: int) -> None:
    numbers = {name: getattr(row, name) for name in _NUMBERS} | {
        f"metric.{name}": row.metrics[name] for name in row.metrics
    }
    for name, value in numbers.items():
        if value is None:
            continue
        least = 1 if name in _FROM_ONE else 0
        is_low = not name.startswith("metric.") and (value < least or (value == 0 and name in _ABOVE_ZERO))
        if is_low or not isfinite(value):
            wanted = "above 0" if name in _ABOVE_ZERO else f"of at least {least}"
            raise _error(
                name, str(value), f"is not a number {wanted} (record {number})", "Correct it, or leave it empty"
            )
    for end in row.interval_tokens_per_second or ():
        if not isfinite(end):
            raise _error("interval_..._tokens_per_second", str(end), f"is not finite (record {number})", "Correct it")


def _printable(row: TrialResultRow) -> TrialResultRow:
    """Return the row with each text on one line, without control characters."""
    texts = {name: text for name in _TEXTS if isinstance(text := getattr(row, name), str) and not text.isprintable()}
    changed: dict[str, object] = {name: one_line(text) for name, text in texts.items() if name != "state"}
    if any(isinstance(value, str) and not value.isprintable() for value in row.extra.values()):
        changed["extra"] = {k: one_line(v) if isinstance(v, str) else v for k, v in row.extra.items()}
    return replace(row, **changed) if changed else row  # type: ignore[arg-type]  # texts for texts


def _error(field: str, value: str, message: str, remedy: str) -> ExportError:
    return ExportError(str(Problem(field=field, value=value, message=message, remedy=remedy)))
