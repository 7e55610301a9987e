"""What NVML knows of the devices that a run may use: names, identities, driver, memory in use.

The only module that imports NVML. Without a driver it says so by raising; it never guesses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

from infpop_runner.engines.errors import EngineBrokenError


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """The devices of a run as the driver names them."""

    gpu_model: str
    gpu_uuids: tuple[str, ...]
    driver_version: str


def count_devices() -> int:
    """Return the number of devices that the driver shows to this process.

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
    """Return the first `gpu_count` devices of those that may be used, fewer if there are fewer.

    Args:
        visible: CUDA_VISIBLE_DEVICES, None if it is not set: then all `present` devices may be used.
        gpu_count: of the run.
        present: number of devices that the driver shows.
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
