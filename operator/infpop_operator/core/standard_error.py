"""The standard error of a measured throughput, from its 95 % interval or from the spread of its repeats."""

from math import sqrt

from infpop_runner.contract import Measured

# Expected range of n normal samples in standard deviations, n = 2 to 10 (the constant d2 of control charts). More
# repeats are treated as ten, which overestimates their noise rather than underestimating it.
_RANGE_IN_SIGMAS = (1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970, 3.078)
_MEDIAN_TO_MEAN = 1.2533  # standard error of a median over that of a mean: sqrt(pi / 2)
_INTERVAL_IN_SIGMAS = 1.96  # half of a 95 % interval in standard errors


def standard_error_ratio(measured: Measured) -> float:
    """Return the standard error of the throughput, relative to it.

    Where the runner reports a 95 % interval, half of its width is 1.96 standard errors; few parts of a measurement give
    a wider one (Student's t), so this overestimates the error rather than underestimating it. Elsewhere the range of
    the repeats estimates their standard deviation sigma; the standard error of a median of n repeats is
    1.2533 * sigma / sqrt(n). It is 0 if that range is 0.
    """
    if measured.interval_tokens_per_second is not None:
        return error_of_interval(measured.throughput_tokens_per_second, measured.interval_tokens_per_second)
    return error_of_spread(measured.spread_ratio, measured.repeats)


def error_of_interval(throughput: float, interval: tuple[float, float]) -> float:
    """Return the standard error of a throughput with a 95 % interval, relative to it."""
    low, high = interval
    return max(0.0, high - low) / 2 / _INTERVAL_IN_SIGMAS / throughput


def error_of_spread(spread_ratio: float, repeats: int) -> float:
    """Return the standard error of the median of `repeats` with this (max - min) / median, relative to it."""
    most = len(_RANGE_IN_SIGMAS) + 1
    sigma_ratio = spread_ratio / _RANGE_IN_SIGMAS[min(max(repeats, 2), most) - 2]
    return _MEDIAN_TO_MEAN * sigma_ratio / sqrt(repeats)
