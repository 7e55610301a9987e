"""The runner as a process: its output, its children, its deadline, its parent, its result file.

Nothing here depends on engines or measurements. When the runner exits in any way that it controls, it has ended every
process that it started. After a SIGKILL of the runner, the parent that started it cleans up.
"""

from infpop_runner.process.children import adopt_orphans, end_children
from infpop_runner.process.cpus import count_usable_cpus, read_cpu_limit, read_throttled_seconds
from infpop_runner.process.guard import Guard
from infpop_runner.process.output import OutputTail
from infpop_runner.process.result_file import write_result

__all__ = [
    "Guard",
    "OutputTail",
    "adopt_orphans",
    "count_usable_cpus",
    "end_children",
    "read_cpu_limit",
    "read_throttled_seconds",
    "write_result",
]
