"""One side of a comparison: a source, and which of its rows are meant.

`results/a#pool=v100,round=2` names the rows of round 2 of pool v100 in `results/a`. Without a round the newest one of
each pool counts.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from infpop_operator.analysis.comparable import hardware_of
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import ResultError

_VALUES: Mapping[str, Callable[[TrialResultRow], str]] = {
    "pool": lambda row: row.pool,
    "round": lambda row: str(row.round),
    "engine": lambda row: row.engine,
    "gpu-model": hardware_of,
    "model": lambda row: row.model,
    "workload": lambda row: row.workload or "",
}
KEYS = tuple(_VALUES)
_SHOWN = 8
# A comma belongs to a value unless a key follows it: a workload may be "in 128, out 128".
_PARTS = re.compile(rf",(?=(?:{'|'.join(_VALUES)})=)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A source and the values that its rows must have; `text` is how the user wrote it."""

    text: str
    source: str
    wanted: tuple[tuple[str, str], ...] = ()


def parse_side(text: str) -> Side:
    """Return what SOURCE#KEY=VALUE,... means.

    Raises:
        ResultError: a key is unknown or there twice, or a value is missing.
    """
    source, mark, rest = text.rpartition("#")
    if not mark:
        return Side(text=text, source=text)
    wanted: dict[str, str] = {}
    for part in _PARTS.split(rest):
        key, equals, value = part.partition("=")
        if key not in _VALUES or not equals or not value or key in wanted:
            problem = "is there twice" if key in wanted else "is no selection"
            keys = ", ".join(f"{each}=..." for each in KEYS)
            raise ResultError(f"{text}: {part or '#'}: {problem}. After # write one or several of {keys}.")
        wanted[key] = value
    return Side(text=text, source=source, wanted=tuple(wanted.items()))


def select_rows(side: Side, rows: Sequence[TrialResultRow]) -> tuple[TrialResultRow, ...]:
    """Return the rows that a side means; upper and lower case do not matter.

    Raises:
        ResultError: there are none.
    """
    left = tuple(rows)
    if not left:
        raise ResultError(f"{side.text}: has no trials. Name a source with results.")
    for key, value in side.wanted:
        of = _VALUES[key]
        found = tuple(row for row in left if of(row).casefold() == value.casefold())
        if not found:
            known = sorted({of(row) for row in left if of(row)})
            shown = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
            remedy = f"Choose one of: {shown}" if shown else "Leave it out"
            raise ResultError(f"{side.text}: {key}={value}: no trial has it. {remedy}.")
        left = found
    return left
