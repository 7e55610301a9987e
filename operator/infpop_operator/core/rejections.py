"""Tell a rejection that comes from the study's fixed settings from one that comes from a configuration.

An engine refuses wrong arguments whatever the configuration is. So while nothing works, the next configuration differs
from the rejected ones in as many dimensions as possible; and if the same words come back, they end the search.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from infpop_operator.core.load_memory import OUT_OF_MEMORY
from infpop_operator.core.model import HAS_WORKED, Trial, TrialState
from infpop_operator.core.study import Configuration, Scalar

_ABOUT_CELL = frozenset({OUT_OF_MEMORY, "HeadsNotDivisible", "UnsupportedGpuCount", "NotRecorded"})
_VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", re.IGNORECASE)  # addresses, names of runs, numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """The words with which an engine refused several configurations."""

    reason: str
    detail: str


def common_rejection(trials: Collection[Trial], candidates: Collection[Configuration]) -> Rejection | None:
    """Return the rejection that all configurations of a round share, None if there is none (yet).

    It takes at least two runs that have no more in common than they must: two GPU counts; two batch sizes, one of them
    the smallest, because the engine may have an upper limit; each value of each extra parameter.

    Args:
        trials: all trials of the round.
        candidates: the configurations that the round could measure.
    """
    if any(_was_accepted(trial) for trial in trials):
        return None
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        if is_rejected(trial):
            groups.setdefault((trial.reason or "", _VARYING.sub("#", trial.detail)), []).append(trial)
    return next(
        (
            Rejection(reason=group[-1].reason or "", detail=group[-1].detail)
            for group in groups.values()
            if _has_no_other_reason(group, candidates)
        ),
        None,
    )


def is_rejected(trial: Trial) -> bool:
    """Return whether the engine refused the trial for a reason that need not be its configuration."""
    return trial.state is TrialState.INFEASIBLE and trial.reason not in _ABOUT_CELL


def least_alike(
    candidates: tuple[Configuration, ...], failed: Collection[Configuration], rejected: Collection[Configuration]
) -> tuple[Configuration, ...]:
    """Return the candidates that have the least in common with those that failed; never none of them.

    After a rejection the smallest batch size comes first, because `common_rejection` needs it.

    Args:
        candidates: the configurations to choose from, at least one.
        failed: the configurations that did not load.
        rejected: those among them that the engine refused, possibly for their batch size or an extra parameter.
    """
    counts, batches = _values(failed, _gpus), _values(rejected, _batch)
    loads = {cell.load_key for cell in failed}
    extras = _extra_values(failed)
    smallest = min(_batch(cell) for cell in (*candidates, *rejected))
    wanted = {smallest} if rejected and smallest not in batches else {_batch(cell) for cell in candidates} - batches

    def likeness(cell: Configuration) -> tuple[bool, bool, bool, int]:
        return (
            cell.load_key in loads,
            cell.gpu_count in counts,
            cell.batch_size not in wanted,
            sum(each in extras for each in cell.extra),
        )

    least = min(likeness(cell) for cell in candidates)
    return tuple(cell for cell in candidates if likeness(cell) == least)


def _was_accepted(trial: Trial) -> bool:
    """Return whether the engine took its arguments: it ran, or had too little memory."""
    return trial.state in (*HAS_WORKED, TrialState.INVALID) or trial.reason == OUT_OF_MEMORY


def _has_no_other_reason(group: list[Trial], candidates: Collection[Configuration]) -> bool:
    runs, tried = {trial.run for trial in group}, [trial.configuration for trial in group]
    reachable = [*candidates, *tried]
    differ = all(len(_values(tried, value)) >= min(2, len(_values(reachable, value))) for value in (_gpus, _batch))
    has_smallest = min(map(_batch, tried)) == min(map(_batch, reachable))
    return len(runs) > 1 and differ and has_smallest and _extra_values(tried) == _extra_values(reachable)


def _values(cells: Iterable[Configuration], value: Callable[[Configuration], int]) -> set[int]:
    return {value(cell) for cell in cells}


def _gpus(cell: Configuration) -> int:
    return cell.gpu_count


def _batch(cell: Configuration) -> int:
    return cell.batch_size


def _extra_values(cells: Iterable[Configuration]) -> set[tuple[str, Scalar]]:
    """Return each value of each extra parameter: one parameter may be the reason, whatever the others are."""
    return {each for cell in cells for each in cell.extra}
