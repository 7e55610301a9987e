"""Trials as runs of MLflow: what was tried is a parameter, what was measured a metric, everything else a tag.

A trial that runs or has not begun is left out: a parameter that is logged cannot be changed any more.
Limits of names and values: mlflow/utils/validation.py.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.tracked_runs import TrackedRound, TrackedRun
from infpop_operator.analysis.trial_columns import Column, Group, Kind, Value, columns_of, row_values
from infpop_operator.analysis.trial_csv import iso_time, scalar_cell
from infpop_operator.core.landscape import CellState
from infpop_operator.export.trial_identity import round_id, trial_id

_PREFIX = "infpop."
_FAILED = {CellState.INFEASIBLE, CellState.INVALID, CellState.BROKEN}
_ENDED = _FAILED | {CellState.MEASURED, CellState.RACED_OUT}
_LONGEST_NAME = 250
_LONGEST_VALUE = 5000  # of a tag on servers before MLflow 2.19; a parameter may be longer
_WRITER = "infpop_version"  # not a part of the trial: a newer InfPop does not log it again


def to_tracked_rounds(rows: Sequence[TrialResultRow], origin: str) -> tuple[TrackedRound, ...]:
    """Return the ended trials by round, in the order of their rounds.

    Args:
        rows: in any order.
        origin: an absolute path, or `study/NAMESPACE/NAME`; see `trial_id`.

    Raises:
        ExportError: a value cannot stand in a table.
    """
    columns = columns_of(rows)
    ended = sorted((row for row in rows if row.state in _ENDED), key=_round_key)
    return tuple(_round(list(group), columns, origin) for _, group in groupby(ended, key=_round_key))


def _round_key(row: TrialResultRow) -> tuple[str, str, int, str, str]:
    return (row.study, row.pool, row.round, row.model, row.engine)


def _round(rows: Sequence[TrialResultRow], columns: Sequence[Column], origin: str) -> TrackedRound:
    first = rows[0]
    tags = {"study": first.study, "pool": first.pool, "round": str(first.round), "source": first.source}
    return TrackedRound(
        id=round_id(first, origin),
        experiment=first.study,
        name=f"{first.pool} round {first.round}: {first.model} on {first.engine}"[:_LONGEST_NAME],
        tags={_PREFIX + name: value[:_LONGEST_VALUE] for name, value in tags.items()},
        runs=tuple(_run(row, columns, origin) for row in rows),
    )


def _run(row: TrialResultRow, columns: Sequence[Column], origin: str) -> TrackedRun:
    known = [
        (column, value)
        for column, value in zip(columns, row_values(row, columns), strict=True)
        if value is not None and column.name != _WRITER
    ]
    parameters = dict(_texts((column, value) for column, value in known if column.group is Group.CONFIGURATION))
    metrics = {
        _name(column): float(value)
        for column, value in known
        if column.group is Group.NUMBER and isinstance(value, (int, float))
    }
    others = ((column, value) for column, value in known if column.group not in {Group.CONFIGURATION, Group.NUMBER})
    tags = {_PREFIX + name: text for name, text in _texts(others)}
    return TrackedRun(
        id=trial_id(row, origin),
        content=hashlib.sha256(json.dumps([parameters, metrics, tags]).encode()).hexdigest(),
        name=f"{row.gpu_count} {row.device}{'' if row.gpu_count == 1 else 's'}, batch size {row.batch_size}",
        parameters=parameters,
        metrics=metrics,
        tags=tags,
        started_at=row.started_at,
        ended_at=row.ended_at,
        has_failed=row.state in _FAILED,
    )


def _texts(known: Iterator[tuple[Column, Value]]) -> Iterator[tuple[str, str]]:
    for column, value in known:
        text = iso_time(value) if column.kind is Kind.TIMESTAMP else _text(value)  # type: ignore[arg-type]  # a time
        yield _name(column), text[:_LONGEST_VALUE]


def _text(value: Value) -> str:
    return value if isinstance(value, str) else scalar_cell(value)  # type: ignore[arg-type]  # neither time nor None


def _name(column: Column) -> str:
    """Return the name with the characters that MLflow takes, which also makes files of names."""
    return re.sub(r"[^\w.\-]", "_", column.name)[:_LONGEST_NAME]
