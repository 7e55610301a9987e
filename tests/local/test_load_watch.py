"""When `infpop tune` looks at what else runs on the machine."""

from collections.abc import Callable

import pytest

from factories.studies import make_pool, make_study
from infpop_operator.core.machine_load import CpuTimes
from infpop_operator.core.study import Study
from infpop_operator.local.load_watch import LoadWatch
from infpop_runner.contract import EngineSpec

ON_CPU = make_study(
    engine=EngineSpec(name="vllm"), pools=(make_pool(device="cpu", device_count=2, total_device_count=2),)
)
ON_GPU = make_study(engine=EngineSpec(name="vllm"), pools=(make_pool(device="cuda"),))
SIMULATED = make_study(pools=(make_pool(device="cpu", device_count=None),))


class Machine:
    """Two CPUs of which other processes use a share, with a clock that only waiting advances."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.now = 0.0
        self.used = 0.0

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.used += 2 * self.share * seconds

    def read(self) -> CpuTimes | None:
        """Return what the CPUs have done."""
        return CpuTimes(at_s=self.now, cpus=2, used_s=self.used, own_s=0.0, stolen_s=0.0)


def watch(study: Study, machine: Machine, read: Callable[[], CpuTimes | None] | None = None) -> LoadWatch:
    """Return a watch on a machine."""
    return LoadWatch(study, read=read or machine.read, wait=machine.wait)


def test_a_busy_machine_is_noticed_before_and_during_the_study() -> None:
    """Each time is judged by itself: a machine may become busy, or quiet."""
    machine = Machine(share=0.9)
    watched = watch(ON_CPU, machine)
    before = watched.start()
    machine.wait(100.0)
    during = watched.load_since()
    assert before is not None
    assert during is not None
    assert (before.others, during.others) == (pytest.approx(1.8), pytest.approx(1.8))
    machine.share = 0.0
    machine.wait(1000.0)
    assert watched.load_since() is None


@pytest.mark.parametrize("study", [ON_GPU, SIMULATED], ids=["GPU", "simulated"])
def test_what_measures_no_cpu_waits_for_nothing(study: Study) -> None:
    """The numbers of GPUs do not follow the load of CPUs, and replayed numbers follow nothing."""
    machine = Machine(share=1.0)
    watched = watch(study, machine)
    assert (watched.start(), watched.load_since(), machine.now) == (None, None, 0.0)


def test_an_unknown_load_is_not_waited_for() -> None:
    """Where the kernel does not tell, the first run starts at once."""
    machine = Machine(share=1.0)
    watched = watch(ON_CPU, machine, read=lambda: None)
    assert (watched.start(), watched.load_since(), machine.now) == (None, None, 0.0)
