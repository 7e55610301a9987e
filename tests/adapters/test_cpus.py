"""What the CPUs have done, from files like those of the kernel."""

import os
from pathlib import Path

import pytest

from infpop_operator.adapters.cpus import read_cpu_times

OURS = sorted(os.sched_getaffinity(0))
NOT_OURS = max(OURS) + 1
TICKS = os.sysconf("SC_CLK_TCK")


def write(root: Path, stat: str, pressure: str | None = None) -> Path:
    """Write both files below `root`, and return it."""
    (root / "proc/pressure").mkdir(parents=True)
    (root / "proc/stat").write_text(stat)
    if pressure is not None:
        (root / "proc/pressure/cpu").write_text(pressure)
    return root


def test_only_the_cpus_of_the_affinity_count(tmp_path: Path) -> None:
    """Neither the sum of all CPUs, nor a CPU that runs may not use, nor idle time and guests are added."""
    lines = [f"cpu{cpu} 10 20 30 4000 500 6 7 80 9 9" for cpu in OURS]
    other = f"cpu{NOT_OURS} 900 900 900 900 900 900 900 900 0 0"
    pressure = "some avg10=80.52 avg60=67.38 avg300=34.61 total=2500000\nfull avg10=0.00 avg60=0.00 total=9\n"
    times = read_cpu_times(write(tmp_path, "\n".join(["cpu  1 1 1 1 1 1 1 1 1 1", *lines, other, "ctxt 5"]), pressure))
    assert times is not None
    assert times.cpus == len(OURS)
    assert times.used_s == pytest.approx(len(OURS) * 73 / TICKS)
    assert times.stolen_s == pytest.approx(len(OURS) * 80 / TICKS)
    assert times.waiting_s == 2.5


def test_a_kernel_without_pressure_statistics_tells_the_rest(tmp_path: Path) -> None:
    """The file is absent before Linux 4.20, and where the statistics are switched off."""
    times = read_cpu_times(write(tmp_path, f"cpu{OURS[0]} 1 1 1 1 1 1 1 1 1 1\n"))
    assert times is not None
    assert times.waiting_s is None


@pytest.mark.parametrize("stat", ["", "cpu  1 1 1 1 1 1 1 1 1 1\n", f"cpu{OURS[0]} 1 2\n", f"cpu{OURS[0]} a b c d\n"])
def test_a_kernel_that_does_not_tell_is_no_idle_machine(tmp_path: Path, stat: str) -> None:
    """Sandboxes show an empty or a shorter file: that is unknown, never zero."""
    assert read_cpu_times(write(tmp_path, stat)) is None
    assert read_cpu_times(tmp_path / "absent") is None


def test_this_machine_tells() -> None:
    """The real files are read, and this process has used some of what was used."""
    times = read_cpu_times()
    assert times is not None
    assert times.used_s > 0
    assert times.own_s > 0
