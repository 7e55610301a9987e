"""The runner as a process: its output, its children, its deadline, its parent, its result file.

Nothing here knows engines or measurements. Everything that the runner starts is gone when it exits in any way that it
controls; a runner killed with SIGKILL is cleaned up after by whoever started it.
"""

from infpop_runner.process.children import adopt_orphans, end_children
from infpop_runner.process.cpus import count_usable_cpus, read_cpu_limit, read_throttled_seconds
from infpop_runner.process.guard import Guard, TimeoutReason
from infpop_runner.process.output import OutputTail
from infpop_runner.process.result_file import ResultFile

__all__ = [
    "Guard",
    "OutputTail",
    "ResultFile",
    "TimeoutReason",
    "adopt_orphans",
    "count_usable_cpus",
    "end_children",
    "read_cpu_limit",
    "read_throttled_seconds",
]
