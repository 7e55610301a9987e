"""The CPUs that this process may use, and how long it was throttled for using more.

A Kubernetes CPU limit is a quota of time and hides none of the machine's CPUs. If more threads run than the quota
allows, the kernel stops all of them for the rest of each period (100 ms): the run gets slower and its repeats uneven.
"""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")  # a container finds its own cgroup there, whichever version the Node uses
# Of version 2, then 1. The `.local` file of each (newer kernels only) also counts throttling by a Pod-level quota.
_STATISTICS = ("cpu.stat.local", "cpu.stat", "cpu/cpu.stat.local", "cpu/cpu.stat")
_UNITS = {"throttled_usec": 1e-6, "throttled_time": 1e-9}


def count_usable_cpus(cgroups: Path = CGROUPS) -> int:
    """Return the number of CPUs in the process's affinity, or its container's quota if that is lower; at least 1.

    Args:
        cgroups: where the container's own cgroup is mounted: `cpu.max` of version 2, or `cpu/cpu.cfs_quota_us` and
            `cpu/cpu.cfs_period_us` of version 1. An absent or malformed file means no quota.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = read_cpu_limit(cgroups)
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def read_cpu_limit(cgroups: Path = CGROUPS) -> float | None:
    """Return the container's quota in CPUs, None if it has none; `cgroups` as in `count_usable_cpus`."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroups / name).read_text() for name in names).split()
            if float(quota) > 0:
                return float(quota) / float(period)
        except (OSError, ValueError):  # absent file, or `max`
            continue
    return None


def read_throttled_seconds(cgroups: Path = CGROUPS) -> float | None:
    """Return how long the quota has stopped threads of the container so far, summed over the CPUs.

    None if that is unknown: the file is absent, or the kernel has no quotas.
    """
    for name in _STATISTICS:
        try:
            lines = (cgroups / name).read_text().splitlines()
            found = [float(value) * _UNITS[key] for key, value in map(str.split, lines) if key in _UNITS]
        except (OSError, ValueError):  # absent or malformed file
            continue
        if found:
            return found[0]
    return None
