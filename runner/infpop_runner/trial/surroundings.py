"""What a run needs of the outside world, as values and callables."""

from collections.abc import Callable
from dataclasses import dataclass

from infpop_runner.metrics import RunMetrics, ScrapeWatch
from infpop_runner.process import Guard, OutputTail
from infpop_runner.trial.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Made once, at the process's edge.

    `clock` is monotonic, in seconds since the run started. `devices` are the names of the GPUs that the run may use,
    empty on a CPU. `memory_used_bytes` gives the memory in use on the fullest of them, None on a CPU or when NVML
    fails.
    """

    clock: Callable[[], float]
    wait: Callable[[float], None]
    devices: tuple[str, ...]
    memory_used_bytes: Callable[[], int | None]
    output: OutputTail
    guard: Guard
    metrics: RunMetrics
    scrapes: ScrapeWatch
    journal: Journal
