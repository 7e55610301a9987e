"""The content of one pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.measure import cycle_prompts, pass_length


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


def test_prompts_are_cycled_in_order() -> None:
    """Prompts repeat from the first once all were used."""
    assert cycle_prompts("abc", 7) == list("abcabca")


def test_nothing_cannot_be_cycled() -> None:
    """An empty workload is an error, not an endless loop."""
    with pytest.raises(ValueError, match="no prompts"):
        cycle_prompts([], 3)
