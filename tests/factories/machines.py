"""Machines and their GPUs for tests; each keyword changes one thing."""

from dataclasses import replace

from infpop_operator.adapters.gpus import Gpu
from infpop_operator.adapters.machine import Machine


def make_gpu(index: int = 0, **changes: object) -> Gpu:
    """Return an A100 with 40 GiB; its UUID begins with its index."""
    name = "NVIDIA A100-SXM4-40GB"
    gpu = Gpu(index=index, uuid=f"GPU-{index}abc", name=name, memory_bytes=40 * 2**30, compute_capability="8.0")
    return replace(gpu, **changes)


def make_machine(*gpus: Gpu, **changes: object) -> Machine:
    """Return a machine with two CPU cores and these GPUs."""
    return replace(Machine(cpu_model="cpu", cpu_cores=2, gpus=gpus, driver_version="550.1"), **changes)
