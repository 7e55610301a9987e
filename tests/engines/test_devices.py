"""Which GPUs a run takes."""

from pathlib import Path

import pytest

from infpop_runner.engines.devices import count_devices, limit_devices
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
    """A run takes as many devices as it asks for, of those that it may use, and no others."""
    assert limit_devices(visible, gpu_count=gpu_count, present=present) == expected


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a driver")
def test_no_driver_means_that_the_gpus_are_missing() -> None:
    """Where no driver answers, its library's word is told as GPUs that are not there, not as a fault of the runner."""
    with pytest.raises(EngineBrokenError, match="NVML") as broken:
        count_devices()
    assert broken.value.reason == "GpuMissing"
