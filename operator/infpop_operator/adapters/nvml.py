"""List the NVIDIA GPUs of this machine; NVML queries the driver."""

from collections.abc import Iterator
from contextlib import contextmanager

from infpop_operator.adapters.gpus import Gpu, Gpus

try:
    import pynvml
except ImportError:  # nvidia-ml-py comes with the extra `runner`
    pynvml = None


def list_gpus() -> Gpus:
    """Return every GPU of the machine in PCI order, whatever CUDA_VISIBLE_DEVICES says.

    There are none if the driver, or the Python library for NVML, is not installed.
    """
    if pynvml is None:
        return Gpus()
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
