"""Allocate the devices of this machine to runs. This module does not access the hardware."""

from collections.abc import Mapping

from infpop_operator.core.errors import ExecutorError


class Devices:
    """Allocates each GPU to one run at a time.

    Args:
        gpus: NVML indexes of the GPUs that runs may use; empty if runs measure the CPU.
    """

    def __init__(self, gpus: tuple[int, ...] = ()) -> None:
        self._gpus = gpus
        self._taken: dict[str, tuple[int, ...]] = {}

    def take(self, run: str, count: int) -> tuple[int, ...]:
        """Return `count` GPUs for `run`, which holds them until `give_back`; a repeated call returns the same ones.

        Raises:
            ExecutorError: fewer than `count` are free.
        """
        if run not in self._taken:
            used = {gpu for held in self._taken.values() for gpu in held}
            free = tuple(gpu for gpu in self._gpus if gpu not in used)
            if len(free) < count:
                raise ExecutorError(f"run {run} needs {count} GPUs, but only {len(free)} of {len(self._gpus)} are free")
            self._taken[run] = free[:count]
        return self._taken[run]

    def give_back(self, run: str) -> None:
        """Free the GPUs of `run`, if it holds any."""
        self._taken.pop(run, None)


def to_environment(gpus: tuple[int, ...]) -> Mapping[str, str]:
    """Return the environment variables that make exactly these GPUs visible to a process; no GPU for an empty tuple.

    NVML numbers GPUs in PCI order, CUDA by default in order of speed; hence CUDA_DEVICE_ORDER.
    """
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
