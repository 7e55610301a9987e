"""The hardware of this machine that runs can measure on: its CPU cores and its GPUs."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infpop_operator.adapters.cpus import ROOT, count_usable_cpus
from infpop_operator.adapters.gpus import Gpu, visible_gpus
from infpop_operator.adapters.nvml import list_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The devices of this machine that runs may use."""

    cpu_model: str
    cpu_cores: int
    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None

    def matching(self, pattern: str | None) -> tuple[Gpu, ...]:
        """Return the GPUs whose product name matches the regular expression; all GPUs if it is None.

        Node labels have dashes where NVML has spaces, so both forms are tried.
        """
        if pattern is None:
            return self.gpus
        search = re.compile(pattern).search
        return tuple(gpu for gpu in self.gpus if search(gpu.name) or search(gpu.name.replace(" ", "-")))


def this_machine(environment: Mapping[str, str], *, root: Path = ROOT) -> Machine:
    """Return the CPU cores that this process may use and the GPUs that `CUDA_VISIBLE_DEVICES` leaves visible.

    `root` is that of the file system, where `proc` and `sys` are.
    """
    found = list_gpus()
    return Machine(
        cpu_model=_cpu_model(),
        cpu_cores=count_usable_cpus(root),
        gpus=visible_gpus(found.gpus, environment.get("CUDA_VISIBLE_DEVICES")),
        driver_version=found.driver_version,
    )


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()
