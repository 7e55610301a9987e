"""What counts as a machine that is too busy to measure on."""

from dataclasses import replace

import pytest

from infpop_operator.core.machine_load import CpuTimes, MachineLoad, is_busy, load_between

FIRST = CpuTimes(at_s=100.0, cpus=4, used_s=50.0, own_s=5.0, stolen_s=1.0, waiting_s=7.0)


def after(seconds: float, **used: float) -> CpuTimes:
    """Return a reading after `FIRST`; keywords say what was used in between."""
    grown = {name: getattr(FIRST, name) + amount for name, amount in used.items()}
    return replace(FIRST, at_s=FIRST.at_s + seconds, **grown)


def test_what_the_study_itself_uses_is_no_load() -> None:
    """A study that keeps all CPUs busy by itself does not warn of itself."""
    load = load_between(FIRST, after(10.0, used_s=38.0, own_s=36.0, stolen_s=1.0, waiting_s=8.0), usable=4)
    assert load == MachineLoad(cpus=4, usable=4, others=0.2, stolen=0.1, waiting_ratio=0.8)


def test_clocks_that_disagree_give_no_impossible_load() -> None:
    """The kernel counts the machine in ticks and processes exactly: neither fewer than none nor more than all."""
    less = load_between(FIRST, after(1.0, used_s=1.0, own_s=1.1, waiting_s=1.2), usable=4)
    assert less == MachineLoad(cpus=4, usable=4, others=0.0, stolen=0.0, waiting_ratio=1.0)
    more = load_between(FIRST, after(1.0, used_s=4.1), usable=4)
    assert more is not None
    assert more.others == 4


def test_without_pressure_statistics_the_rest_is_known() -> None:
    """An older kernel tells who used the CPUs, but not who waited for them."""
    load = load_between(replace(FIRST, waiting_s=None), replace(after(1.0, used_s=2.0), waiting_s=None), usable=4)
    assert load == MachineLoad(cpus=4, usable=4, others=2.0, stolen=0.0)


def test_no_time_is_no_load() -> None:
    """Two readings of the same instant say nothing."""
    assert load_between(FIRST, FIRST, usable=4) is None


@pytest.mark.parametrize(
    ("cpus", "usable", "others", "stolen", "busy"),
    [
        (2, 2, 0.1, 0.0, False),
        (2, 2, 0.5, 0.0, True),
        (2, 2, 0.25, 0.25, True),
        (2, 2, 0.0, 0.5, True),
        (64, 2, 61.0, 0.0, False),
        (64, 2, 62.5, 0.0, True),
        (64, 64, 12.0, 0.0, False),
        (64, 64, 13.0, 0.0, True),
    ],
)
def test_a_machine_is_busy_if_its_runs_lack_cpus(
    cpus: int, usable: int, others: float, stolen: float, *, busy: bool
) -> None:
    """What others use of CPUs that the runs leave free, as under a quota, takes nothing from them."""
    assert is_busy(MachineLoad(cpus=cpus, usable=usable, others=others, stolen=stolen)) is busy
