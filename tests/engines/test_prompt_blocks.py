"""The prompts of a part of a pass, as each kind of engine forms its batches."""

from itertools import chain

import pytest

from infpop_runner.engines.prompt_set import PromptSet
from infpop_runner.measure import Vocabulary

LENGTHS = tuple(1 + (7 * number) % 53 for number in range(50))
PROMPTS = PromptSet(
    distinct=tuple((number,) * length for number, length in enumerate(LENGTHS)),
    vocabulary=Vocabulary(size=100, special_ids=frozenset()),
    seed=5,
)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_blocks_of_a_queue_take_every_prompt_before_any_comes_again(batch_size: int) -> None:
    """Blocks one after another go through all prompts, whatever the batch size is."""
    batches = -(-50 // batch_size)
    first, second = (PROMPTS.of_block(batch_size, number * batches, batches) for number in (0, 1))
    assert sorted(first[:50]) == sorted(PROMPTS.distinct)
    assert (first + second)[50:100] == first[:50]


def test_the_order_is_the_same_for_all_batch_sizes() -> None:
    """Two trials are measured with the same prompts first, however these are batched."""
    assert PROMPTS.of_block(2, 0, 8) == PROMPTS.of_block(16, 0, 1) == PROMPTS.of_block(4, 0, 4)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_batches_of_a_sorted_pass_are_those_of_a_full_measurement(batch_size: int) -> None:
    """A pipeline pads a batch to its longest prompt, so a part must consist of the very batches of a pass."""
    whole = PROMPTS.of_sorted_pass(batch_size)
    number = len(whole) // batch_size
    batches = {tuple(whole[start : start + batch_size]) for start in range(0, len(whole), batch_size)}
    taken = [PROMPTS.of_sorted_block(batch_size, first, 1)[0] for first in range(number)]
    assert {tuple(batch) for batch in taken} == batches
    assert all(tuple(batch) in batches for batch in taken)
    assert sorted(chain(*taken)) == sorted(whole)


def test_a_whole_pass_has_its_own_length() -> None:
    """The length ratio of all batches is 1, also on average over single ones, and that of the longest is above it."""
    assert PROMPTS.of_sorted_block(4, 0, 13)[1] == pytest.approx(1.0)
    ratios = [PROMPTS.of_sorted_block(4, first, 1)[1] for first in range(13)]
    assert sum(ratios) / 13 == pytest.approx(1.0)
    assert max(ratios) > 1.5


def test_the_length_of_a_part_counts_as_often_as_its_time_does() -> None:
    """The first batch of a pipeline's call, and the first and last of a queue, stand for themselves alone."""
    block, ratio = PROMPTS.of_sorted_block(4, 0, 3)
    padded = [max(map(len, block[start : start + 4])) for start in (0, 4, 8)]
    whole = [max(map(len, PROMPTS.of_sorted_block(4, number, 1)[0])) for number in range(13)]
    assert ratio == pytest.approx((padded[0] + 12 * (padded[1] + padded[2]) / 2) / sum(whole))
    queue = PROMPTS.of_block(2, 0, 5)
    means = [(len(queue[start]) + len(queue[start + 1])) / 2 for start in (0, 2, 4, 6, 8)]
    expected = (means[0] + 23 * sum(means[1:4]) / 3 + means[4]) / (sum(LENGTHS) / 2)
    assert PROMPTS.queue_length_ratio(queue, 2) == pytest.approx(expected)
