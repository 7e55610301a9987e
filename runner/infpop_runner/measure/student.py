"""Quantiles of Student's t distribution, without scipy, which the runner does not need otherwise."""

from math import atan, cos, pi, sin, sqrt

_PRECISION = 1e-9  # relative, of a quantile
_LARGEST_DEGREES = 2000  # more change no digit that counts, and would only take time


def t_quantile(*, degrees: int, outside: float) -> float:
    """Return the t that a variable of Student's distribution exceeds, to either side, with probability `outside`.

    Args:
        degrees: of freedom, at least 1.
        outside: probability in (0, 1), both sides together: 0.05 for a 95 % interval.

    Raises:
        ValueError: `degrees` or `outside` is out of range.
    """
    if degrees < 1 or not 0 < outside < 1:
        raise ValueError(f"need degrees >= 1 and outside in (0, 1), got {degrees} and {outside}")
    degrees = min(degrees, _LARGEST_DEGREES)
    low, high = 0.0, 1.0
    while 1 - _inside(high, degrees) > outside:
        low, high = high, 2 * high
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - _inside(middle, degrees) > outside else (low, middle)
    return high


def _inside(t: float, degrees: int) -> float:
    """Return P(|T| <= t), exactly (Abramowitz and Stegun 1964, formulas 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(degrees))
    even = degrees % 2 == 0
    term = 1.0 if even else cos(angle)
    total = term if even or degrees > 1 else 0.0
    for number in range(2 if even else 3, degrees - 1, 2):
        term *= (number - 1) / number * cos(angle) ** 2
        total += term
    return sin(angle) * total if even else 2 / pi * (angle + sin(angle) * total)
