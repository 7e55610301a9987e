"""The content of one pass."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.measure import Interval, pass_length, sequential_batch_seconds, steady_batch_seconds


@pytest.mark.parametrize(
    ("samples", "batch_size", "length"),
    [(1033, 1, 1033), (1033, 8, 1040), (1033, 256, 1280), (1033, 512, 2048), (8, 4, 16), (1, 1, 4)],
)
def test_length_of_a_pass(samples: int, batch_size: int, length: int) -> None:
    """A pass is the smallest multiple of the batch size that covers all samples and at least four batches."""
    assert pass_length(samples=samples, batch_size=batch_size) == length


@given(samples=st.integers(1, 5000), batch_size=st.integers(1, 2000))
def test_a_pass_is_whole_batches_and_not_longer_than_needed(samples: int, batch_size: int) -> None:
    """No batch of a pass is partly filled, and one batch less would be too few."""
    length = pass_length(samples=samples, batch_size=batch_size)
    assert length % batch_size == 0
    assert length >= max(samples, 4 * batch_size)
    assert length - batch_size < max(samples, 4 * batch_size)


@pytest.mark.parametrize(("samples", "batch_size"), [(0, 1), (1, 0), (-3, 4)])
def test_impossible_passes_are_refused(samples: int, batch_size: int) -> None:
    """A pass without prompts or without a batch is an error that names both numbers."""
    with pytest.raises(ValueError, match=f"{samples} and {batch_size}"):
        pass_length(samples=samples, batch_size=batch_size)


def queue(length: int, batch_size: int, step: Callable[[int, int], float], *, tokens: int = 4) -> list[Interval]:
    """Return when each sequence runs in an engine that starts a queued one at the step after another has ended.

    `step` gives the seconds of a step from the number of sequences that start in it and of those that go on.
    """
    clock, waiting = 0.0, length
    running: list[tuple[float, int]] = []
    done: list[Interval] = []
    while waiting or running:
        starting = min(batch_size - len(running), waiting, 3)  # no more than three prompts fit into a step
        started, waiting = clock, waiting - starting
        clock += step(starting, len(running))
        running += [(started, 0)] * starting
        running = [(since, ids + 1) for since, ids in running]
        done += [(since, clock) for since, ids in running if ids == tokens]
        running = [(since, ids) for since, ids in running if ids < tokens]
    return done


@pytest.mark.parametrize("batch_size", [1, 3, 8, 32])
@pytest.mark.parametrize("prefill", [0.0, 0.2, 2.0])
def test_the_time_of_a_part_and_its_steady_batches_give_that_of_the_whole(batch_size: int, prefill: float) -> None:
    """Ramp-up and tail count once, whether the engine fills its batch at once, step by step, or never."""
    step = lambda starting, going: 0.1 + prefill * starting + 0.01 * going  # noqa: E731
    part, whole = (queue(batches * batch_size, batch_size, step) for batches in (4, 20))
    batch = steady_batch_seconds(part, batch_size=batch_size)
    seconds = max(end for _, end in part) + 16 * batch
    assert seconds == pytest.approx(max(end for _, end in whole), rel=0.005)


def test_two_batches_have_nothing_between_ramp_up_and_tail() -> None:
    """A steady batch needs one before and one after it."""
    with pytest.raises(ValueError, match="2 full batches of 4"):
        steady_batch_seconds([(0.0, 1.0)] * 11, batch_size=4)


def test_a_call_that_runs_batches_one_after_another_has_its_own_time_once() -> None:
    """One more batch adds what later batches take, but not what a call takes to get into its work."""
    batches = [(10.5, 13.0), (13.1, 14.1), (14.2, 14.7)]
    assert sequential_batch_seconds(batches, seconds=4.4) == pytest.approx((14.7 - 13.0) / 2)
    assert sequential_batch_seconds(batches[:1], seconds=2.1) == 2.1
