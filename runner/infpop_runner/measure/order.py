"""Orders in which a part of the prompts stands for all of them.

An adaptive measurement runs only a part of a pass, so that part must have the same mix of short and long inputs as the
whole. The order here makes every run of consecutive items such a part, wherever it starts and however long it is, and
not only on average: items sorted by length are taken in the order of a Kronecker sequence of the golden ratio, whose
consecutive points are spread over the whole range as evenly as any sequence's (Kuipers and Niederreiter 1974, Uniform
Distribution of Sequences, section 2.3). The seed shifts the sequence; over all shifts each position is equally likely
to have each length, so the mean of a part is unbiased.
"""

from collections.abc import Sequence
from itertools import cycle, islice
from math import sqrt
from random import Random
from typing import TypeVar

Item = TypeVar("Item")

_GOLDEN = (sqrt(5) - 1) / 2


def representative_order(lengths: Sequence[int], *, seed: int) -> tuple[int, ...]:
    """Return the positions of all items, so that any consecutive ones have the lengths of all in the same proportions.

    Args:
        lengths: shape (n,), the length of each item, any order.
        seed: the same lengths and seed give the same order, whatever the batch size, GPU count or engine is.
    """
    random = Random(f"order:{seed}")
    ties = [random.random() for _ in lengths]
    by_length = sorted(range(len(lengths)), key=lambda position: (lengths[position], ties[position]))
    shift = random.random()
    points = sorted(range(len(lengths)), key=lambda number: (shift + number * _GOLDEN) % 1)
    order = [0] * len(lengths)
    for rank, number in enumerate(points):
        order[number] = by_length[rank]
    return tuple(order)


def take(items: Sequence[Item], *, first: int, count: int) -> list[Item]:
    """Return `count` consecutive items from number `first` on; after the last one comes the first one again.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise ValueError("there is nothing to take")
    start = first % len(items)
    return list(islice(cycle(items), start, start + count))
