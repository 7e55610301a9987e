"""The CPUs of this machine that runs can use."""

import os
from pathlib import Path

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
