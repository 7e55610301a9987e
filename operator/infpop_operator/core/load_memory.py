"""Conclude from loads that ran out of memory: which batch sizes of a load cannot work, and which to try first.

A load whose weights do not fit fails with every batch size; one that is sized by its largest batch (vLLM) fails with
the larger ones alone. One such failure does not say which of the two it is, and published landscapes have a load that
failed with batch 1 and worked with batch 2. So one failure rules out nothing: the smallest batch sizes are tried next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infpop_operator.core.model import HAS_WORKED, Trial, TrialState
from infpop_operator.core.study import Configuration, Scalar
from infpop_runner.contract import Infeasible, InfeasibleReason

OUT_OF_MEMORY: InfeasibleReason = "GpuOutOfMemory"
LoadKey = tuple[int, tuple[tuple[str, Scalar], ...]]
_RAN = (*HAS_WORKED, TrialState.INVALID)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimit:
    """The batch sizes of a load that cannot work: those above `batch_size`, because `detail`."""

    batch_size: int
    detail: str


def while_loading(trial: Trial) -> bool:
    """Return whether a trial ran out of memory before any batch was tried; False where that is unknown."""
    result = trial.result
    return isinstance(result, Infeasible) and result.reason == OUT_OF_MEMORY and result.phase == "load"


def load_limits(trials: Iterable[Trial], wanted: Iterable[Configuration]) -> Mapping[LoadKey, LoadLimit]:
    """Return the limits that follow from the loads that ran out of memory.

    Where a smaller batch was loaded, memory depends on the batch, and larger batches fail as well. Where none was, the
    load cannot work at all once its two smallest batch sizes have failed; one that is no longer tried does not count.

    Args:
        trials: the trials of a round.
        wanted: the configurations that the round is to measure, tried or not.
    """
    known = tuple(trials)
    failed, loaded = _batches(filter(while_loading, known)), _batches(filter(_has_loaded, known))
    tried = {trial.configuration for trial in known if trial.state is not TrialState.RUNNING}
    untried = _batches_of(cell for cell in wanted if cell not in tried) if failed else {}
    limits: dict[LoadKey, LoadLimit] = {}
    for key, batches in failed.items():
        above = sorted(batch for batch in batches if batch > max(loaded.get(key, {0})))
        devices = "1 GPU" if key[0] == 1 else f"{key[0]} GPUs"
        if key in loaded and above:
            detail = f"loading for batch {above[0]} already ran out of memory on {devices}, for smaller ones it worked"
            limits[key] = LoadLimit(batch_size=above[0], detail=detail)
        elif key not in loaded and len(above) > 1 and min(untried.get(key, {above[1]})) >= above[1]:
            detail = f"loading for batch {above[0]} and for batch {above[1]} already ran out of memory on {devices}"
            limits[key] = LoadLimit(batch_size=0, detail=detail)
    return limits


def postponed(trials: Iterable[Trial], open_cells: Iterable[Configuration]) -> frozenset[Configuration]:
    """Return the open cells that wait for a smaller batch of their load, because a load for them may be in vain."""
    known = tuple(trials)
    failed, loaded = _batches(filter(while_loading, known)), _batches(filter(_has_loaded, known))
    waiting = tuple(cell for cell in open_cells if cell.load_key in failed.keys() - loaded.keys())
    smallest = {key: min(batches) for key, batches in _batches_of(waiting).items()}
    return frozenset(cell for cell in waiting if cell.batch_size > smallest[cell.load_key])


def _has_loaded(trial: Trial) -> bool:
    result = trial.result
    return trial.state in _RAN or (isinstance(result, Infeasible) and result.phase == "measure")


def _batches(trials: Iterable[Trial]) -> dict[LoadKey, set[int]]:
    return _batches_of(trial.configuration for trial in trials)


def _batches_of(configurations: Iterable[Configuration]) -> dict[LoadKey, set[int]]:
    found: dict[LoadKey, set[int]] = {}
    for cell in configurations:
        found.setdefault(cell.load_key, set()).add(cell.batch_size)
    return found
