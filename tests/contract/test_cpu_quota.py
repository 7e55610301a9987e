"""CPU quotas of control groups, from folders like those of the kernel."""

from pathlib import Path

import pytest

from infpop_runner.contract import cpu_limit, usable_cpus

V1, V2 = "sys/fs/cgroup/cpu", "sys/fs/cgroup"
IN_SLICE = "0::/system.slice/tune.service\n"
IN_DOCKER = "12:cpu,cpuacct:/docker/1f\n4:memory:/other\n"


def quota(text: str) -> dict[str, str]:
    """Return the files of version 1 for a quota in microseconds, with the usual period."""
    return {"cpu.cfs_quota_us": text, "cpu.cfs_period_us": "100000\n"}


def under(folder: str, files: dict[str, str]) -> dict[str, str]:
    """Return the files in a folder."""
    return {f"{folder}/{name}": text for name, text in files.items()}


# What lies below the root of the file system, and the quota in CPUs that follows.
TREES: dict[str, tuple[dict[str, str], float | None]] = {
    "version 2, in a container": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, without a quota": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, None),
    "version 2, on the process's own group": (
        {"proc/self/cgroup": IN_SLICE, f"{V2}/system.slice/tune.service/cpu.max": "250000 100000\n"},
        2.5,
    ),
    "version 2, on a group above": (
        {
            "proc/self/cgroup": IN_SLICE,
            f"{V2}/system.slice/cpu.max": "100000 100000\n",
            f"{V2}/system.slice/tune.service/cpu.max": "400000 100000\n",
        },
        1.0,
    ),
    "version 1, in a container": (under(V1, quota("4000000\n")), 40.0),
    "version 1, without a quota": (under(V1, quota("-1\n")), None),
    "version 1, whose path is that of the host": ({"proc/self/cgroup": IN_DOCKER, **under(V1, quota("50000\n"))}, 0.5),
    "version 1, on the process's own group": (
        {"proc/self/cgroup": IN_DOCKER, **under(f"{V1}/docker/1f", quota("300000\n")), **under(V1, quota("-1\n"))},
        3.0,
    ),
    "half a quota of version 1": ({f"{V1}/cpu.cfs_quota_us": "100000\n"}, None),
    "a period of nothing": ({f"{V2}/cpu.max": "100000 0\n"}, None),
    "something else": ({"proc/self/cgroup": "nonsense\n", f"{V2}/cpu.max": "unlike anything\n"}, None),
    "no control groups": ({}, None),
}


@pytest.mark.parametrize("name", TREES)
def test_the_lowest_quota_counts(tmp_path: Path, name: str) -> None:
    """Both versions, the process's own group and those above it are read; what is absent or malformed is no quota."""
    files, limit = TREES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def read(path: str) -> str | None:
        return (tmp_path / path).read_text() if (tmp_path / path).is_file() else None

    assert cpu_limit(read) == limit


@pytest.mark.parametrize(
    ("allowed", "limit", "cpus"), [(8, None, 8), (8, 2.0, 2), (8, 2.9, 2), (8, 0.5, 1), (2, 64.0, 2), (1, None, 1)]
)
def test_a_fraction_of_a_cpu_is_none(allowed: int, limit: float | None, cpus: int) -> None:
    """A thread more than whole CPUs would be stopped in every period; one thread always runs."""
    assert usable_cpus(allowed, limit) == cpus
