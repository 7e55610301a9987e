"""Query NVML about the devices that a run may use: names, UUIDs, driver version, memory in use.

The only module of the runner that imports NVML. Without a driver it raises; it never guesses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

from infpop_runner.engines.errors import EngineBrokenError


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """The driver's facts about the devices of a run."""

    gpu_model: str
    gpu_uuids: tuple[str, ...]
    driver_version: str


def count_devices() -> int:
    """Return the number of devices that the driver reports to this process.

    Raises:
        EngineBrokenError: there is no driver.
    """
    with _nvml():
        return int(pynvml.nvmlDeviceGetCount())


def read_devices(visible: Sequence[str]) -> DeviceFacts:
    """Return the facts of the devices named as in CUDA_VISIBLE_DEVICES: by index or by UUID.

    Raises:
        EngineBrokenError: there is no driver, or no such device.
    """
    with _nvml():
        handles = [_handle(name) for name in visible]
        return DeviceFacts(
            gpu_model=str(pynvml.nvmlDeviceGetName(handles[0])),
            gpu_uuids=tuple(str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles),
            driver_version=str(pynvml.nvmlSystemGetDriverVersion()),
        )


def memory_used_bytes(visible: Sequence[str]) -> int:
    """Return the memory in use on the fullest of the devices, by any process.

    Raises:
        EngineBrokenError: there is no driver, or no such device.
    """
    with _nvml():
        return max(int(pynvml.nvmlDeviceGetMemoryInfo(_handle(name)).used) for name in visible)


def limit_devices(visible: str | None, *, gpu_count: int, present: int) -> tuple[str, ...]:
    """Return the first `gpu_count` of the allowed devices, fewer if there are fewer.

    Args:
        visible: CUDA_VISIBLE_DEVICES, None if it is not set: then all `present` devices are allowed.
        gpu_count: number of GPUs of the run.
        present: number of devices that the driver reports.
    """
    allowed = [str(index) for index in range(present)] if visible is None else visible.split(",")
    return tuple([name.strip() for name in allowed if name.strip()][:gpu_count])


def _handle(name: str) -> Any:  # noqa: ANN401 - NVML has no types
    if name.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)


@contextmanager
def _nvml() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise EngineBrokenError("GpuMissing", f"NVML, the driver's library: {error}") from error
