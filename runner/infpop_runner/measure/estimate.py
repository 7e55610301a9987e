"""Estimate the time of a whole pass from some of its parts, with an interval.

Each block gives one estimate of the seconds of a pass. Blocks differ for two reasons. One is known: the inputs of one
are a little longer than those of another. A regression on that length takes it out, and is evaluated at the length of
the whole pass (regression estimator; Cochran 1977, Sampling Techniques, chapter 7). The other is noise, from which the
interval follows by Student's t.

Noise of a machine lasts: a slow second is followed by another one, and then blocks tell less than as many independent
ones would. So the interval is also computed from neighbours taken together (Flyvbjerg and Petersen 1989, J. Chem. Phys.
91, 461), as far as that noise lasts with the t of as many groups, and the widest counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, sqrt
from statistics import fmean

from infpop_runner.measure.student import t_quantile
from infpop_runner.measure.values import Block, Interval

FEWEST_BLOCKS = 3  # with two, the t of a corrected 95 % interval is 25
# A line through fewer blocks hardly knows its own error, and bends to what is not linear, such as attention over long
# inputs. Reasoned; in the benchmark's stand-in 5, 6 and 8 gave errors of about 0.3 %.
FEWEST_FOR_SLOPE = 6
# Neighbours are taken together until a group lasts this long, which is twice to four times as long as the noise that is
# meant, and as long as so many degrees of freedom are left. On the machine of this package's tests, with noise of 1 %
# that lasts 5 and 10 s, 89 and 83 % of the intervals hold the truth with 2 degrees; with 1 more than 95 % do, but its t
# of 12.7 leaves nothing to save.
GROUP_SECONDS = 20.0
FEWEST_DEGREES = 2
# Longer groups are always few, and their own t would make every interval wide. Their variance counts with the t of all
# blocks, as long as there are so many groups.
FEWEST_LONG_GROUPS = 4
# Relative. The time of an engine does not quite follow a line: attention costs the square of the length. More blocks do
# not make that error smaller. The largest of the 60 cells of `benchmarks/adaptive_stand_in.py` without noise was
# 0.36 %, and with this floor the intervals of all 60 hold the truth.
MODEL_ERROR = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class PassEstimate:
    """The estimated seconds of a whole pass, with an interval; `slope` is the seconds per unit of length ratio."""

    seconds: float
    interval: Interval
    slope: float

    def tight(self, ratio: float) -> bool:
        """Return whether the throughput is known to within `ratio` of it, to either side."""
        low, high = self.interval
        return max(self.seconds / low - 1, 1 - self.seconds / high) <= ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """How far blocks of so many seconds are from the truth; `outside` is the probability that they are further."""

    block_seconds: float
    outside: float

    def reach(self, rest: Sequence[float], *, used: int) -> float:
        """Return how far one block is from the truth, as the mean of all blocks has it.

        `used` parameters were fitted to get `rest`.
        """
        largest, size = 0.0, 1
        while degrees := self._degrees(len(rest), size, used):
            groups = len(rest) // size
            means = (fmean(rest[number * size : (number + 1) * size]) for number in range(groups))
            deviation = sqrt(size * sum(mean**2 for mean in means) / (groups - used))
            largest = max(largest, deviation * t_quantile(degrees=degrees, outside=self.outside))
            size *= 2
        return largest

    def _degrees(self, blocks: int, size: int, used: int) -> int:
        """Return the degrees of freedom of the t for groups of `size` blocks; 0 if there are too few groups."""
        left = blocks // size - used
        if size == 1:
            return left
        if size // 2 * self.block_seconds < GROUP_SECONDS:
            return left if left >= FEWEST_DEGREES else 0
        return blocks - used if left >= FEWEST_LONG_GROUPS else 0


def estimate_pass(blocks: Sequence[Block], *, outside: float) -> PassEstimate:
    """Return the seconds of a whole pass.

    From a few blocks no slope can be estimated. Then the interval holds those of both extremes: the length does not
    matter, and time is proportional to it.

    Args:
        blocks: in the order in which they were measured; at least two.
        outside: probability that the interval does not hold the true value.
    """
    seconds = [block.pass_seconds for block in blocks]
    lengths = [block.length_ratio for block in blocks]
    spread = _Spread(block_seconds=fmean(block.outcome.seconds for block in blocks), outside=outside)
    if len(blocks) >= FEWEST_FOR_SLOPE and max(lengths) > min(lengths):
        return _by_regression(seconds, lengths, spread)
    flat = _by_mean(seconds, spread)
    steep = _by_mean([each / length for each, length in zip(seconds, lengths, strict=True)], spread)
    return PassEstimate(
        seconds=(flat.seconds + steep.seconds) / 2,
        interval=(min(flat.interval[0], steep.interval[0]), max(flat.interval[1], steep.interval[1])),
        slope=steep.seconds / 2,
    )


def _by_mean(seconds: Sequence[float], spread: _Spread) -> PassEstimate:
    mean = fmean(seconds)
    reach = spread.reach([each - mean for each in seconds], used=1) / sqrt(len(seconds))
    return PassEstimate(seconds=mean, interval=_around(mean, reach), slope=0.0)


def _around(seconds: float, reach: float) -> Interval:
    """Return the interval that reaches as far in the logarithm: a time is never negative, however little is known.

    The errors of noise and of the model add up as independent ones.
    """
    factor = exp(hypot(reach / seconds, MODEL_ERROR))
    return seconds / factor, seconds * factor


def _by_regression(seconds: Sequence[float], lengths: Sequence[float], spread: _Spread) -> PassEstimate:
    mean, middle = fmean(seconds), fmean(lengths)
    scatter = sum((length - middle) ** 2 for length in lengths)
    products = ((length - middle) * (each - mean) for each, length in zip(seconds, lengths, strict=True))
    # More tokens never take less time, and a fixed part does not grow with them.
    slope = min(max(sum(products) / scatter, 0.0), mean / middle)
    rest = [each - mean - slope * (length - middle) for each, length in zip(seconds, lengths, strict=True)]
    leverage = sqrt(1 / len(seconds) + (1 - middle) ** 2 / scatter)
    reach = spread.reach(rest, used=2) * leverage
    whole = mean + slope * (1 - middle)
    return PassEstimate(seconds=whole, interval=_around(whole, reach), slope=slope)
