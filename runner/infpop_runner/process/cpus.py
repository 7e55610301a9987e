"""The CPUs that this process may use, and how long it was throttled for using more.

A Kubernetes CPU limit is a quota of time and hides none of the machine's CPUs. If more threads run than the quota
allows, the kernel stops all of them for the rest of each period (100 ms): the run gets slower and its repeats uneven.
"""

import os
from pathlib import Path

from infpop_runner.contract import cpu_limit, usable_cpus

ROOT = Path("/")
CGROUPS = Path("/sys/fs/cgroup")  # a container finds its own cgroup there, whichever version the Node uses
# Of version 2, then 1. The `.local` file of each (newer kernels only) also counts throttling by a Pod-level quota.
_STATISTICS = ("cpu.stat.local", "cpu.stat", "cpu/cpu.stat.local", "cpu/cpu.stat")
_UNITS = {"throttled_usec": 1e-6, "throttled_time": 1e-9}


def count_usable_cpus(root: Path = ROOT) -> int:
    """Return the number of CPUs in the process's affinity, or its quota if that is lower; at least 1.

    Args:
        root: of the file system, where `proc` and `sys` are.
    """
    return usable_cpus(len(os.sched_getaffinity(0)), read_cpu_limit(root))


def read_cpu_limit(root: Path = ROOT) -> float | None:
    """Return the quota of the process in CPUs, None if it has none; `root` as in `count_usable_cpus`."""

    def read(path: str) -> str | None:
        try:
            return (root / path).read_text()
        except (OSError, ValueError):  # absent, or not text
            return None

    return cpu_limit(read)


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
