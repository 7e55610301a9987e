"""What other exporters know of a trial: queries that a study names, their units, and queries that most clusters share.

A query is PromQL with three placeholders and nothing else of ours: `$namespace`, `$pod` and `$window`, the time over
which the trial was measured. It is evaluated at the end of that time and has to give one number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["ratio", "percent", "seconds", "bytes", "watts", "joules", "celsius", "hertz", "count"]
Preset = Literal["gpuUtilization", "gpuPower", "gpuMemory", "cpuUsage"]

# What a number in a unit can be, both ends included; None: any number from 0 on. A number outside is in another unit.
LARGEST: Mapping[Unit, float | None] = {
    "ratio": 1.0,
    "percent": 100.0,
    "seconds": None,
    "bytes": None,
    "watts": None,
    "joules": None,
    "celsius": 200.0,
    "hertz": None,
    "count": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraMetric:
    """A further figure of each trial: its name in the study, the query that gives it, and the unit it is in."""

    name: str
    query: str
    unit: Unit
