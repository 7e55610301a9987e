"""Which devices of this machine a run may use. Nothing is asked of the hardware here."""

from collections.abc import Mapping

from infpop_operator.core.errors import ExecutorError


class Devices:
    """Hands out each GPU to one run at a time.

    Args:
        gpus: NVML indexes that runs may use; empty on a machine where they measure the CPU.
    """

    def __init__(self, gpus: tuple[int, ...] = ()) -> None:
        self._gpus = gpus
        self._taken: dict[str, tuple[int, ...]] = {}

    def take(self, run: str, count: int) -> tuple[int, ...]:
        """Return `count` GPUs for `run`, which holds them until `give_back`; the same ones when asked again.

        Raises:
            ExecutorError: fewer than `count` are free.
        """
        if run not in self._taken:
            used = {gpu for held in self._taken.values() for gpu in held}
            free = tuple(gpu for gpu in self._gpus if gpu not in used)
            if len(free) < count:
                raise ExecutorError(f"run {run} needs {count} GPUs, {len(free)} of {len(self._gpus)} are free")
            self._taken[run] = free[:count]
        return self._taken[run]

    def give_back(self, run: str) -> None:
        """Free what `run` holds, if it holds anything."""
        self._taken.pop(run, None)


def to_environment(gpus: tuple[int, ...]) -> Mapping[str, str]:
    """Return the variables that show a process exactly these GPUs, none for an empty tuple.

    NVML counts in PCI order and CUDA by default in order of speed, hence CUDA_DEVICE_ORDER.
    """
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
