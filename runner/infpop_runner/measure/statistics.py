"""The statistics that a trial reports, each with its definition."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from infpop_runner.measure.values import Interval


def spread_ratio(samples: Sequence[float]) -> float:
    """Return (max - min) / median of `samples`, shape (n,), n >= 1, all > 0."""
    return (max(samples) - min(samples)) / median(samples)


def percentile(samples: Sequence[float], level: float) -> float:
    """Return the smallest sample that at least the fraction `level` of all samples does not exceed (nearest rank).

    Args:
        samples: shape (n,), n >= 1, any order.
        level: in (0, 1], for example 0.95.

    Raises:
        ValueError: no samples, or level outside (0, 1].
    """
    if not samples or not 0 < level <= 1:
        raise ValueError(f"need samples and a level in (0, 1], got {len(samples)} samples and level {level}")
    return sorted(samples)[math.ceil(level * len(samples)) - 1]


def peak_concurrency(intervals: Iterable[Interval]) -> int:
    """Return the largest number of intervals that overlap at one instant; touching ends do not overlap."""
    events = sorted(event for start, end in intervals for event in ((start, 1), (end, -1)))
    running = peak = 0
    for _, change in events:
        running += change
        peak = max(peak, running)
    return peak


def round_significant(value: float, digits: int = 6) -> float:
    """Return `value` with `digits` significant digits: more would claim a precision that no timing has."""
    return float(f"{value:.{digits}g}")
