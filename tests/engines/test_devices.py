"""Which GPUs a run uses."""

from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from infpop_runner.engines.devices import DeviceFacts, count_devices, limit_devices, memory_used_bytes, read_devices
from infpop_runner.engines.errors import EngineBrokenError


@pytest.mark.parametrize(
    ("visible", "gpu_count", "present", "expected"),
    [
        (None, 2, 4, ("0", "1")),
        ("2,3", 1, 4, ("2",)),
        (" 2, 3 ", 2, 4, ("2", "3")),
        ("GPU-a,GPU-b", 2, 4, ("GPU-a", "GPU-b")),
        ("", 1, 4, ()),
        (None, 4, 1, ("0",)),
    ],
)
def test_a_run_takes_the_first_of_its_devices(
    visible: str | None, gpu_count: int, present: int, expected: tuple[str, ...]
) -> None:
    """A run takes as many of its allowed devices as it asks for, and no others."""
    assert limit_devices(visible, gpu_count=gpu_count, present=present) == expected


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a driver")
def test_no_driver_means_that_the_gpus_are_missing() -> None:
    """If no driver answers, its library's message is reported as missing GPUs, not as a runner error."""
    with pytest.raises(EngineBrokenError, match="NVML") as broken:
        count_devices()
    assert broken.value.reason == "GpuMissing"


class Driver:
    """A fake NVML: devices by index and by UUID, and how often it was opened and closed."""

    def __init__(self, used: dict[str, int]) -> None:
        self._used = used
        self.is_open = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the library."""
        for name, answer in {
            "nvmlInit": self._open,
            "nvmlShutdown": self._close,
            "nvmlDeviceGetCount": lambda: len(self._used),
            "nvmlDeviceGetHandleByIndex": self._by_index,
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceGetName": lambda handle: f"model of {handle}",
            "nvmlDeviceGetUUID": lambda handle: handle,
            "nvmlSystemGetDriverVersion": lambda: "570.1",
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=self._used[handle], total=10**12),
        }.items():
            monkeypatch.setattr(pynvml, name, answer)

    def _open(self) -> None:
        self.is_open += 1

    def _close(self) -> None:
        self.is_open -= 1

    def _by_index(self, index: int) -> str:
        return list(self._used)[index]

    def _by_uuid(self, uuid: str) -> str:
        if uuid not in self._used:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid


def test_devices_are_read_by_index_and_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first names the model, all are identified in order, and the fullest gives the memory in use."""
    driver = Driver({"GPU-a": 3, "GPU-b": 7, "GPU-c": 5})
    driver.install(monkeypatch)
    facts = DeviceFacts(gpu_model="model of GPU-c", gpu_uuids=("GPU-c", "GPU-a"), driver_version="570.1")
    assert read_devices(("2", "GPU-a")) == facts
    assert memory_used_bytes(("GPU-a", "2")) == 5
    assert memory_used_bytes(("1", "GPU-a", "2")) == 7
    assert (count_devices(), driver.is_open) == (3, 0)


def test_a_device_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device unknown to the driver is not replaced by another, and the library is closed all the same."""
    driver = Driver({"GPU-a": 3})
    driver.install(monkeypatch)
    with pytest.raises(EngineBrokenError) as broken:
        read_devices(("GPU-z",))
    assert (broken.value.reason, driver.is_open) == ("GpuMissing", 0)
