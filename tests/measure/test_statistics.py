"""The statistics of a trial."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.measure import peak_concurrency, percentile, round_significant, spread_ratio

positive = st.floats(1e-6, 1e9)


def test_the_spread_is_relative_to_the_median() -> None:
    """The spread is the range as a share of the median."""
    assert spread_ratio([9.0, 10.0, 12.0]) == pytest.approx(0.3)
    assert spread_ratio([5.0]) == 0.0


@pytest.mark.parametrize(("level", "expected"), [(0.5, 5), (0.95, 10), (0.1, 1), (1.0, 10)])
def test_percentile_is_the_nearest_rank(level: float, expected: int) -> None:
    """A percentile is one of the samples: the smallest that enough samples do not exceed."""
    assert percentile(list(range(10, 0, -1)), level) == expected


@pytest.mark.parametrize(("samples", "level"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_impossible_percentiles_are_refused(samples: list[float], level: float) -> None:
    """No samples, or a level outside 0 to 1, is an error."""
    with pytest.raises(ValueError, match="level"):
        percentile(samples, level)


@pytest.mark.parametrize(
    ("intervals", "peak"),
    [
        ([], 0),
        ([(0.0, 1.0)], 1),
        ([(0.0, 1.0), (1.0, 2.0)], 1),
        ([(0.0, 2.0), (1.0, 3.0), (1.5, 1.7)], 3),
        ([(0.0, 1.0), (0.0, 1.0), (2.0, 3.0)], 2),
    ],
)
def test_peak_concurrency(intervals: list[tuple[float, float]], peak: int) -> None:
    """The peak counts intervals that share an instant; one that begins as another ends does not add to it."""
    assert peak_concurrency(intervals) == peak


@given(st.lists(st.tuples(positive, positive).map(lambda pair: (min(pair), max(pair))), max_size=30))
def test_peak_is_never_more_than_there_are(intervals: list[tuple[float, float]]) -> None:
    """No more can overlap than exist, and it does not matter in which order they are given."""
    assert peak_concurrency(intervals) <= len(intervals)
    assert peak_concurrency(intervals) == peak_concurrency(intervals[::-1])


@given(positive)
def test_rounding_keeps_six_digits(value: float) -> None:
    """Rounding changes a value by less than a millionth of it."""
    assert round_significant(value) == pytest.approx(value, rel=1e-5)
    assert len(f"{round_significant(value):.15g}".replace(".", "").split("e")[0].strip("0")) <= 6
