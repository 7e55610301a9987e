"""How many CPUs this process may keep busy, and for how long it was stopped for having used more.

A Kubernetes limit of CPUs is a quota of time and hides none of the machine's CPUs. More threads than that run into the
quota, are all stopped for the rest of each period (100 ms), and make a run slower and its repeats uneven.
"""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")  # a container sees its own there, whichever version the node has
# Of version 2 and 1. The first of each, which newer kernels have, also counts what a quota of the whole Pod cost.
_STATISTICS = ("cpu.stat.local", "cpu.stat", "cpu/cpu.stat.local", "cpu/cpu.stat")
_UNITS = {"throttled_usec": 1e-6, "throttled_time": 1e-9}


def count_usable_cpus(cgroups: Path = CGROUPS) -> int:
    """Return the number of CPUs of this process's affinity, or of its container's quota where that is less; at least 1.

    Args:
        cgroups: where the container's own cgroup is mounted: `cpu.max` of version 2, or `cpu/cpu.cfs_quota_us` and
            `cpu/cpu.cfs_period_us` of version 1. A file that is absent or unlike these means no quota.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = read_cpu_limit(cgroups)
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def read_cpu_limit(cgroups: Path = CGROUPS) -> float | None:
    """Return the container's quota in CPUs, None where it has none; `cgroups` as above."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroups / name).read_text() for name in names).split()
            if float(quota) > 0:
                return float(quota) / float(period)
        except (OSError, ValueError):  # no such file, or `max`
            continue
    return None


def read_throttled_seconds(cgroups: Path = CGROUPS) -> float | None:
    """Return for how long threads of the container were stopped by its quota so far, added up over the CPUs.

    None where that is not known: no such file, or a kernel without quotas.
    """
    for name in _STATISTICS:
        try:
            lines = (cgroups / name).read_text().splitlines()
            found = [float(value) * _UNITS[key] for key, value in map(str.split, lines) if key in _UNITS]
        except (OSError, ValueError):  # no such file, or unlike one
            continue
        if found:
            return found[0]
    return None
