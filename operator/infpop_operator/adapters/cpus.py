"""The CPUs of this machine that runs can use, and what else uses them."""

import os
import re
from collections.abc import Set as AbstractSet
from pathlib import Path

from infpop_operator.core.machine_load import CpuTimes
from infpop_runner.contract import cpu_limit, usable_cpus

ROOT = Path("/")


def count_usable_cpus(root: Path = ROOT) -> int:
    """Return the number of CPUs in the process's affinity, or its quota if that is lower; at least 1.

    Args:
        root: of the file system, where `proc` and `sys` are.
    """

    def read(path: str) -> str | None:
        try:
            return (root / path).read_text(encoding="utf-8")
        except (OSError, ValueError):  # absent, or not text
            return None

    return usable_cpus(len(os.sched_getaffinity(0)), cpu_limit(read))


def read_cpu_times(root: Path = ROOT) -> CpuTimes | None:
    """Return what the CPUs that this process may run on have done so far, None if the kernel does not tell.

    Args:
        root: as in `count_usable_cpus`.
    """
    try:
        lines = (root / "proc/stat").read_text(encoding="utf-8").splitlines()
        ticks = [_ticks(line) for line in lines if _is_one_of(os.sched_getaffinity(0), line)]
    except (OSError, ValueError):
        return None
    if not ticks:
        return None
    per_second = os.sysconf("SC_CLK_TCK")
    own = os.times()
    return CpuTimes(
        at_s=own.elapsed,
        cpus=len(ticks),
        used_s=sum(used for used, _ in ticks) / per_second,
        own_s=own.user + own.system + own.children_user + own.children_system,
        stolen_s=sum(stolen for _, stolen in ticks) / per_second,
        waiting_s=_waiting_seconds(root),
    )


def _is_one_of(cpus: AbstractSet[int], line: str) -> bool:
    name = line.partition(" ")[0].removeprefix("cpu")
    return line.startswith("cpu") and name.isdigit() and int(name) in cpus


def _ticks(line: str) -> tuple[int, int]:
    """Return the ticks of one CPU that processes and interrupts used, and those that the hypervisor took."""
    user, nice, system, _idle, _io_wait, irq, soft_irq, stolen, *_guests = map(int, line.split()[1:])
    return (user + nice + system + irq + soft_irq, stolen)


def _waiting_seconds(root: Path) -> float | None:
    """Return how long some process has waited for a CPU so far, None without pressure statistics (PSI)."""
    try:
        text = (root / "proc/pressure/cpu").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = re.search(r"^some .*\btotal=(\d+)$", text, re.MULTILINE)
    return None if found is None else int(found[1]) / 1e6
