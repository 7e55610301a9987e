"""Which trials of a run are worth their time after what it has measured."""

import pytest

from factories.studies import make_measured, make_raced_out
from infpop_runner.contract import Infeasible, TrialResult, TrialSpec
from infpop_runner.trial.skipping import why_not_worthwhile

RACED_OUT = make_raced_out(100.0, throughput_tokens_per_second=90.0)
TOO_LARGE = Infeasible(index=0, batch_size=1, reason="GpuOutOfMemory")


@pytest.mark.parametrize(
    ("results", "needed", "expected"),
    [
        ([RACED_OUT], 90.0, None),
        ([RACED_OUT], 95.0, "the best of its run, 90 tokens/s, is below the 95 it needs"),
        ([RACED_OUT, make_measured(95.0)], 95.0, None),
        ([make_measured(80.0), RACED_OUT], 85.0, None),
        ([TOO_LARGE], 1.0, "it needs an earlier trial of its run with 1 tokens/s, and none has a number"),
    ],
)
def test_a_raced_out_trial_counts_with_the_throughput_that_it_reached(
    results: list[TrialResult], needed: float, expected: str | None
) -> None:
    """Its upper bound is what it may have reached at most, so that bound alone meets no condition."""
    assert why_not_worthwhile(TrialSpec(index=1, batch_size=2, needs_tokens_per_second=needed), results) == expected
