"""How many CPUs this process may keep busy: what a container is given, not what its machine has.

A Kubernetes limit of CPUs is a quota of time and hides none of the machine's CPUs. More threads than that run into the
quota, are all stopped for the rest of each period (100 ms), and make a run slower and its repeats uneven.
"""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")  # a container sees its own there, whichever version the node has


def count_usable_cpus(cgroups: Path = CGROUPS) -> int:
    """Return the number of CPUs of this process's affinity, or of its container's quota where that is less; at least 1.

    Args:
        cgroups: where the container's own cgroup is mounted: `cpu.max` of version 2, or `cpu/cpu.cfs_quota_us` and
            `cpu/cpu.cfs_period_us` of version 1. A file that is absent or unlike these means no quota.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _read_quota(cgroups)
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def _read_quota(cgroups: Path) -> float | None:
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroups / name).read_text() for name in names).split()
            if float(quota) > 0:
                return float(quota) / float(period)
        except (OSError, ValueError):  # no such file, or `max`
            continue
    return None
