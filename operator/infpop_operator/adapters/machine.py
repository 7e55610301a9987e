"""What this machine can measure on: its GPUs and its CPU, and a pool of a study made of them.

A pool's fingerprint is built from what changes a measurement and from nothing that changes by itself: not from UUIDs,
clocks, temperatures, or memory in use.
"""

import importlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infpop_operator.core.fingerprint import digest
from infpop_operator.core.model import Pool

_MIB = 2**20


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What runs may use here."""

    cpu_model: str
    cpu_cores: int
    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None

    def matching(self, pattern: str | None) -> tuple[Gpu, ...]:
        """Return the GPUs whose product name the regular expression finds, all of them without one.

        Node labels write dashes where NVML writes spaces, so both are tried.
        """
        if pattern is None:
            return self.gpus
        search = re.compile(pattern).search
        return tuple(gpu for gpu in self.gpus if search(gpu.name) or search(gpu.name.replace(" ", "-")))


def this_machine(environment: Mapping[str, str]) -> Machine:
    """Return the CPU cores that this process may use and the GPUs that `CUDA_VISIBLE_DEVICES` leaves visible."""
    found = _nvml_gpus()
    return Machine(
        cpu_model=_cpu_model(),
        cpu_cores=len(os.sched_getaffinity(0)),
        gpus=visible_gpus(found.gpus, environment.get("CUDA_VISIBLE_DEVICES")),
        driver_version=found.driver_version,
    )


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


def to_cpu_pool(machine: Machine, *, name: str, price_per_gpu_hour: float | None) -> Pool:
    """Return the pool `name` on the CPU: one rank for each core at most."""
    facts = {"device": "cpu", "model": machine.cpu_model, "cores": machine.cpu_cores}
    return Pool(
        name=name,
        device="cpu",
        fingerprint=digest(facts)[:16],
        gpu_model=machine.cpu_model,
        device_count=machine.cpu_cores,
        total_device_count=machine.cpu_cores,
        price_per_gpu_hour=price_per_gpu_hour,
    )


def to_gpu_pool(
    gpus: tuple[Gpu, ...], driver_version: str | None, *, name: str, price_per_gpu_hour: float | None
) -> Pool:
    """Return the pool `name` on these GPUs."""
    kinds = sorted([gpu.name, gpu.memory_bytes // _MIB, gpu.compute_capability] for gpu in gpus)
    facts = {"device": "cuda", "gpus": kinds, "driver": (driver_version or "").split(".")[0]}
    return Pool(
        name=name,
        device="cuda",
        fingerprint=digest(facts)[:16],
        gpu_model=" + ".join(sorted({gpu.name for gpu in gpus})),
        device_count=len(gpus),
        total_device_count=len(gpus),
        price_per_gpu_hour=price_per_gpu_hour,
    )


def to_simulated_pool(*, name: str, price_per_gpu_hour: float | None) -> Pool:
    """Return the pool `name` for replayed numbers, which belong to no hardware and need none."""
    return Pool(name=name, device="cpu", fingerprint="simulated", price_per_gpu_hour=price_per_gpu_hour)


def _nvml_gpus() -> Gpus:
    try:
        nvml = importlib.import_module("infpop_operator.adapters.nvml")
    except ImportError:  # nvidia-ml-py comes with the extra `runner`
        return Gpus()
    found = nvml.list_gpus()
    return found if isinstance(found, Gpus) else Gpus()


def _is_meant(gpu: Gpu, entry: str) -> bool:
    if entry.isdigit():
        return gpu.index == int(entry)
    return entry.startswith("GPU-") and gpu.uuid.startswith(entry)


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()
