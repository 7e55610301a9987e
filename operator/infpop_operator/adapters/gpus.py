"""NVIDIA GPUs as values, and which of them `CUDA_VISIBLE_DEVICES` shows to a process. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU; `index` is NVML's."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    compute_capability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The GPUs of a machine and the driver that they share."""

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None


def visible_gpus(gpus: tuple[Gpu, ...], visible: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that a value of `CUDA_VISIBLE_DEVICES` shows, in its order, up to its first unknown entry.

    That is CUDA's own reading of the variable: indexes, or UUIDs (also shortened), and nothing behind a mistake.
    """
    if visible is None:
        return gpus
    shown: list[Gpu] = []
    for entry in (part.strip() for part in visible.split(",")):
        gpu = next((gpu for gpu in gpus if _is_meant(gpu, entry)), None)
        if gpu is None or gpu in shown:
            break
        shown.append(gpu)
    return tuple(shown)


def _is_meant(gpu: Gpu, entry: str) -> bool:
    if entry.isdigit():
        return gpu.index == int(entry)
    return entry.startswith("GPU-") and gpu.uuid.startswith(entry)
