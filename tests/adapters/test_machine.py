"""The devices of this machine: what the driver reports, which of them a process may use, and the machine itself."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from factories.machines import make_gpu, make_machine
from infpop_operator.adapters import nvml
from infpop_operator.adapters.gpus import Gpu, Gpus, visible_gpus
from infpop_operator.adapters.machine import this_machine
from infpop_operator.adapters.nvml import list_gpus

GPUS = tuple(make_gpu(index) for index in range(4))


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("2", [2]),
        ("3,1", [3, 1]),
        ("1, 2", [1, 2]),
        ("0,9,1", [0]),
        ("-1", []),
        ("1,1,2", [1]),
        ("GPU-2abc,GPU-0", [2, 0]),
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible: str | None, expected: list[int]) -> None:
    """The value lists indexes or UUIDs in order; everything after an invalid entry is ignored."""
    assert [gpu.index for gpu in visible_gpus(GPUS, visible)] == expected


@pytest.mark.parametrize(
    ("pattern", "amount"), [(None, 4), ("A100", 4), ("NVIDIA-A100", 4), ("V100", 0), ("^A100", 0), ("40GB|80GB", 4)]
)
def test_a_pool_is_matched_by_the_product_name(pattern: str | None, amount: int) -> None:
    """Node labels write dashes where the driver writes spaces; both find the same GPUs."""
    assert len(make_machine(*GPUS).matching(pattern)) == amount


class Driver(SimpleNamespace):
    """NVML with two GPUs; `opened` counts the sessions that were not closed."""

    class NVMLError(Exception):
        """The exception that NVML raises."""

    opened = 0
    has_failed = False

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        """Open a session."""
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name
        """Close a session."""
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name
        """Return the number of GPUs, unless the driver has failed."""
        if self.has_failed:
            raise self.NVMLError
        return 2


def driver() -> Driver:
    """Return an NVML that gives one string as bytes, as older versions do."""
    return Driver(
        nvmlSystemGetDriverVersion=lambda: b"550.54.15",
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetCudaComputeCapability=lambda handle: (7 + handle, 5),
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetName=lambda handle: ("Tesla T4", "A100")[handle],
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=(16 + handle) * 2**30, used=1),
    )


def test_the_driver_says_which_gpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each GPU has its own facts, in the driver's order, and the driver session is closed."""
    found = driver()
    monkeypatch.setattr(nvml, "pynvml", found)
    gpus = (
        Gpu(index=0, uuid="GPU-0", name="Tesla T4", memory_bytes=16 * 2**30, compute_capability="7.5"),
        Gpu(index=1, uuid="GPU-1", name="A100", memory_bytes=17 * 2**30, compute_capability="8.5"),
    )
    assert list_gpus() == Gpus(gpus=gpus, driver_version="550.54.15")
    assert found.opened == 0


def test_this_machine_has_the_visible_gpus_and_their_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver lists all GPUs; runs may use those that the environment allows."""
    monkeypatch.setattr(nvml, "pynvml", driver())
    machine = this_machine({"CUDA_VISIBLE_DEVICES": "1"})
    assert ([gpu.name for gpu in machine.gpus], machine.driver_version) == (["A100"], "550.54.15")


def test_a_driver_that_fails_shows_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is closed all the same."""
    found = driver()
    found.has_failed = True
    monkeypatch.setattr(nvml, "pynvml", found)
    assert list_gpus() == Gpus()
    assert found.opened == 0


def test_without_nvidias_library_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library comes with the extra `runner`; `infpop validate` works without it."""
    monkeypatch.setattr(nvml, "pynvml", None)
    assert list_gpus() == Gpus()


def test_a_quota_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study in a container asks for no more ranks than the quota lets run at the same time."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1, 2, 3})
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("250000 100000\n")
    assert this_machine({}, root=tmp_path).cpu_cores == 2


def test_this_machine_has_a_cpu() -> None:
    """The real machine is described, with or without GPUs; hiding them hides them."""
    machine = this_machine({"CUDA_VISIBLE_DEVICES": ""})
    assert machine.cpu_model
    assert machine.cpu_cores >= 1
    assert machine.gpus == ()
