"""The estimate of a whole pass from its blocks, and how far its interval reaches."""

import pytest

from infpop_runner.measure import PassOutcome
from infpop_runner.measure.estimate import estimate_pass
from infpop_runner.measure.values import Block

WAVES = {
    "fast": [101.0, 99.0] * 8,
    "slow": [101.0, 101.0, 101.0, 101.0, 99.0, 99.0, 99.0, 99.0] * 2,
}


def blocks(seconds: list[float], lengths: list[float] | None = None) -> list[Block]:
    """Return blocks of given pass seconds; without `lengths` all inputs are equally long."""
    return [
        Block(outcome=PassOutcome(seconds=1.0, generated=(1,)), pass_seconds=each, length_ratio=length)
        for each, length in zip(seconds, lengths or [1.0] * len(seconds), strict=True)
    ]


def reach(seconds: list[float], lengths: list[float] | None = None) -> float:
    """Return how far above the estimate the 95 % interval ends."""
    estimate = estimate_pass(blocks(seconds, lengths), outside=0.05)
    return estimate.interval[1] / estimate.seconds - 1


@pytest.mark.parametrize("lengths", [None, [0.9, 1.1, 1.1, 0.9] * 4])
def test_slow_blocks_that_follow_each_other_tell_less_than_scattered_ones(lengths: list[float] | None) -> None:
    """Sixteen blocks in four waves are four values, with the t of four: the interval is several times as wide."""
    assert sorted(WAVES["slow"]) == sorted(WAVES["fast"])
    assert reach(WAVES["slow"], lengths) > 2.5 * reach(WAVES["fast"], lengths)
