"""NVIDIA GPUs as values, and which of them `CUDA_VISIBLE_DEVICES` makes visible to a process. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU; `index` is its NVML index."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    compute_capability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The GPUs of a machine and their common driver version."""

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None


def visible_gpus(gpus: tuple[Gpu, ...], visible: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that a value of `CUDA_VISIBLE_DEVICES` makes visible, in its order, up to an unknown entry.

    This follows CUDA: entries are indexes or UUIDs (or their prefixes), and those after an invalid one are ignored.
    """
    if visible is None:
        return gpus
    shown: list[Gpu] = []
    for entry in (part.strip() for part in visible.split(",")):
        gpu = next((gpu for gpu in gpus if _matches(gpu, entry)), None)
        if gpu is None or gpu in shown:
            break
        shown.append(gpu)
    return tuple(shown)


def _matches(gpu: Gpu, entry: str) -> bool:
    if entry.isdigit():
        return gpu.index == int(entry)
    return entry.startswith("GPU-") and gpu.uuid.startswith(entry)
