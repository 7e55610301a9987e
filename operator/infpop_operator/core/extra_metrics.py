"""Metrics of other exporters for each trial: a study's queries, their units, and preset queries for common exporters.

A query is PromQL with three placeholders: `$namespace`, `$pod` and `$window`, the time window in which the trial was
measured. It is evaluated at the end of that window and must return one number, or one for each GPU of the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Unit = Literal["ratio", "percent", "seconds", "bytes", "watts", "joules", "celsius", "hertz", "count"]
Preset = Literal["gpuUtilization", "gpuPower", "gpuMemory", "cpuUsage"]
AcrossGpus = Literal["mean", "sum", "max"]  # how the values of a run's GPUs become one

PLACEHOLDERS = ("namespace", "pod", "window")  # each is written after a dollar sign

# Largest value of each unit, inclusive; None: no maximum. The smallest is 0. A value out of range has another unit, as
# milliwatts do. A rack of 72 GB200 draws 132 kW (1e12 J in three months), no node holds or moves a pebibyte within a
# trial, and no clock of a computer has 100 GHz.
LARGEST: Mapping[Unit, float | None] = {
    "ratio": 1.0,
    "percent": 100.0,
    "seconds": None,
    "bytes": 2.0**50,
    "watts": 200_000.0,
    "joules": 1e12,
    "celsius": 200.0,
    "hertz": 1e11,
    "count": None,
}
# Largest value of one GPU. A GB300 draws 1.4 kW and holds 288 GB, an idle card more than 5 W: its milliwatts are above.
LARGEST_PER_GPU: Mapping[Unit, float] = {"watts": 5_000.0, "bytes": 2.0**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraMetric:
    """An extra metric of each trial: its name in the study, its query, and the unit of its value.

    `across_gpus` says how the values of the run's GPUs become one, for a query that returns one series for each GPU;
    None for a query that returns a single number.
    """

    name: str
    query: str
    unit: Unit
    across_gpus: AcrossGpus | None = None


class PresetQuery(NamedTuple):
    """The query of a preset, its unit, and how the values of several GPUs become one (None: it returns one number)."""

    query: str
    unit: Unit
    across_gpus: AcrossGpus | None


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

# From NVIDIA's dcgm-exporter, one series for each GPU, so that a GPU without a value is noticed: the mean utilization
# of the run's GPUs, their total power, and the memory of the fullest GPU. From cAdvisor: the cores that the Pod uses,
# hence the maximum over its series for the whole Pod and for each container; a rate needs two scrapes within the trial.
_EACH_GPU = "max by (Hostname, UUID, gpu)"
PRESETS: Mapping[Preset, PresetQuery] = {
    "gpuUtilization": PresetQuery(f"{_EACH_GPU} ({_GPU_LOAD})", "percent", "mean"),
    "gpuPower": PresetQuery(f"{_EACH_GPU} ({_GPU_WATTS})", "watts", "sum"),
    "gpuMemory": PresetQuery(f"{_EACH_GPU} ({_GPU_MIB}) * 1048576", "bytes", "max"),
    "cpuUsage": PresetQuery(f"max({_CORES})", "count", None),
}
# What measurement identities hold in place of a preset's query: the query that the preset had before it returned one
# series for each GPU. Both give the same number, so that studies that were measured with the earlier query continue.
IDENTIFIED_BY: Mapping[str, str] = {
    PRESETS["gpuUtilization"].query: f"avg({_EACH_GPU} ({_GPU_LOAD}))",
    PRESETS["gpuPower"].query: f"sum({_EACH_GPU} ({_GPU_WATTS}))",
    PRESETS["gpuMemory"].query: f"max({_GPU_MIB}) * 1048576",
}
