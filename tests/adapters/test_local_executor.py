"""Whatever a runner process does, its end is classified, its measurements are kept, and nothing of it remains."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from factories.runs import make_run
from factories.studies import make_pool, make_study
from infpop_operator.adapters.devices import Devices
from infpop_operator.adapters.local_executor import DEADLINE_GRACE_S, EXIT_GRACE_S, LocalExecutor
from infpop_operator.core.errors import ExecutorError
from infpop_operator.core.model import Finished, Lost, Observation, Run, StartedRun
from infpop_operator.core.run_spec import build_run_spec
from infpop_runner.contract import MeasurementSpec, RunSpec
from local.local_studies import DEADLINE_S, clock_time, own_environment, processes_of

pytestmark = pytest.mark.process
STAND_IN = Path(__file__).with_name("stand_in_runner.py")
Make = Callable[..., LocalExecutor]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Yield a factory of executors over one directory, whose runners misbehave as requested."""
    made: list[LocalExecutor] = []

    def executor(
        way: str,
        *,
        devices: Devices | None = None,
        stop_grace_s: float = 1.0,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> LocalExecutor:
        command = (sys.executable, str(STAND_IN), way)
        environment = {**own_environment(), "SHARED_SECRET": "passed on"}
        made.append(
            LocalExecutor(
                tmp_path / "runs",
                environment=environment,
                devices=devices,
                command=command,
                stop_grace_s=stop_grace_s,
                clock=clock,
            )
        )
        return made[-1]

    yield executor
    for each in made:
        each.close()


class Clock:
    """A clock that advances when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now_s


def spec_of(run: Run, device: str = "cpu") -> RunSpec:
    """Return a spec with timeouts of a minute each."""
    measurement = MeasurementSpec(load_timeout_seconds=60, measure_timeout_seconds=60)
    study = make_study(pools=(make_pool(device=device),), measurement=measurement)
    return build_run_spec(study, run)


def started(executor: LocalExecutor, run: Run, device: str = "cpu") -> StartedRun:
    """Start `run` and return the record of it."""
    executor.start(run, spec_of(run, device))
    return StartedRun(run=run, started_at=clock_time())


def seen(executor: LocalExecutor, entry: StartedRun, now: datetime | None = None) -> Observation:
    """Observe one run once, by default at the machine's time."""
    return executor.observe((entry,), now or clock_time())[entry.run.name]


def ended(executor: LocalExecutor, entry: StartedRun) -> Finished | Lost:
    """Observe one run until it has ended."""
    for _ in range(int(DEADLINE_S / 0.1)):
        observation = seen(executor, entry)
        if isinstance(observation, Finished | Lost):
            return observation
        executor.wait(0.1)
    raise AssertionError("the run did not end")


def await_result(executor: LocalExecutor, entry: StartedRun) -> None:
    """Wait until the runner has written a result file."""
    for _ in range(int(DEADLINE_S / 0.05)):
        if executor.files(entry.run.name).result.exists():
            return
        executor.wait(0.05)
    raise AssertionError("no result was written")


@pytest.mark.parametrize(
    ("way", "parts"),
    [
        ("rubbish", ("exit code 0", "is not a result")),
        ("foreign", ("exit code 0", "belongs to the run 'study-7'")),
        ("silent", ("exit code 0", "no result was written")),
        ("crash", ("exit code 3", "loading | ValueError: no such thing", "no result was written")),
    ],
)
def test_an_end_without_a_result_is_lost_with_the_last_words(make: Make, way: str, parts: tuple[str, ...]) -> None:
    """An invalid result, no result, or a crash: the study continues, and the user reads why without opening a log."""
    executor = make(way)
    end = ended(executor, started(executor, make_run()))
    assert isinstance(end, Lost)
    assert (end.reason, end.counts) == ("RunnerError", True)
    assert all(part in end.detail for part in parts), end.detail


def test_what_was_measured_before_a_crash_is_kept(make: Make) -> None:
    """A runner that dies at its second trial has measured its first."""
    executor = make("crash-after-one")
    end = ended(executor, started(executor, make_run(batch_sizes=(8, 16))))
    assert isinstance(end, Finished)
    assert [trial.batch_size for trial in end.result.trials] == [8]
    assert end.result.broken is not None
    assert end.result.broken.reason == "RunnerError"


def test_dying_after_the_last_trial_breaks_nothing(make: Make) -> None:
    """Every trial has its result, so nothing is retried and no failure counts."""
    executor = make("crash-after-one")
    end = ended(executor, started(executor, make_run(batch_sizes=(8,))))
    assert isinstance(end, Finished)
    assert end.result.broken is None


def test_a_run_past_all_time_outs_is_ended(make: Make) -> None:
    """A runner whose own timeouts fail cannot block a study; after an out-of-memory it may load again."""
    clock = Clock()
    executor = make("stubborn", clock=clock)
    entry = started(executor, make_run(batch_sizes=(8, 16)))
    await_result(executor, entry)
    clock.now_s = 2 * (60 + 60) + DEADLINE_GRACE_S
    assert not isinstance(seen(executor, entry), Finished | Lost)
    clock.now_s += 1
    end = seen(executor, entry)
    assert isinstance(end, Finished)
    assert end.result.broken is not None
    assert end.result.broken.reason == "MeasureTimeout"
    assert processes_of(executor.runs) == []


def test_a_runner_that_never_exits_after_its_result_is_ended(make: Make) -> None:
    """The complete result counts; the process is killed after a grace period."""
    clock = Clock()
    executor = make("lingering", clock=clock)
    entry = started(executor, make_run(batch_sizes=(8,)))
    await_result(executor, entry)
    assert not isinstance(seen(executor, entry), Finished | Lost)
    clock.now_s = EXIT_GRACE_S + 1
    end = seen(executor, entry)
    assert isinstance(end, Finished)
    assert end.result.broken is None
    assert processes_of(executor.runs) == []


@pytest.mark.parametrize("days", [-3, 3])
def test_a_clock_that_is_set_ends_no_run(make: Make, days: int) -> None:
    """A suspended laptop or a corrected clock does not change a run's age."""
    executor = make("stubborn")
    entry = started(executor, make_run())
    assert not isinstance(seen(executor, entry, clock_time() + timedelta(days=days)), Finished | Lost)


def test_a_process_that_does_not_die_is_reported_and_keeps_its_devices(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process stuck in the driver blocks only the devices that it holds."""
    executor = make("lingering", devices=Devices((0,)))
    first, second = make_run("study-1"), make_run("study-2")
    entry = started(executor, first, "cuda")
    monkeypatch.setattr("infpop_operator.adapters.local_executor.end_marked", lambda _mark: (4711,))
    executor.stop(first.name)
    assert isinstance(seen(executor, entry), Finished | Lost)
    assert "process 4711 did not end after SIGKILL" in caplog.text
    with pytest.raises(ExecutorError, match="0 of 1 are free"):
        executor.start(second, spec_of(second, "cuda"))


def test_a_stubborn_run_is_stopped_with_all_its_processes(make: Make) -> None:
    """A process that ignores SIGTERM, and its child in another session, are both gone when `stop` returns."""
    executor = make("stubborn")
    entry = started(executor, make_run())
    await_result(executor, entry)
    assert len(processes_of(executor.runs)) == 2
    executor.stop(entry.run.name)
    assert processes_of(executor.runs) == []
    end = seen(executor, entry)
    assert isinstance(end, Finished)
    assert end.result.broken is not None
    assert end.result.broken.reason == "Stopped"


def test_an_immediate_stop_does_not_wait(make: Make) -> None:
    """The user's second Ctrl-C cuts the grace period short."""
    executor = make("stubborn", stop_grace_s=3600.0)
    entry = started(executor, make_run())
    await_result(executor, entry)
    executor.hurry()
    executor.stop(entry.run.name)
    assert processes_of(executor.runs) == []


def test_what_a_finished_run_leaves_behind_is_ended(make: Make) -> None:
    """An engine process that survives its runner holds no GPU for long."""
    executor = make("orphaning")
    entry = started(executor, make_run(batch_sizes=(8,)))
    assert isinstance(ended(executor, entry), Finished)
    assert processes_of(executor.runs) == []


def test_a_run_of_an_earlier_process_is_picked_up(make: Make) -> None:
    """After kill -9 of infpop, remaining processes end, measurements are kept, and the time between does not count."""
    first, second = make("stubborn"), make("stubborn")
    entry = started(first, make_run())
    await_result(first, entry)
    end = seen(second, entry, clock_time() + timedelta(days=3))
    assert isinstance(end, Finished)
    assert [trial.batch_size for trial in end.result.trials] == [8]
    assert end.result.broken is not None
    assert end.result.broken.reason == "Stopped"
    assert end.ended_at - entry.started_at < timedelta(days=1)
    assert processes_of(second.runs) == []


def test_processes_of_the_same_run_in_another_directory_are_left_alone(make: Make, tmp_path: Path) -> None:
    """Two copies of a study do not end each other's runs."""
    executor = make("stubborn")
    entry = started(executor, make_run())
    await_result(executor, entry)
    other = LocalExecutor(tmp_path / "other", environment=own_environment())
    assert isinstance(seen(other, entry), Lost)
    assert len(processes_of(executor.runs)) == 2
    other.close()


@pytest.mark.parametrize(("device", "shown"), [("cpu", ""), ("cuda", "3")])
def test_a_run_sees_its_own_devices_only(make: Make, device: str, shown: str) -> None:
    """GPUs are listed in PCI order, a CPU run sees none, and the rest of the environment is passed on."""
    executor = make("show-environment", devices=Devices((3, 5)))
    entry = started(executor, make_run(batch_sizes=(8,)), device)
    ended(executor, entry)
    written = json.loads((executor.files(entry.run.name).directory / "environment.json").read_text())
    assert written == {
        "CUDA_VISIBLE_DEVICES": shown,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "SHARED_SECRET": "passed on",
    }


def test_devices_are_free_again_after_a_run(make: Make) -> None:
    """No run shares a GPU with another, and none is refused while there is room."""
    executor = make("lingering", devices=Devices((0,)))
    first, second = make_run("study-1"), make_run("study-2")
    started(executor, first, "cuda")
    with pytest.raises(ExecutorError, match="0 of 1 are free"):
        executor.start(second, spec_of(second, "cuda"))
    executor.stop(first.name)
    executor.start(second, spec_of(second, "cuda"))


def test_a_runner_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    """A missing program is reported immediately and leaves no device reserved and no descriptor open."""
    executor = LocalExecutor(tmp_path / "runs", environment={}, command=("/nowhere/python",))
    before = psutil.Process().num_fds()
    with pytest.raises(ExecutorError, match="cannot be started"):
        executor.start(make_run(), spec_of(make_run()))
    assert psutil.Process().num_fds() == before
    executor.close()
