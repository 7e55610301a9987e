"""Every executor keeps the contract of its port: the simulated one and the one with processes."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from factories.fake_executor import FakeExecutor, Played, play_landscape
from factories.runs import make_run
from factories.studies import START, make_study
from infpop_operator.adapters.leftovers import find_marked, run_mark
from infpop_operator.adapters.local_executor import LocalExecutor
from infpop_operator.core.history import failures
from infpop_operator.core.model import EndedRun, Finished, History, Lost, Observation, Run, Running, StartedRun, Waiting
from infpop_operator.core.ports import Executor
from infpop_operator.core.run_spec import build_run_spec
from infpop_runner.contract import EngineSpec, RunSpec, SimulationSpec
from local.local_studies import DEADLINE_S, clock_time, own_environment

LASTS, IS_LOST = "lasts", "is-lost"


def spec_of(run: Run, kind: str = "ends") -> RunSpec:
    """Return a spec for `run`, which ends by itself immediately, lasts, or gets lost."""
    simulation = SimulationSpec(load_seconds=0.0 if kind == "ends" else 3600.0)
    study = make_study(engine=EngineSpec(name="simulated", simulation=simulation))
    spec = build_run_spec(study, run)
    return spec.model_copy(update={"study": kind, "device": "cpu"})


class World(Protocol):
    """An executor and the world in which it acts."""

    executor: Executor

    def now(self) -> datetime:
        """Return the current time of the world."""

    def wait(self) -> None:
        """Let a short time pass."""

    def lose(self, run: Run) -> None:
        """Make a live run disappear."""

    def amount(self, run: Run) -> int | None:
        """Return how many processes are running for `run`, or None if the world has no processes."""


class PlayedWorld:
    """The simulated executor."""

    def __init__(self) -> None:
        landscape = play_landscape(lambda gpus, batch: 100.0 * gpus * batch)

        def play(run: Run, spec: RunSpec, now: datetime) -> Played:
            if spec.study == LASTS:
                return Played(seconds=3600, outcome="never")
            return Played(seconds=2, outcome="Killed") if spec.study == IS_LOST else landscape(run, spec, now)

        self.executor: FakeExecutor = FakeExecutor(play, now=START)

    def now(self) -> datetime:
        """Return the simulated time."""
        return self.executor.now()

    def wait(self) -> None:
        """Let a simulated second pass."""
        self.executor.wait(1.0)

    def lose(self, run: Run) -> None:
        """Do nothing: in the simulation, `run` is lost by itself."""

    def amount(self, run: Run) -> int | None:
        """Return None: `run` has no process."""


class ProcessWorld:
    """Real runner processes with the simulated engine."""

    def __init__(self, directory: Path) -> None:
        self.executor = LocalExecutor(directory, environment=own_environment())

    def now(self) -> datetime:
        """Return the machine's time."""
        return clock_time()

    def wait(self) -> None:
        """Wait for a run to end, at most a tenth of a second."""
        self.executor.wait(0.1)

    def lose(self, run: Run) -> None:
        """Kill the processes of `run`."""
        for process in find_marked(run_mark(self.executor.runs, run.name)):
            process.kill()

    def amount(self, run: Run) -> int | None:
        """Return how many processes carry the mark of `run`."""
        return len(find_marked(run_mark(self.executor.runs, run.name)))


@pytest.fixture(params=["played", pytest.param("process", marks=pytest.mark.process)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Yield the world of the executor under test."""
    if request.param == "played":
        yield PlayedWorld()
        return
    processes = ProcessWorld(tmp_path / "runs")
    yield processes
    processes.executor.close()


def started(world: World, run: Run, kind: str = "ends") -> StartedRun:
    """Start `run` and return the record of it."""
    world.executor.start(run, spec_of(run, kind))
    return StartedRun(run=run, started_at=world.now())


def seen(world: World, entry: StartedRun) -> Observation:
    """Observe one run once."""
    observations = world.executor.observe((entry,), world.now())
    assert set(observations) == {entry.run.name}
    return observations[entry.run.name]


def ended(world: World, entry: StartedRun) -> Finished | Lost:
    """Observe one run until it has ended."""
    for _ in range(int(DEADLINE_S / 0.1)):
        observation = seen(world, entry)
        if isinstance(observation, Finished | Lost):
            return observation
        world.wait()
    raise AssertionError(f"run {entry.run.name} did not end")


def counted(entry: StartedRun, observation: Finished | Lost) -> int:
    """Return how much of the failure budget the end of this run uses."""
    end = EndedRun(run=entry.run, started_at=entry.started_at, observation=observation)
    return len(failures(History(started_at=START, ended=(end,))))


def test_a_run_ends_with_a_result_for_each_of_its_trials(world: World) -> None:
    """The runner's findings come back unchanged and cost no failure."""
    entry = started(world, make_run(batch_sizes=(8, 16)))
    end = ended(world, entry)
    assert isinstance(end, Finished)
    assert [(trial.index, trial.batch_size, trial.outcome) for trial in end.result.trials] == [
        (0, 8, "measured"),
        (1, 16, "measured"),
    ]
    assert end.result.simulated
    assert counted(entry, end) == 0


def test_a_live_run_is_observed_as_running(world: World) -> None:
    """A run that lasts is running or waiting until it ends, not lost and not missing."""
    entry = started(world, make_run(), LASTS)
    for _ in range(3):
        world.wait()
        assert isinstance(seen(world, entry), Running | Waiting)


def test_a_run_that_dies_without_a_result_is_lost_and_counts(world: World) -> None:
    """A run killed from outside counts as broken: it has a reason and uses the failure budget."""
    entry = started(world, make_run(), IS_LOST)
    world.lose(entry.run)
    end = ended(world, entry)
    assert isinstance(end, Lost)
    assert end.reason == "Killed"
    assert counted(entry, end) == 1


def test_starting_twice_is_starting_once(world: World) -> None:
    """A repeated start leaves the live run alone."""
    entry = started(world, make_run(), LASTS)
    before = world.amount(entry.run)
    again = started(world, entry.run, LASTS)
    assert isinstance(seen(world, again), Running | Waiting)
    assert world.amount(entry.run) == before


def test_a_stopped_run_is_gone_and_costs_no_failure(world: World) -> None:
    """A run that the study stops costs no failure, and no part of it remains."""
    entry = started(world, make_run(), LASTS)
    world.wait()
    world.executor.stop(entry.run.name)
    end = seen(world, entry)
    assert isinstance(end, Finished | Lost)
    assert counted(entry, end) == 0
    assert not world.amount(entry.run)


def test_stopping_what_does_not_run_does_nothing(world: World) -> None:
    """Unknown runs and runs that have ended can be stopped any number of times."""
    world.executor.stop("nobody")
    entry = started(world, make_run())
    end = ended(world, entry)
    world.executor.stop(entry.run.name)
    world.executor.stop(entry.run.name)
    assert isinstance(end, Finished)


def test_a_run_that_never_lived_is_lost_and_does_not_count(world: World) -> None:
    """A recorded start that was not carried out because of a crash is tried again."""
    entry = StartedRun(run=make_run("study-9"), started_at=world.now() - timedelta(hours=1))
    end = seen(world, entry)
    assert isinstance(end, Lost)
    assert end.reason == "Interrupted"
    assert counted(entry, end) == 0


def test_runs_side_by_side_are_distinguished(world: World) -> None:
    """Each run has its own result, in whatever order they end."""
    lasting = started(world, make_run("study-1"), LASTS)
    entry = started(world, make_run("study-2", index=2, batch_sizes=(32,)))
    end = ended(world, entry)
    assert isinstance(end, Finished)
    assert [trial.batch_size for trial in end.result.trials] == [32]
    assert isinstance(seen(world, lasting), Running | Waiting)
