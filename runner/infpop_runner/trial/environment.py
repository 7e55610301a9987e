"""What a run needs of the outside world, as values and callables."""

from collections.abc import Callable
from dataclasses import dataclass

from infpop_runner.metrics import RunMetrics, ScrapeWatch
from infpop_runner.process import Guard, OutputTail
from infpop_runner.trial.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Made once, at the process's edge.

    `clock` is monotonic, in seconds since the run started. `devices` are the names of the GPUs that the run may use,
    empty on a CPU. `memory_used_bytes` gives the memory in use on the fullest of them, None on a CPU or when NVML
    fails. `throttled_seconds` gives for how long a limit of CPUs stopped threads of the run so far, added up over the
    CPUs, None where nobody knows; `cpu_limit` is that limit in CPUs, None where there is none.
    """

    clock: Callable[[], float]
    wait: Callable[[float], None]
    devices: tuple[str, ...]
    memory_used_bytes: Callable[[], int | None]
    throttled_seconds: Callable[[], float | None]
    cpu_limit: float | None
    output: OutputTail
    guard: Guard
    metrics: RunMetrics
    scrapes: ScrapeWatch
    journal: Journal
