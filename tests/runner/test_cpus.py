"""The number of CPUs from which an engine's thread count follows, and the effect of a CPU limit."""

import os
from pathlib import Path

import pytest

from infpop_runner.process import count_usable_cpus, read_cpu_limit, read_throttled_seconds

ALLOWED = len(os.sched_getaffinity(0))
QUOTA = "sys/fs/cgroup/cpu.max"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("100000 100000\n", 1),
        (f"{ALLOWED * 100000 + 99999} 100000\n", ALLOWED),
        (f"{(ALLOWED + 1) * 100000} 100000\n", ALLOWED),
        ("max 100000\n", ALLOWED),
        ("unlike anything", ALLOWED),
    ],
)
def test_a_quota_bounds_the_cpus(tmp_path: Path, text: str, cpus: int) -> None:
    """The quota of the process counts if it is below the CPUs of its affinity."""
    write(tmp_path, {QUOTA: text})
    assert count_usable_cpus(tmp_path) == cpus


def test_a_limit_is_reported_as_it_was_set(tmp_path: Path) -> None:
    """The message shows the value that was set, however many CPUs the machine has."""
    assert read_cpu_limit(tmp_path) is None
    write(tmp_path, {QUOTA: "4050000 100000\n"})
    assert read_cpu_limit(tmp_path) == 40.5


VERSION_2 = "usage_usec 9000000\nnr_periods 90\nnr_throttled 3\nthrottled_usec 2500000\nnr_bursts 0\nburst_usec 0\n"
VERSION_1 = "nr_periods 21\nnr_throttled 20\nthrottled_time 1031598202\nnr_bursts 0\nburst_time 0\n"


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        ({"cpu.stat": VERSION_2}, 2.5),
        ({"cpu/cpu.stat": VERSION_1}, 1.031598202),
        ({"cpu.stat": VERSION_2, "cpu.stat.local": "throttled_usec 4000000\n"}, 4.0),
        ({"cpu/cpu.stat": VERSION_1, "cpu/cpu.stat.local": "throttled_time 1308067011\n"}, 1.308067011),
        ({"cpu.stat": VERSION_2, "cpu.stat.local": ""}, 2.5),
        ({"cpu.stat": VERSION_2.replace("2500000", "0")}, 0.0),
        ({"cpu.stat": "usage_usec 9000000\nuser_usec 8000000\nsystem_usec 1000000\n"}, None),
        ({"cpu.stat": "unlike anything at all\n"}, None),
        ({"cpu.stat": "throttled_usec many\n"}, None),
        ({}, None),
    ],
)
def test_throttling_is_read_in_seconds(tmp_path: Path, files: dict[str, str], seconds: float | None) -> None:
    """Both cgroup versions count, with the Pod's own limit if the kernel reports it; missing data is not zero."""
    write(tmp_path, files)
    assert read_throttled_seconds(tmp_path) == (None if seconds is None else pytest.approx(seconds))


def write(directory: Path, files: dict[str, str]) -> None:
    """Write files of a control group."""
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
