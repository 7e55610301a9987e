"""Wall time and the CPU time of a process and its children, read together as the clock of both harnesses.

`getrusage` knows a child only once it has ended, and the engine core is a child that lives on. The kernel's clock of a
process (`clock_getcpuclockid(3)`) has nanoseconds and counts its threads, also those that have ended.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h: time on a CPU, of all threads of the process


def process_cpu_seconds(pid: int) -> float:
    """Return the seconds that the threads of a process have spent on a CPU.

    Raises:
        OSError: there is no such process.
    """
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def family(pid: int) -> tuple[int, ...]:
    """Return a process and all its living descendants."""
    children = psutil.Process(pid).children(recursive=True)
    return (pid, *sorted(child.pid for child in children))


def cpu_clock(pids: Sequence[int]) -> Callable[[], float]:
    """Return a clock of the CPU seconds of all these processes together."""
    return lambda: sum(map(process_cpu_seconds, pids))


@dataclass(kw_only=True)
class Stopwatch:
    """Stands in for the module `time` in a harness, and keeps what each reading of its clock was.

    `wall` and `cpu` are clocks in seconds. A harness reads the clock when its timed part starts and ends.
    """

    wall: Callable[[], float]
    cpu: Callable[[], float]
    readings: list[tuple[float, float]] = field(default_factory=list)

    def perf_counter(self) -> float:
        """Return the wall clock, and remember it and the CPU clock."""
        reading = self.wall(), self.cpu()
        self.readings.append(reading)
        return reading[0]

    def take(self) -> tuple[float, float]:
        """Return the wall and CPU seconds between the first and the last reading, and forget the readings."""
        (wall, cpu), (wall_end, cpu_end) = self.readings[0], self.readings[-1]
        self.readings.clear()
        return wall_end - wall, cpu_end - cpu
