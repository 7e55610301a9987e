"""The NVIDIA GPUs of this machine, asked of the driver through NVML. Imported only when somebody wants to know."""

from collections.abc import Iterator
from contextlib import contextmanager

import pynvml

from infpop_operator.adapters.machine import Gpu, Gpus


def list_gpus() -> Gpus:
    """Return every GPU of the machine in PCI order, whatever CUDA_VISIBLE_DEVICES says; none without a driver."""
    try:
        with _session():
            count = pynvml.nvmlDeviceGetCount()
            gpus = tuple(_gpu(index) for index in range(count))
            return Gpus(gpus=gpus, driver_version=_text(pynvml.nvmlSystemGetDriverVersion()))
    except pynvml.NVMLError:
        return Gpus()


@contextmanager
def _session() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(
        index=index,
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        compute_capability=f"{major}.{minor}",
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
