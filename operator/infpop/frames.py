"""Result rows as pandas DataFrames with nullable types. Needs the extra `report`."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from infpop_operator.analysis.result_landscapes import to_landscapes
from infpop_operator.analysis.rows import ResultTable, RoundResultRow, TrialResultRow
from infpop_operator.analysis.tradeoffs import tradeoffs
from infpop_operator.analysis.trial_columns import Column, Kind, columns_of, row_values
from infpop_operator.core.landscape import CellState

_DTYPES: dict[Kind, Any] = {
    Kind.TEXT: "string",
    Kind.INTEGER: "Int64",
    Kind.NUMBER: "Float64",
    Kind.BOOLEAN: "boolean",
    Kind.TIMESTAMP: "datetime64[ns, UTC]",
    Kind.SCALAR: "object",
}
_WITHOUT_TRIAL = {CellState.UNTRIED, CellState.RULED_OUT}
_ROUND_COLUMNS: dict[str, tuple[Kind, Callable[[RoundResultRow], Any]]] = {
    "source": (Kind.TEXT, lambda row: row.source),
    "study": (Kind.TEXT, lambda row: row.study),
    "pool": (Kind.TEXT, lambda row: row.pool),
    "round": (Kind.INTEGER, lambda row: row.round),
    "model": (Kind.TEXT, lambda row: row.model),
    "engine": (Kind.TEXT, lambda row: row.engine),
    "gpu_model": (Kind.TEXT, lambda row: row.gpu_model),
    "previous_gpu_model": (Kind.TEXT, lambda row: row.previous_gpu_model),
    "reason": (Kind.TEXT, lambda row: row.reason),
    "cause": (Kind.TEXT, lambda row: "; ".join(row.cause) or None),
    "opened_at": (Kind.TIMESTAMP, lambda row: row.opened_at),
    "baseline_tokens_per_second": (Kind.NUMBER, lambda row: row.baseline_tokens_per_second),
    "best_tokens_per_second": (Kind.NUMBER, lambda row: row.best_tokens_per_second),
    "improvement_percent": (Kind.NUMBER, lambda row: row.improvement_percent),
    "improvement_low_percent": (Kind.NUMBER, lambda row: _end(row, 0)),
    "improvement_high_percent": (Kind.NUMBER, lambda row: _end(row, 1)),
    "gpu_hours": (Kind.NUMBER, lambda row: row.gpu_hours),
}


def trials_frame(rows: Sequence[TrialResultRow]) -> pd.DataFrame:
    """Return one row for each trial, in the columns that exports have."""
    columns = columns_of(rows)
    values = [row_values(row, columns) for row in rows]
    return pd.DataFrame(
        {column.name: _series([line[place] for line in values], column.kind) for place, column in enumerate(columns)}
    )


def rounds_frame(rows: Sequence[RoundResultRow]) -> pd.DataFrame:
    """Return one row for each round; the ends of the interval of the improvement are columns of their own."""
    return pd.DataFrame(
        {name: _series([read(row) for row in rows], kind) for name, (kind, read) in _ROUND_COLUMNS.items()}
    )


def landscape_frame(table: ResultTable, metric: str) -> pd.DataFrame:
    """Return the trials of one landscape by batch size (down) and GPU count (across).

    Raises:
        ValueError: `metric` is not a column with numbers.
    """
    numbers = {column.name: column for column in columns_of(table.trials) if column.kind in {Kind.NUMBER, Kind.INTEGER}}
    if metric not in numbers:
        raise ValueError(f"{metric} is not a column of trials with numbers. Use one of: {', '.join(numbers)}.")
    (landscape,) = to_landscapes(table)
    batch_sizes, gpu_counts = landscape.batch_sizes, landscape.gpu_counts
    shown = {place: row for place, row in landscape.cells.items() if row.state not in _WITHOUT_TRIAL}
    columns = {
        count: _series([_value(shown.get((batch, count)), numbers[metric]) for batch in batch_sizes], Kind.NUMBER)
        for count in gpu_counts
    }
    frame = pd.DataFrame(columns)
    frame.index = pd.Index(batch_sizes, name="batch_size")
    frame.columns = pd.Index(gpu_counts, name="gpu_count")
    return frame


def pareto_frame(table: ResultTable) -> pd.DataFrame:
    """Return the trials of each landscape that are worth choosing from, the highest throughput first."""
    return trials_frame(
        [each.row for landscape in to_landscapes(table) for each in tradeoffs(tuple(landscape.cells.values())).front]
    )


def _series(values: Sequence[object], kind: Kind) -> "pd.Series[Any]":
    objects = pd.Series(list(values), dtype="object")
    if kind is Kind.TIMESTAMP:
        objects = pd.to_datetime(objects, utc=True)
    return objects.astype(_DTYPES[kind])


def _value(row: TrialResultRow | None, column: Column) -> object:
    return None if row is None else row_values(row, [column])[0]


def _end(row: RoundResultRow, place: int) -> float | None:
    ends = row.improvement_interval_percent
    return None if ends is None else ends[place]
