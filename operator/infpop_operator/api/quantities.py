"""Parse and format durations, decimals and amounts of CPU and memory as the API writes them.

They are strings, because Kubernetes APIs should not use floats. Amounts are Kubernetes quantities in their common
forms: without exponents, and without thousandths of a byte.
"""

import re
from datetime import timedelta
from decimal import Decimal
from math import ceil
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from infpop_runner.contract import MOST_TRIALS

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


def _one_error_for_both_types(value: object) -> object:
    """Return the value; a wrong one would otherwise have an error for the number and another for the word."""
    if value != "auto" and (type(value) is not int or not 1 <= value <= MOST_TRIALS):
        raise PydanticCustomError("trials_per_run", "not a number of trials", {"most": MOST_TRIALS})
    return value


TrialsPerRun = Annotated[
    int | Literal["auto"],
    BeforeValidator(_one_error_for_both_types),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 1,
            "maximum": MOST_TRIALS,
            "maxLength": 4,
            "pattern": "^auto$",
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
