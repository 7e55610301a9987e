"""Parse and format durations, decimals and amounts of CPU and memory as the API writes them.

They are strings, because Kubernetes APIs should not use floats. Amounts are Kubernetes quantities in their common
forms: without exponents, and without thousandths of a byte.
"""

import re
from datetime import timedelta
from decimal import Decimal
from math import ceil
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from infpop_runner.contract import is_structured

DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$"
DECIMAL_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})?$"
CPU_PATTERN = r"^([0-9]{1,4}(\.[0-9]{1,3})?|[0-9]{1,7}m)$"
MEMORY_PATTERN = r"^([0-9]{1,15}|[0-9]{1,12}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T))$"

Duration = Annotated[str, Field(min_length=2, max_length=32, pattern=DURATION_PATTERN)]
DecimalString = Annotated[str, Field(min_length=1, max_length=32, pattern=DECIMAL_PATTERN)]
MemoryQuantity = Annotated[str, Field(min_length=1, max_length=32, pattern=MEMORY_PATTERN)]


def _whole_number_as_text(value: object) -> object:
    return str(value) if type(value) is int else value  # excludes True, which is an int but not a number of CPUs


_MOST_CPUS = 9999  # the maximum of the pattern
CpuQuantity = Annotated[
    str,
    BeforeValidator(_whole_number_as_text),
    Field(min_length=1, max_length=16, pattern=CPU_PATTERN),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 1,
            "maximum": _MOST_CPUS,
            "minLength": 1,
            "maxLength": 16,
            "pattern": CPU_PATTERN,
        }
    ),
]

_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-6, 1e15
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_UNITS = ("", "k", "M", "G", "T")  # each 1,000 times the one before, or 1,024 times if followed by an i


def seconds(duration: str) -> float:
    """Return the seconds of a `Duration` such as "1h30m"."""
    parts = re.findall(r"(\d+)(h|ms|m|s)", duration)
    return sum(int(amount) * _UNIT_SECONDS[unit] for amount, unit in parts)


def interval(duration: str) -> timedelta:
    """Return a `Duration` as a timedelta."""
    return timedelta(seconds=seconds(duration))


def millicores(cpu: str) -> int:
    """Return the thousandths of a CPU of a `CpuQuantity` such as "8", "0.5" or "500m"."""
    return int(cpu.removesuffix("m")) if cpu.endswith("m") else int(Decimal(cpu) * 1000)


def memory_bytes(memory: str) -> int:
    """Return the bytes of a `MemoryQuantity` such as "64Gi" or "1.5G", rounded up."""
    number, unit, binary = re.findall(r"([0-9.]+)([kKMGT]?)(i?)", memory)[0]
    unit_bytes: int = (1024 if binary else 1000) ** _UNITS.index(unit.replace("K", "k"))
    return ceil(Decimal(number) * unit_bytes)


def decimal_string(value: float, *, significant: int = 6) -> str:
    """Return `value` as a plain decimal with that many significant digits, without exponent or trailing zeros."""
    rounded = Decimal(f"{value:.{significant}g}")
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def number_string(value: float) -> str:
    """Return a number of any size in few characters: a plain decimal, or with an exponent if that is shorter."""
    return decimal_string(value) if value == 0 or _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN else f"{value:.6g}"


def parse_scalar(text: str) -> str | int | float | bool:
    """Return the value of an argument's text: true or false, an integer, a decimal, or else the text on one line.

    True and TRUE are as in YAML and Python: as text, an engine would take even "False" for true.
    """
    if text.lower() in {"true", "false"} and text in {text.lower(), text.upper(), text.capitalize()}:
        return text.lower() == "true"
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", text):
        return float(text)
    if is_structured(text):  # JSON has line breaks only between its parts, where a space means the same
        return re.sub(r"[\t\r\n]", " ", text).strip()
    return text


def scalar_text(value: str | float | bool) -> str:  # noqa: FBT001 - one type of value among others
    """Return a value as the API writes it; the inverse of `parse_scalar`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
