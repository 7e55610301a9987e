"""The order in which a part of the prompts stands for all of them."""

from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.measure import representative_order, take

SKEWED = [round(Random(length).lognormvariate(5, 0.7)) for length in range(1033)]


@given(lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=200), seed=st.integers(0, 99))
def test_every_item_comes_exactly_once(lengths: list[int], seed: int) -> None:
    """An order loses nothing, repeats nothing, and is the same each time."""
    order = representative_order(lengths, seed=seed)
    assert sorted(order) == list(range(len(lengths)))
    assert representative_order(lengths, seed=seed) == order


@pytest.mark.parametrize("first", [0, 1, 500, 1000])
@pytest.mark.parametrize("count", [10, 40, 200])
def test_any_part_has_short_and_long_items_as_the_whole_does(first: int, count: int) -> None:
    """Wherever a part starts, it has from each tenth of the lengths its share, within two."""
    tenths = {position: 10 * rank // len(SKEWED) for rank, position in enumerate(by_length())}
    part = take(representative_order(SKEWED, seed=1), first=first, count=count)
    for tenth in range(10):
        assert abs(sum(tenths[position] == tenth for position in part) - count / 10) <= 2


def by_length() -> list[int]:
    """Return the positions of the skewed lengths, shortest first."""
    return sorted(range(len(SKEWED)), key=lambda position: SKEWED[position])


def test_no_length_is_preferred_over_seeds() -> None:
    """The mean length of the first prompts is that of all, on average over seeds."""
    means = [
        fmean(SKEWED[position] for position in take(representative_order(SKEWED, seed=seed), first=0, count=5))
        for seed in range(300)
    ]
    error = (fmean((mean - fmean(means)) ** 2 for mean in means) / len(means)) ** 0.5
    assert abs(fmean(means) - fmean(SKEWED)) < 3 * error


def test_prompts_of_one_length_are_not_taken_in_the_order_of_their_file() -> None:
    """Equal lengths are shuffled by the seed: neighbours in a file can be alike in other ways."""
    first, second = (representative_order([7] * 50, seed=seed) for seed in (1, 2))
    assert first != second
    assert first != tuple(range(50))


def test_after_the_last_item_comes_the_first_one() -> None:
    """Taking goes round."""
    assert take("abcd", first=3, count=6) == ["d", "a", "b", "c", "d", "a"]
    assert take("abcd", first=9, count=2) == ["b", "c"]
    with pytest.raises(ValueError, match="nothing"):
        take([], first=0, count=1)
