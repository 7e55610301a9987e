"""The preset queries, word by word: changing one changes what studies measure."""

from typing import get_args

import pytest

from infpop_operator.core.extra_metrics import LARGEST, PLACEHOLDERS, PRESETS, Preset, Unit

GPUS = "max by (Hostname, UUID, gpu)"
LOAD = (
    'avg_over_time(DCGM_FI_DEV_GPU_UTIL{namespace="$namespace",pod="$pod"}[$window])'
    ' or avg_over_time(DCGM_FI_DEV_GPU_UTIL{exported_namespace="$namespace",exported_pod="$pod"}[$window])'
)
POWER = (
    'avg_over_time(DCGM_FI_DEV_POWER_USAGE{namespace="$namespace",pod="$pod"}[$window])'
    ' or avg_over_time(DCGM_FI_DEV_POWER_USAGE{exported_namespace="$namespace",exported_pod="$pod"}[$window])'
)
MEMORY = (
    'max_over_time(DCGM_FI_DEV_FB_USED{namespace="$namespace",pod="$pod"}[$window])'
    ' or max_over_time(DCGM_FI_DEV_FB_USED{exported_namespace="$namespace",exported_pod="$pod"}[$window])'
)
CORES = (
    'rate(container_cpu_usage_seconds_total{namespace="$namespace",pod="$pod"}[$window])'
    ' or rate(container_cpu_usage_seconds_total{exported_namespace="$namespace",exported_pod="$pod"}[$window])'
)
QUERIES = {
    "gpuUtilization": (f"{GPUS} ({LOAD})", "percent", "mean"),
    "gpuPower": (f"{GPUS} ({POWER})", "watts", "sum"),
    "gpuMemory": (f"{GPUS} ({MEMORY}) * 1048576", "bytes", "max"),
    "cpuUsage": (f"max({CORES})", "count", None),
}


def test_every_preset_asks_what_it_says() -> None:
    """The query covers both label styles and the window of the trial, and counts each GPU once."""
    assert PRESETS == QUERIES
    assert tuple(PRESETS) == get_args(Preset)


@pytest.mark.parametrize("preset", get_args(Preset))
def test_every_preset_has_all_placeholders(preset: Preset) -> None:
    """A query without one of them would return values of other Pods or other times."""
    query, unit, _ = PRESETS[preset]
    assert all(f"${name}" in query for name in PLACEHOLDERS)
    assert unit in LARGEST


def test_every_unit_says_what_is_too_much() -> None:
    """Ratios end at one, percentages at a hundred; no node draws more than a rack, or holds a pebibyte."""
    bounded = {unit: largest for unit, largest in LARGEST.items() if largest is not None}
    assert bounded == {
        "ratio": 1.0,
        "percent": 100.0,
        "bytes": 2.0**50,
        "watts": 200_000.0,
        "joules": 1e12,
        "celsius": 200.0,
        "hertz": 1e11,
    }
    assert tuple(LARGEST) == get_args(Unit)
