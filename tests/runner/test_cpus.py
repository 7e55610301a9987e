"""The number of CPUs that an engine's threads are counted after."""

import os
from pathlib import Path

import pytest

from infpop_runner.process import count_usable_cpus

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": f"{ALLOWED * 100000 + 99999} 100000\n"}, ALLOWED),
        ({"cpu.max": "max 100000\n"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "199999\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALLOWED),
        ({"cpu.max": "unlike anything\n"}, ALLOWED),
        ({}, ALLOWED),
    ],
)
def test_a_quota_bounds_the_cpus(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    """A container's quota, of either version of cgroups, counts where it is less than what the machine has."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert count_usable_cpus(tmp_path) == cpus
