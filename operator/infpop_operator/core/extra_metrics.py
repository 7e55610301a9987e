"""What other exporters know of a trial: queries that a study names, their units, and queries that most clusters share.

A query is PromQL with three placeholders and nothing else of ours: `$namespace`, `$pod` and `$window`, the time over
which the trial was measured. It is evaluated at the end of that time and has to give one number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["ratio", "percent", "seconds", "bytes", "watts", "joules", "celsius", "hertz", "count"]
Preset = Literal["gpuUtilization", "gpuPower", "gpuMemory", "cpuUsage"]

PLACEHOLDERS = ("namespace", "pod", "window")  # each after a dollar sign

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


# Exporters' own labels namespace and pod are called exported_namespace and exported_pod where Prometheus is told to put
# its own on what it scrapes (the GPU operator's default). An exporter that is scraped twice must not count twice.
_BOTH_STYLES = (
    '{function}({series}{{namespace="$namespace",pod="$pod"}}[$window])'
    ' or {function}({series}{{exported_namespace="$namespace",exported_pod="$pod"}}[$window])'
)
_GPU_LOAD = _BOTH_STYLES.format(function="avg_over_time", series="DCGM_FI_DEV_GPU_UTIL")
_GPU_WATTS = _BOTH_STYLES.format(function="avg_over_time", series="DCGM_FI_DEV_POWER_USAGE")
_GPU_MIB = _BOTH_STYLES.format(function="max_over_time", series="DCGM_FI_DEV_FB_USED")
_CORES = _BOTH_STYLES.format(function="rate", series="container_cpu_usage_seconds_total")

# From NVIDIA's dcgm-exporter: the mean use of the run's GPUs, the power of all of them, the most memory on any of them.
# From cAdvisor: the cores that the pod keeps busy, of which it shows the whole pod and each container in it; a rate
# needs two scrapes within the trial.
PRESETS: Mapping[Preset, tuple[str, Unit]] = {
    "gpuUtilization": (f"avg(max by (Hostname, UUID, gpu) ({_GPU_LOAD}))", "percent"),
    "gpuPower": (f"sum(max by (Hostname, UUID, gpu) ({_GPU_WATTS}))", "watts"),
    "gpuMemory": (f"max({_GPU_MIB}) * 1048576", "bytes"),
    "cpuUsage": (f"max({_CORES})", "count"),
}
