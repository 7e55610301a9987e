"""The tables of rounds and alternatives in a report, as CSV; those of trials are as `infpop export` has them.

A spreadsheet takes text that begins with =, +, -, @ or a control character for a formula, which can start programs:
such a text gets an apostrophe in front (OWASP, "CSV Injection").
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime

from infpop_operator.analysis.rows import RoundResultRow
from infpop_operator.analysis.tradeoffs import tradeoffs
from infpop_operator.report.report_content import ReportContent

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - spreadsheets take the wide characters too
_ROUND_FIELDS = tuple(field.name for field in fields(RoundResultRow))
_IDENTITY = ("source", "study", "pool", "round", "model", "engine", "gpu_model", "gpu_count", "batch_size")
_NUMBERS = (
    "throughput_tokens_per_second",
    "throughput_per_gpu",
    "tokens_per_second_per_sequence",
    "cost_per_million_tokens",
)


def render_rounds(content: ReportContent) -> str:
    """Return the rounds, one a line."""
    return _render(_ROUND_FIELDS, ([getattr(row, name) for name in _ROUND_FIELDS] for row in content.table.rounds))


def render_alternatives(content: ReportContent) -> str:
    """Return the configurations worth choosing from, of each landscape, the fastest first."""
    columns = (*_IDENTITY, "rank", "throughput_loss_percent", "speed_gain_percent", "gpus_saved", *_NUMBERS)
    return _render(columns, _alternative_lines(content))


def _alternative_lines(content: ReportContent) -> Iterator[list[object]]:
    for landscape in content.newest:
        front = tradeoffs(tuple(landscape.cells.values())).front
        for rank, each in enumerate(front, start=1):
            identity = [getattr(each.row, name) for name in _IDENTITY]
            numbers = [getattr(each.row, name) for name in _NUMBERS]
            gains = [each.throughput_loss_percent, each.speed_gain_percent, each.gpus_saved]
            yield [*identity, rank, *gains, *numbers]


def _render(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(columns)
    for line in lines:
        writer.writerow(list(map(_cell, line)))
    return stream.getvalue()


def _cell(value: object) -> object:
    match value:
        case None | int() | float():
            return value  # csv writes nothing for None, and the shortest text that is the same number
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case tuple():
            return _text(" to ".join(map(str, value)))
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text
