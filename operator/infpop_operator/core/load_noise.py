"""How much one configuration differs from engine load to engine load, and what the mean of a few loads is worth.

The repeats of one load do not show it: they share the load's memory layout, its captured graphs and the state of its
node. The standard deviation of a load is taken as the same, relative to the number, for all configurations of a round:
a few loads of each are enough to estimate it together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

# Two-sided 95 % quantiles of Student's t distribution for 1 to 30 degrees of freedom; with more, the last one is a
# little too large, so that an interval is never too narrow.
_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadNoise:
    """The standard deviation of one load, relative to the number, from `degrees_of_freedom` independent deviations."""

    ratio: float
    degrees_of_freedom: int

    def error_ratio(self, loads: int) -> float:
        """Return the standard error of the mean of `loads` loads, relative to it."""
        return self.ratio / sqrt(loads)


def load_noise(groups: Iterable[Sequence[float]]) -> LoadNoise | None:
    """Return the noise that all configurations share, None if none was measured twice.

    Args:
        groups: for each configuration, what its loads measured; a configuration with mean 0 says nothing.
    """
    squares, degrees = 0.0, 0
    for group in groups:
        mean = fmean(group) if group else 0.0
        if len(group) > 1 and mean != 0.0:
            squares += sum((number / mean - 1) ** 2 for number in group)
            degrees += len(group) - 1
    return LoadNoise(ratio=sqrt(squares / degrees), degrees_of_freedom=degrees) if degrees else None


def student_t(degrees_of_freedom: int) -> float:
    """Return how many standard errors a 95 % interval reaches to either side.

    Raises:
        ValueError: there is no degree of freedom, so nothing is known about the noise.
    """
    if degrees_of_freedom < 1:
        raise ValueError("an interval needs at least one degree of freedom")
    return _T_95[min(degrees_of_freedom, len(_T_95)) - 1]
