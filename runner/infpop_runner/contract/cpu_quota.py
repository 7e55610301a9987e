"""How many CPUs a process may use when its control group has a quota: the same for `infpop tune` and for the runner.

A quota, such as a Kubernetes CPU limit, is time per period and hides none of the machine's CPUs. It may be set on the
process's own group or on any group above it; the lowest one counts. Nothing is read here: the caller passes a function
that takes a path without its leading slash, such as `proc/self/cgroup`, and returns the text of the file, None if there
is no such file.
"""

import math
from collections.abc import Callable, Iterator

Read = Callable[[str], str | None]

_V1, _V2 = ("sys/fs/cgroup/cpu", "sys/fs/cgroup")  # where each version is mounted
_QUOTA_FILES = {_V1: ("cpu.cfs_quota_us", "cpu.cfs_period_us"), _V2: ("cpu.max",)}


def usable_cpus(allowed: int, limit: float | None) -> int:
    """Return how many threads can run at once: `allowed` by the affinity, or the limit if lower; at least 1."""
    return allowed if limit is None else max(1, min(allowed, math.floor(limit)))


def cpu_limit(read: Read) -> float | None:
    """Return the quota of the process in CPUs, None if it has none; malformed files count as none."""
    quotas = (_quota(read, mount, group) for mount, own in _own_groups(read) for group in _with_parents(own))
    return min((quota for quota in quotas if quota is not None), default=None)


def _own_groups(read: Read) -> Iterator[tuple[str, str]]:
    """Yield where each version of control groups is mounted, and the process's group there."""
    found = {_V1: "", _V2: ""}
    for line in (read("proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            found[_V2] = path
        elif "cpu" in controllers.split(","):
            found[_V1] = path
    return iter(found.items())


def _with_parents(path: str) -> Iterator[str]:
    """Yield a group and those above it, down to the mounted root, which in a container is the container's own group."""
    names = [name for name in path.split("/") if name]
    return ("/".join(["", *names[:length]]) for length in range(len(names), -1, -1))


def _quota(read: Read, mount: str, group: str) -> float | None:
    texts = [read(f"{mount}{group}/{name}") for name in _QUOTA_FILES[mount]]
    try:
        quota, period = " ".join(text for text in texts if text is not None).split()
        return float(quota) / float(period) if float(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # no such file, or `max`
        return None
