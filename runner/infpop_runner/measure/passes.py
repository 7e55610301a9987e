"""Select the prompts of one pass through the engine."""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import TypeVar

Prompt = TypeVar("Prompt")

# A pass of a single batch would consist only of ramp-up and tail (guidellm#93: such numbers are biased); with four
# batches the batch is full most of the time. The number is the same for every engine, so that results are comparable.
FULL_BATCHES_PER_PASS = 4


def pass_length(*, samples: int, batch_size: int) -> int:
    """Return the number of prompts in a pass: the smallest multiple of `batch_size` that meets both minimums.

    The minimums are `samples`, so that every distinct prompt counts, and four batches.

    Raises:
        ValueError: `samples` or `batch_size` is smaller than 1.
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(f"samples and batch_size must be at least 1, got {samples} and {batch_size}")
    at_least = max(samples, FULL_BATCHES_PER_PASS * batch_size)
    return -(-at_least // batch_size) * batch_size


def cycle_prompts(prompts: Sequence[Prompt], length: int) -> list[Prompt]:
    """Return `length` prompts: all of `prompts` in order, repeated as often as needed.

    Raises:
        ValueError: `prompts` is empty.
    """
    if not prompts:
        raise ValueError("there are no prompts to cycle through")
    return list(islice(cycle(prompts), length))
