"""Decide whether so much of a machine's CPUs is taken from its runs that numbers measured on them scatter.

Only for runs on the CPU: the number of a GPU hardly depends on what else the CPUs do.
"""

from dataclasses import dataclass

# A run that gets four fifths of its CPUs takes 25 % longer: the largest spread that is comparable by default.
_MOST_TAKEN_RATIO = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """What a machine's CPUs had done at one instant, in seconds that are counted from the same past instant.

    `cpus` is how many CPUs this process may run on; only these are counted. `used_s` is what all processes used,
    `own_s` what this process and its ended children used, `stolen_s` what the hypervisor gave to other machines.
    `waiting_s` is how long some process waited for a CPU, None if the kernel does not tell.
    """

    at_s: float
    cpus: int
    used_s: float
    own_s: float
    stolen_s: float
    waiting_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLoad:
    """What took CPUs from the runs of a study, on average over some time, counted in CPUs.

    `usable` is how many of the `cpus` runs can use at once: fewer under a quota. `others` is what other processes used,
    `stolen` what the hypervisor gave to other machines, `waiting_ratio` the share of the time in which some process
    waited for a CPU, None if unknown.
    """

    cpus: int
    usable: int
    others: float
    stolen: float
    waiting_ratio: float | None = None


def load_between(first: CpuTimes, second: CpuTimes, *, usable: int) -> MachineLoad | None:
    """Return the load between two readings, None if no time passed; `usable` as in `MachineLoad`."""
    seconds = second.at_s - first.at_s
    if seconds <= 0:
        return None
    others = (second.used_s - first.used_s) - (second.own_s - first.own_s)
    waited = None
    if first.waiting_s is not None and second.waiting_s is not None:
        waited = min(1.0, (second.waiting_s - first.waiting_s) / seconds)
    return MachineLoad(
        cpus=second.cpus,
        usable=min(usable, second.cpus),
        others=min(max(0.0, others / seconds), second.cpus),
        stolen=max(0.0, (second.stolen_s - first.stolen_s) / seconds),
        waiting_ratio=waited,
    )


def is_busy(load: MachineLoad) -> bool:
    """Return whether the runs of a study lack more of their CPUs than a comparable number allows."""
    free = load.cpus - load.others - load.stolen
    return load.usable - free > _MOST_TAKEN_RATIO * load.usable
