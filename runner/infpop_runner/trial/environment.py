"""The outside world of a run, as values and callables."""

from collections.abc import Callable
from dataclasses import dataclass

from infpop_runner.metrics import RunMetrics, ScrapeWatch
from infpop_runner.process import Guard, OutputTail
from infpop_runner.trial.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Everything that a run uses from outside; `main` creates it once.

    `clock` is monotonic, in seconds since the start of the run. `devices` are the names of the GPUs that the run may
    use, empty on a CPU. `memory_used_bytes` returns the memory in use on the fullest of them, None on a CPU or if NVML
    fails. `throttled_seconds` returns how long a CPU limit has stopped threads of the run so far, summed over the CPUs,
    None if unknown; `cpu_limit` is that limit in CPUs, None if there is none.
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
