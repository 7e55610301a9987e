"""What must be equal for two results to be compared, and what differs.

Numbers of different prompts or lengths, of different devices, or of which one is replayed and the other measured, are
never compared: that is refused with the reason. A difference in the software is a warning, because comparing two
versions of an engine is a fair question. A value that a result does not record is not compared, as in a round
(`core.comparability`), but the reader is told.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.landscape import CellState

_SHOWN = 3  # values of one side that a message lists


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Conditions:
    """What numbers must share to be compared: the prompts and lengths, the device, and whether they were measured.

    `workload` is "" where the result does not say it.
    """

    workload: str
    device: str
    simulated: bool

    def describe(self) -> str:
        """Return the conditions in words."""
        workload = f"workload {self.workload}" if self.workload else "unknown workload"
        return f"{workload}, {'simulated' if self.simulated else 'measured'}, on {self.device}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparability:
    """`refusals` are why two results must not be compared, `warnings` what the reader must know if they are."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def conditions_of(row: TrialResultRow) -> Conditions:
    """Return what numbers must share with this one to be compared with it."""
    return Conditions(workload=row.workload or "", device=row.device, simulated=row.simulated)


def hardware_of(row: TrialResultRow) -> str:
    """Return the GPU model of a row, or the name of its pool where the GPU model is unknown or there is no GPU."""
    return row.gpu_model or row.pool


def condition_differences(left: Iterable[Conditions], right: Iterable[Conditions]) -> tuple[str, ...]:
    """Return which conditions differ so that no number of one side may be compared with one of the other."""
    sides = (tuple(left), tuple(right))
    found = []
    for name, of in _CONDITIONS:
        first, second = ({value for each in side if (value := of(each))} for side in sides)
        if first and second and not first & second:
            found.append(f"{name}: {_listed(first)} against {_listed(second)}")
    return tuple(found)


def compare_conditions(left: Sequence[TrialResultRow], right: Sequence[TrialResultRow]) -> Comparability:
    """Return whether two sets of rows may be compared, and else what differs.

    Args:
        left: rows of the first side, at least one.
        right: rows of the second side, at least one.
    """
    refusals = list(condition_differences(map(conditions_of, left), map(conditions_of, right)))
    models = tuple({row.model for row in side} for side in (left, right))
    if not models[0] & models[1]:
        # Tokens of two tokenizers are not the same unit.
        refusals.append(f"model: {_listed(models[0])} against {_listed(models[1])}")
    return Comparability(refusals=tuple(refusals), warnings=tuple(_warnings(left, right)))


_CONDITIONS: tuple[tuple[str, Callable[[Conditions], str]], ...] = (
    ("workload", lambda each: each.workload),
    ("device", lambda each: each.device),
    ("numbers", lambda each: "simulated" if each.simulated else "measured"),
)
_SOFTWARE: tuple[tuple[str, Callable[[TrialResultRow], str | None]], ...] = (
    ("engine version", lambda row: row.engine_version),
    ("software", lambda row: row.software),
    ("GPU driver", lambda row: row.gpu_driver),
    ("data type", lambda row: row.dtype),
    ("measurement mode", lambda row: row.mode),
)


def _warnings(left: Sequence[TrialResultRow], right: Sequence[TrialResultRow]) -> Iterable[str]:
    if any(row.simulated for row in (*left, *right)):
        yield "these numbers are simulated: nothing was measured"
    workloads = tuple({row.workload for row in side} for side in (left, right))
    if None in workloads[0] | workloads[1]:
        whose = "both sides" if None in workloads[0] and None in workloads[1] else "one side"
        yield f"the workload of {whose} is not recorded: check that prompts and lengths are the same"
    engines = tuple({row.engine for row in side} for side in (left, right))
    numbers = tuple([row for row in side if row.state is CellState.MEASURED] for side in (left, right))
    for name, of in _SOFTWARE:
        if name == "engine version" and not engines[0] & engines[1]:
            continue  # versions of two engines always differ
        first, second = ({value for row in side if (value := of(row))} for side in numbers)
        if first and second and first != second:
            yield f"{name} differs: {_listed(first)} against {_listed(second)}"
    if any(row.reused_from for row in (*left, *right)):
        yield "some numbers were measured by another study and taken over"


def _listed(values: Iterable[str]) -> str:
    known = sorted(values)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"{', '.join(known[:_SHOWN])}{more}"
