"""Durations and decimals as the API writes them: strings, because Kubernetes APIs carry no floats."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field

DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$"
DECIMAL_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})?$"

Duration = Annotated[str, Field(min_length=2, max_length=32, pattern=DURATION_PATTERN)]
DecimalString = Annotated[str, Field(min_length=1, max_length=32, pattern=DECIMAL_PATTERN)]

_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-6, 1e15
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """Return the seconds that a `Duration` such as "1h30m" stands for."""
    parts = re.findall(r"(\d+)(h|ms|m|s)", duration)
    return sum(int(amount) * _UNIT_SECONDS[unit] for amount, unit in parts)


def interval(duration: str) -> timedelta:
    """Return a `Duration` as a timedelta."""
    return timedelta(seconds=seconds(duration))


def decimal_string(value: float, *, significant: int = 6) -> str:
    """Return `value` as a plain decimal with that many significant digits, without exponent or trailing zeros."""
    rounded = Decimal(f"{value:.{significant}g}")
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def figure_string(value: float) -> str:
    """Return a figure of any size in few characters: a plain decimal, or one with an exponent where that is long."""
    return decimal_string(value) if value == 0 or _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN else f"{value:.6g}"


def parse_scalar(text: str) -> str | int | float | bool:
    """Return the value that an argument's text stands for: true and false, an integer, a decimal, else the text."""
    if text in {"true", "false"}:
        return text == "true"
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", text):
        return float(text)
    return text


def scalar_text(value: str | float | bool) -> str:  # noqa: FBT001 - a value like the others
    """Return a value as the API writes it; `parse_scalar` reads it again."""
    return str(value).lower() if isinstance(value, bool) else str(value)
