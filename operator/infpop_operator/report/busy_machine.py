"""What a user reads of a machine that is too busy to measure on: before the first load, and beside the best."""

from collections.abc import Iterator
from dataclasses import replace

from infpop_operator.core.machine_load import MachineLoad
from infpop_operator.report.words import count

LARGE_SPREAD = 0.1  # from here on differences of up to 6 % are ties: docs/measurement.md
_WORTH_SAYING = 0.05  # CPUs, or share of the time


def warning(load: MachineLoad) -> str:
    """Return a line for the time before the first load."""
    otherwise = "press Ctrl-C and run the same command later"
    remedy = (
        f"Stop these processes, or {otherwise}" if _is_by_others(load) else f"Use a machine of your own, or {otherwise}"
    )
    return f"This machine is busy: {_facts(load)}. Numbers will scatter. {remedy}."


def explanation(load: MachineLoad) -> str:
    """Return what may explain repeats that differ; that the study's own processes waited explains nothing."""
    when = "when they have ended" if _is_by_others(load) else "on a machine of your own"
    why = f"{_facts(replace(load, waiting_ratio=None))}, which may be why repeats differ"
    return f"{why}. Measure again {when}, with another --output"


def _facts(load: MachineLoad) -> str:
    *first, last = _figures(load)
    return f"{', '.join(first)} and {last}" if first else last


def _figures(load: MachineLoad) -> Iterator[str]:
    if load.others >= _WORTH_SAYING:
        yield f"other processes used {load.others:.1f} of {_cpus(load)}"
    if load.stolen >= _WORTH_SAYING:
        yield f"its hypervisor gave the time of {load.stolen:.1f} CPUs to other machines"
    if load.waiting_ratio is not None and load.waiting_ratio >= _WORTH_SAYING:
        yield f"a process waited for a CPU {load.waiting_ratio * 100:.0f} % of the time"


def _cpus(load: MachineLoad) -> str:
    its = count(load.cpus, "CPU")
    return its if load.usable == load.cpus else f"{its} (runs may use {load.usable})"


def _is_by_others(load: MachineLoad) -> bool:
    return load.others >= load.stolen
