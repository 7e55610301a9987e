"""Say why a trial is not tried: the rules by which a run ends its load early. Pure.

A skipped trial costs nothing, and its configuration stays open: the search may choose it again.
"""

from collections.abc import Iterable

from infpop_runner.contract import Measured, RacedOut, TrialResult, TrialSpec


def why_not_worthwhile(trial: TrialSpec, results: Iterable[TrialResult]) -> str | None:
    """Return why the trial is not worth its time after `results`, None if it is, or if it always is.

    Args:
        trial: the next trial of the run.
        results: those of the run so far; those with a number count. That of a raced-out trial is the throughput that it
            had when its measurement ended: its upper bound would say what it may have reached, and not that it did.
    """
    needed = trial.needs_tokens_per_second
    if needed is None:
        return None
    reached = [each.throughput_tokens_per_second for each in results if isinstance(each, Measured | RacedOut)]
    if not reached:
        return f"it needs an earlier trial of its run with {needed:.6g} tokens/s, and none has a number"
    best = max(reached)
    return None if best >= needed else f"the best of its run, {best:.6g} tokens/s, is below the {needed:.6g} it needs"


def why_unreachable(too_large: int) -> str:
    """Return why nothing was tried after a batch of this size ran out of memory, on an engine that did not survive."""
    return f"the engine ended when batch {too_large} ran out of memory"
