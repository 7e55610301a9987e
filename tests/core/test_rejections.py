"""Rejections that come from what is the same in every configuration, and those that may not."""

from dataclasses import replace

import pytest

from factories.studies import make_cell, make_trial
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.rejections import Rejection, common_rejection, least_alike
from infpop_operator.core.study import Configuration
from infpop_runner.contract import InfeasibleReason

CELLS = [make_cell(gpus, batch) for gpus in (1, 2) for batch in (8, 16)]
WORDS = "unexpected keyword argument 'foo'"


def rejected(
    cell: Configuration, index: int, *, detail: str = WORDS, reason: InfeasibleReason = "RejectedArguments"
) -> Trial:
    """Return a trial that was refused with these words, alone in its run."""
    return replace(make_trial(cell, reason, index=index), detail=detail)


ONE, OTHER = rejected(make_cell(2, 8), 0), rejected(make_cell(1, 16), 1)


def test_two_rejections_that_have_nothing_in_common_are_one() -> None:
    """The same words at another GPU count and another batch size come from the settings of the study."""
    assert common_rejection([ONE, OTHER], CELLS) == Rejection(reason="RejectedArguments", detail=WORDS)


def test_numbers_addresses_and_names_of_runs_do_not_make_words_differ() -> None:
    """They change from run to run."""
    first, second = (
        rejected(make_cell(2, 8), 0, detail="run study-1a2b3c4d5e: bad value 4096 at 0x7f00"),
        rejected(make_cell(1, 16), 1, detail="run study-99ffee0011: bad value 2048 at 0x7e01"),
    )
    assert common_rejection([first, second], CELLS) is not None


@pytest.mark.parametrize(
    "trials",
    [
        [ONE],
        [ONE, rejected(make_cell(2, 16), 1)],  # the GPU count may be the reason
        [ONE, rejected(make_cell(1, 8), 1)],  # the batch size may be
        [ONE, rejected(make_cell(1, 16), 1, detail="something else")],
        [ONE, replace(OTHER, run=ONE.run)],  # one load
        [ONE, OTHER, make_trial(make_cell(1, 8), 100.0, index=2)],
        [ONE, OTHER, make_trial(make_cell(1, 8), TrialState.INVALID, index=2)],
        [ONE, OTHER, make_trial(make_cell(1, 8), "GpuOutOfMemory", index=2)],  # it got past the arguments
        [rejected(cell, index, reason="UnsupportedGpuCount") for index, cell in enumerate(CELLS)],
        [rejected(cell, index, reason="NotRecorded") for index, cell in enumerate(CELLS)],
    ],
)
def test_a_rejection_that_may_be_of_its_configuration_ends_nothing(trials: list[Trial]) -> None:
    """Another configuration may work."""
    assert common_rejection(trials, CELLS) is None


def test_a_space_of_one_gpu_count_needs_two_batch_sizes() -> None:
    """What cannot vary is no reason to go on."""
    cells = [make_cell(2, 8), make_cell(2, 16)]
    assert common_rejection([ONE, rejected(make_cell(2, 16), 1)], cells) is not None


def test_an_extra_parameter_must_have_had_each_value() -> None:
    """Two of three quantizations that a GPU lacks say nothing of the third."""
    kinds = ("awq", "gptq", "none")
    cells = [make_cell(gpus, batch, kind=kind) for gpus in (1, 2) for batch in (8, 16) for kind in kinds]
    first, second = (
        rejected(make_cell(2, 8, kind="awq"), 0),
        rejected(make_cell(1, 16, kind="gptq"), 1),
    )
    assert common_rejection([first, second], cells) is None
    assert common_rejection([first, second, rejected(make_cell(1, 8, kind="none"), 2)], cells) is not None


def test_another_value_of_one_extra_parameter_may_work_whatever_the_others_are() -> None:
    """Three of three block sizes were refused, but each of them with fp8."""
    cells = [
        make_cell(gpus, batch, kv=kv, block=block)
        for gpus in (1, 2)
        for batch in (8, 16)
        for kv in ("auto", "fp8")
        for block in (16, 32, 64)
    ]
    refused = [
        rejected(make_cell(gpus, batch, kv="fp8", block=block), index)
        for index, (gpus, batch, block) in enumerate([(2, 8, 16), (1, 16, 32), (2, 8, 64)])
    ]
    assert common_rejection(refused, cells) is None
    last = rejected(make_cell(1, 8, kv="auto", block=16), 3)
    assert common_rejection([*refused, last], cells) is not None


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_batch_size_may_be_above_a_limit_unless_the_smallest_was_refused_too(gpus: int) -> None:
    """Numbers do not make words differ, so two batches above a limit have the same ones."""
    cells = [make_cell(count, batch) for count in {1, gpus} for batch in (64, 128, 256, 512)]
    refused = [
        rejected(make_cell(gpus, 512), 0, detail="must be at most 128, got 512"),
        rejected(make_cell(1, 256), 1, detail="must be at most 128, got 256"),
    ]
    assert common_rejection(refused, cells) is None
    smallest = rejected(make_cell(1, 64), 2, detail="must be at most 32, got 64")
    assert common_rejection([*refused, smallest], cells) is not None


def test_the_next_configuration_after_a_rejection_has_the_smallest_batch_and_other_extra_values() -> None:
    """That is what shows soonest whether the arguments of the study are the reason."""
    cells = [make_cell(1, batch, a=a, b=b) for batch in (8, 16, 32) for a in (1, 2) for b in (1, 2)]
    failed = {make_cell(2, 32, a=1, b=1)}
    assert least_alike(tuple(cells), failed, failed) == (make_cell(1, 8, a=2, b=2),)
    assert make_cell(1, 32, a=2, b=2) in least_alike(tuple(cells), failed, ())  # it broke: any batch size will do


def test_the_next_configuration_has_the_least_in_common_with_those_that_failed() -> None:
    """Another GPU count first; after a rejection another batch size, too."""
    failed = {make_cell(2, 8)}
    assert least_alike(tuple(CELLS), failed, ()) == (make_cell(1, 8), make_cell(1, 16))
    assert least_alike(tuple(CELLS), failed, failed) == (make_cell(1, 16),)
    assert least_alike((make_cell(2, 8),), failed, failed) == (make_cell(2, 8),)
