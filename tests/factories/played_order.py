"""What a played run does not try, by the rules of the real runner."""

from collections.abc import Iterable

from infpop_runner.contract import Infeasible, Skipped, TrialResult, TrialSpec
from infpop_runner.trial.skipping import why_not_worthwhile


def is_left_out(trial: TrialSpec, results: Iterable[TrialResult]) -> bool:
    """Return whether a run leaves a trial out after these results, because a smaller batch ran out of memory."""
    return any(
        isinstance(each, Infeasible) and each.reason == "GpuOutOfMemory" and each.batch_size < trial.batch_size
        for each in results
    )


def skipped(trial: TrialSpec, results: Iterable[TrialResult]) -> Skipped | None:
    """Return the result of a trial that is not worthwhile after these results, None if it is."""
    why = why_not_worthwhile(trial, results)
    return None if why is None else Skipped(index=trial.index, batch_size=trial.batch_size, detail=why)
