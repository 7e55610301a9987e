"""The local loop carries out decisions in an order that survives a crash at any point; runs and time are simulated."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from factories.fake_executor import FakeExecutor, Played, play_landscape
from factories.memory_store import MemoryStore
from factories.studies import START, make_cell, make_pool, make_study
from infpop_operator.core.decision import Verdict
from infpop_operator.core.errors import ExecutorError
from infpop_operator.core.history import failures
from infpop_operator.core.model import EndedRun, History, Round, Run, StartedRun
from infpop_operator.core.ports import Executor, StudyStore
from infpop_operator.core.study import Algorithm, Budget, SearchSpace, Study
from infpop_operator.local.driver import DriveResult, drive
from infpop_operator.local.snapshot import Snapshot
from infpop_runner.contract import InfeasibleReason, RunResult, RunSpec
from local.local_studies import measurements

SPACE = SearchSpace(gpu_counts=(1, 2), batch_sizes=(4, 8))
STUDY = make_study(space=SPACE, algorithm=Algorithm(name="grid"), pools=(make_pool(device_count=2),))
ALL_CELLS = [(1, 4, 4.0), (1, 8, 8.0), (2, 4, 8.0), (2, 8, 16.0)]


def throughput(gpu_count: int, batch_size: int) -> float | InfeasibleReason:
    """Return a landscape in which more is better."""
    return float(gpu_count * batch_size)


PLAY = play_landscape(throughput, seconds=10)


class PlayedEnvironment:
    """The fake executor's clock, a user who interrupts after `patience` passes, and a log of what was shown."""

    def __init__(self, executor: FakeExecutor, patience: int | None = None) -> None:
        self.executor = executor
        self.patience = patience
        self.shown: list[Snapshot] = []

    def now(self) -> datetime:
        """Return the simulated time."""
        return self.executor.now()

    def wait(self, timeout_s: float) -> None:
        """Advance the simulated time."""
        self.executor.wait(timeout_s)

    def is_interrupted(self) -> bool:
        """Return whether the user has interrupted."""
        if self.patience is None:
            return False
        self.patience -= 1
        return self.patience < 0

    def before_start(self) -> None:
        """Do nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Record what was shown."""
        self.shown.append(snapshot)


class KilledError(BaseException):
    """Simulates the death of the process for the code under test."""


class Trap:
    """A store and an executor that forward and log every call, and die at the chosen side effect."""

    def __init__(self, store: StudyStore, executor: Executor, dies_at: int | None = None) -> None:
        self.store = store
        self.executor = executor
        self.effects: list[str] = []
        self.dies_at = dies_at

    def load(self, now: datetime) -> History:
        """Forward the call."""
        return self.store.load(now)

    def record(self, entry: Round | StartedRun | EndedRun) -> None:
        """Forward the call, or die here."""
        self._effect(f"record {type(entry).__name__}")
        self.store.record(entry)

    def start(self, run: Run, spec: RunSpec) -> None:
        """Forward the call, or die here."""
        self._effect("start")
        self.executor.start(run, spec)

    def stop(self, name: str) -> None:
        """Forward the call, or die here."""
        self._effect("stop")
        self.executor.stop(name)

    def observe(self, runs: tuple[StartedRun, ...], now: datetime) -> object:
        """Forward the call."""
        return self.executor.observe(runs, now)

    def _effect(self, name: str) -> None:
        if self.dies_at == len(self.effects):
            raise KilledError
        self.effects.append(name)


def driven(
    study: Study,
    store: MemoryStore,
    *,
    play: Callable[[Run, RunSpec, datetime], Played] = PLAY,
    dies_at: int | None = None,
    patience: int | None = None,
    now: datetime = START,
) -> tuple[DriveResult, Trap]:
    """Drive `study` once, with a fresh executor: earlier runs are gone."""
    executor = FakeExecutor(play, now=now)
    trap = Trap(store, executor, dies_at)
    return drive(study, trap, trap, PlayedEnvironment(executor, patience)), trap


def test_a_study_is_driven_to_its_best_configuration() -> None:
    """The loop ends when the search has, with every cell measured once."""
    outcome, _ = driven(STUDY, MemoryStore())
    decision = outcome.snapshot.decision
    assert (decision.verdict, outcome.interrupted) == (Verdict.SUCCEEDED, False)
    assert measurements(decision.history) == ALL_CELLS
    assert decision.history.active == ()


def test_what_is_returned_is_what_was_recorded() -> None:
    """No state lives only in memory: the store returns the same history."""
    store = MemoryStore()
    outcome, _ = driven(STUDY, store)
    assert store.load(START) == outcome.snapshot.decision.history


def test_a_start_is_recorded_before_it_is_made() -> None:
    """An unrecorded process cannot exist."""
    _, trap = driven(STUDY, MemoryStore())
    starts = [place for place, effect in enumerate(trap.effects) if effect == "start"]
    assert len(starts) == 4
    assert all(trap.effects[place - 1] == "record StartedRun" for place in starts)


def side_effects() -> int:
    """Return the number of side effects of the undisturbed study."""
    return len(driven(STUDY, MemoryStore())[1].effects)


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("dies_at", range(side_effects()))
def test_dying_at_any_side_effect_loses_and_repeats_nothing(dies_at: int, parallel: int) -> None:
    """Killed before any record or start and resumed: the same measurements, each once, and no failure counted."""
    study = replace(STUDY, budget=Budget(parallel_trials=parallel, max_failed_trials=0))
    store = MemoryStore()
    with pytest.raises(KilledError):
        driven(study, store, dies_at=dies_at)
    outcome, _ = driven(study, store, now=START + timedelta(days=1))
    history = outcome.snapshot.decision.history
    assert outcome.snapshot.decision.verdict is Verdict.SUCCEEDED
    assert measurements(history) == ALL_CELLS
    assert failures(history) == ()


@pytest.mark.parametrize("patience", range(0, 14, 3))
def test_an_interrupt_ends_every_run_and_the_study_continues_later(patience: int) -> None:
    """Ctrl-C at any pass leaves no run, counts no failure, and the same command finishes the study."""
    store = MemoryStore()
    outcome, _ = driven(STUDY, store, patience=patience)
    assert outcome.interrupted
    assert outcome.snapshot.decision.reason == "Interrupted"
    assert store.load(START).active == ()
    again, _ = driven(STUDY, store)
    assert measurements(again.snapshot.decision.history) == ALL_CELLS
    assert failures(again.snapshot.decision.history) == ()


def test_an_interrupted_run_is_held_to_the_rounds_measure() -> None:
    """A measurement with other software than at the start of the round does not count, however the run ended."""
    versions = iter(("0.32.0", "0.33.0"))

    def upgraded(run: Run, spec: RunSpec, now: datetime) -> Played:
        result = play_landscape(throughput, seconds=0)(run, spec, now).outcome
        assert isinstance(result, RunResult)
        provenance = result.provenance.model_copy(update={"engine_version": next(versions)})
        return Played(seconds=0, outcome=result.model_copy(update={"provenance": provenance}))

    outcome, _ = driven(STUDY, MemoryStore(), play=upgraded, patience=3)
    history = outcome.snapshot.decision.history
    assert (outcome.interrupted, len(history.ended)) == (True, 2)
    assert len(measurements(history)) == 1
    assert failures(history) == ()


def test_a_finished_study_starts_nothing_again() -> None:
    """Tuning a finished study shows its result and takes no device."""
    store = MemoryStore()
    driven(STUDY, store)
    outcome, trap = driven(STUDY, store)
    assert outcome.snapshot.decision.verdict is Verdict.SUCCEEDED
    assert trap.effects == []


def test_a_run_that_cannot_be_started_uses_the_failure_budget() -> None:
    """A machine that cannot create processes stalls the study with the reason instead of looping."""

    def refuse(run: Run, _spec: RunSpec, _now: datetime) -> Played:
        raise ExecutorError(f"run {run.name} cannot be started: out of memory")

    study = replace(STUDY, budget=Budget(max_failed_trials=2))
    outcome, trap = driven(study, MemoryStore(), play=refuse)
    assert outcome.snapshot.decision.verdict is Verdict.STALLED
    assert "StartFailed" in outcome.snapshot.decision.message
    assert trap.effects.count("start") == 3


def test_a_lost_run_is_tried_again_and_its_configuration_is_measured() -> None:
    """One run in three is lost; every cell is measured in the end."""
    played: list[str] = []

    def lossy(run: Run, spec: RunSpec, now: datetime) -> Played:
        played.append(run.name)
        return Played(seconds=5, outcome="Killed") if len(played) % 3 == 1 else PLAY(run, spec, now)

    outcome, _ = driven(STUDY, MemoryStore(), play=lossy)
    assert measurements(outcome.snapshot.decision.history) == ALL_CELLS
    assert len(played) == len(set(played)) > 4


def test_a_spent_deadline_stops_the_live_run() -> None:
    """The deadline frees the devices immediately, and what was found before it is the result."""
    study = replace(STUDY, budget=Budget(deadline=timedelta(seconds=25)))
    outcome, trap = driven(study, MemoryStore())
    assert outcome.snapshot.now - START < timedelta(seconds=26)
    assert trap.effects[-3:] == ["record StartedRun", "stop", "record EndedRun"]
    assert outcome.snapshot.decision.history.ended[-1].stopped == "DeadlineReached"
    assert len(measurements(outcome.snapshot.decision.history)) == 2


def test_a_changed_study_opens_a_round_with_the_old_best_as_its_baseline() -> None:
    """On new hardware the previous best is measured first."""
    store = MemoryStore()
    driven(STUDY, store)
    changed = replace(STUDY, pools=(make_pool(device_count=2, fingerprint="other"),))
    outcome, _ = driven(changed, store)
    history = outcome.snapshot.decision.history
    assert [entry.number for entry in history.rounds] == [1, 2]
    assert history.rounds[1].baseline == make_cell(2, 8)
    assert history.ended[4].run.trials[0].configuration == make_cell(2, 8)
