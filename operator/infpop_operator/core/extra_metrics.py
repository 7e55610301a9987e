"""Metrics of other exporters for each trial: a study's queries, their units, and preset queries for common exporters.

A query is PromQL with three placeholders: `$namespace`, `$pod` and `$window`, the time window in which the trial was
measured. It is evaluated at the end of that window and must return one number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["ratio", "percent", "seconds", "bytes", "watts", "joules", "celsius", "hertz", "count"]
Preset = Literal["gpuUtilization", "gpuPower", "gpuMemory", "cpuUsage"]

PLACEHOLDERS = ("namespace", "pod", "window")  # each is written after a dollar sign

# Largest value of each unit, inclusive; None: no maximum. The smallest is 0. A value out of range has another unit.
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
    """An extra metric of each trial: its name in the study, its query, and the unit of its value."""

    name: str
    query: str
    unit: Unit


# Prometheus renames an exporter's labels namespace and pod to exported_namespace and exported_pod where its scrape
# configuration sets its own (the GPU operator's default). An exporter that is scraped twice must not be counted twice.
_BOTH_STYLES = (
    '{function}({series}{{namespace="$namespace",pod="$pod"}}[$window])'
    ' or {function}({series}{{exported_namespace="$namespace",exported_pod="$pod"}}[$window])'
)
_GPU_LOAD = _BOTH_STYLES.format(function="avg_over_time", series="DCGM_FI_DEV_GPU_UTIL")
_GPU_WATTS = _BOTH_STYLES.format(function="avg_over_time", series="DCGM_FI_DEV_POWER_USAGE")
_GPU_MIB = _BOTH_STYLES.format(function="max_over_time", series="DCGM_FI_DEV_FB_USED")
_CORES = _BOTH_STYLES.format(function="rate", series="container_cpu_usage_seconds_total")

# From NVIDIA's dcgm-exporter: the mean utilization of the run's GPUs, their total power, and the memory of the fullest
# GPU. From cAdvisor: the cores that the Pod uses, hence the maximum over its series for the whole Pod and for each
# container; a rate needs two scrapes within the trial.
PRESETS: Mapping[Preset, tuple[str, Unit]] = {
    "gpuUtilization": (f"avg(max by (Hostname, UUID, gpu) ({_GPU_LOAD}))", "percent"),
    "gpuPower": (f"sum(max by (Hostname, UUID, gpu) ({_GPU_WATTS}))", "watts"),
    "gpuMemory": (f"max({_GPU_MIB}) * 1048576", "bytes"),
    "cpuUsage": (f"max({_CORES})", "count"),
}
