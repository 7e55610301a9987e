"""Watch what else runs on this machine while a study is measured on its CPUs."""

import time
from collections.abc import Callable

from infpop_operator.adapters.cpus import read_cpu_times
from infpop_operator.core.machine_load import CpuTimes, MachineLoad, is_busy, load_between
from infpop_operator.core.study import Study

_SAMPLE_S = 1.0  # a hundred ticks of the kernel's clock for each CPU


class LoadWatch:
    """Tells whether the machine is busy; nothing about GPUs, replayed numbers, or a kernel that does not tell.

    Args:
        study: what is measured.
        read: returns what the CPUs have done so far.
        wait: waits for some seconds.
    """

    def __init__(
        self,
        study: Study,
        *,
        read: Callable[[], CpuTimes | None] = read_cpu_times,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._usable = _usable(study)
        self._read = read
        self._wait = wait
        self._since: CpuTimes | None = None
        self.has_started = False

    def start(self) -> MachineLoad | None:
        """Return the load of the next second, in which this process does nothing; None if the machine is not busy."""
        self.has_started = True
        first = None if self._usable is None else self._read()
        if first is None:
            return None
        self._wait(_SAMPLE_S)
        self._since = self._read()
        return self._load(first, self._since)

    def load_since(self) -> MachineLoad | None:
        """Return the load since `start`; None if the machine was not busy. The children must have ended."""
        return None if self._since is None else self._load(self._since, self._read())

    def _load(self, first: CpuTimes | None, second: CpuTimes | None) -> MachineLoad | None:
        if first is None or second is None or self._usable is None:
            return None
        load = load_between(first, second, usable=self._usable)
        return load if load is not None and is_busy(load) else None


def _usable(study: Study) -> int | None:
    """Return how many CPUs runs can use at once, None if they measure no CPU."""
    if study.engine.name == "simulated":
        return None
    return next((pool.device_count for pool in study.pools if pool.device == "cpu"), None)
