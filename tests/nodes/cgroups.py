"""The cgroups of a node: one under each controller (cgroup v1), below which its kubelet creates all others."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from controlplane.waiting import wait_for

ROOT = Path("/sys/fs/cgroup")
_REMOVAL_SECONDS = 20.0


def create(name: str) -> None:
    """Create the cgroups `name`, which may use every CPU of this machine."""
    for controller in _controllers():
        (controller / name).mkdir(exist_ok=True)
    for file in ("cpuset.cpus", "cpuset.mems"):  # new cgroups have none, and no process can run there
        (ROOT / "cpuset" / name / file).write_text((ROOT / "cpuset" / file).read_text())


def remove_all(prefix: str) -> None:
    """Remove every cgroup whose name has this prefix, with its children.

    Raises:
        TimeoutError: a process in one of them does not end.
    """
    wait_for(lambda: _try_to_remove(prefix), seconds=_REMOVAL_SECONDS, what=f"the end of all cgroups {prefix}*")


def available_memory() -> int:
    """Return the free memory of this machine in bytes, as every kubelet on it computes it.

    It excludes cAdvisor's working set: files that were read again recently count as memory in use.
    """
    used = int((ROOT / "memory" / "memory.usage_in_bytes").read_text())
    lines = (ROOT / "memory" / "memory.stat").read_text().splitlines()
    inactive_files = int(dict(line.split() for line in lines)["total_inactive_file"])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - used + inactive_files


def _try_to_remove(prefix: str) -> bool:
    for folder in _found(prefix):
        for each, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # the kernel has not released it yet
                Path(each).rmdir()
    return not list(_found(prefix))


def _found(prefix: str) -> Iterator[Path]:
    for controller in _controllers():
        yield from (folder for folder in controller.glob(f"{prefix}*") if folder.is_dir())


def _controllers() -> Iterator[Path]:
    return (folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.is_symlink())
