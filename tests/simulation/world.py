"""A simulated world that drives a study to its end: runs take simulated time and end at random.

The fate of a run is a function of the world and the run alone, so a study can be stopped at any journal entry and
driven on from there, and must end the same.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log2
from random import Random

from factories.adaptive import adaptive
from factories.studies import START, make_invalid, make_measured
from infpop_operator.core.decision import Decision
from infpop_operator.core.history_diff import Entry, apply
from infpop_operator.core.model import (
    INTERRUPTED,
    Finished,
    History,
    Lost,
    Missing,
    Observation,
    Phase,
    PlannedTrial,
    Run,
    Running,
    StartedRun,
)
from infpop_operator.core.study import Configuration, Study
from infpop_operator.local.driver import drive as drive_locally
from infpop_operator.local.snapshot import Snapshot
from infpop_runner.contract import (
    Broken,
    Infeasible,
    InfeasibleReason,
    Measured,
    Provenance,
    RacedOut,
    RunResult,
    RunSpec,
    Skipped,
    TrialResult,
)

STEPS_LIMIT = 5000
MORE_THAN_ANY_BATCH = 10**9


def always_loads(gpu_count: int, batch_size: int) -> bool:
    """Return whether an engine can be loaded: always."""
    del gpu_count, batch_size
    return True


def _refuses_nothing(cell: Configuration) -> bool:
    del cell
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A landscape with one optimum and an out-of-memory edge, and the failure probabilities in it.

    Throughput falls by a fifth for each doubling away from the optimum. `noise` is the half-width of a uniform relative
    error. `lost` to `incompatible` are probabilities for each run or, if `invalid`, each trial; a crash comes after the
    first trials of a run have their results. Batches above `memory` x GPU count do not fit. `unseen` is the probability
    that the power of a trial is not known; None: it is not asked for. The loads of the GPU counts in `dying` fail with
    a result that says so, those in `killed` end without a result; `refuses` returns whether arguments are rejected. An
    engine that `survives` an out-of-memory goes on with smaller batches.
    `adaptive` measurements race trials. `loads` returns whether an engine can be loaded for a GPU count and its largest
    batch; if it cannot, the run tries the smaller ones, as for vLLM.
    """

    seed: int = 0
    best: tuple[int, int] = (4, 64)
    memory: int = 64
    noise: float = 0.0
    lost: float = 0.0
    preempted: float = 0.0
    crashed: float = 0.0
    invalid: float = 0.0
    incompatible: float = 0.0
    unseen: float | None = None
    dying: frozenset[int] = frozenset()
    killed: frozenset[int] = frozenset()
    refuses: Callable[[Configuration], bool] = _refuses_nothing
    survives: bool = True
    adaptive: bool = False
    loads: Callable[[int, int], bool] = always_loads

    def throughput(self, cell: Configuration) -> float:
        """Return the true tokens/s of a cell that fits."""
        gpus, batch = self.best
        return 1000.0 * 0.8 ** (abs(log2(cell.gpu_count / gpus)) + abs(log2(cell.batch_size / batch)))

    def fits(self, cell: Configuration) -> bool:
        """Return whether a cell fits in memory."""
        return cell.batch_size <= self.memory * cell.gpu_count

    def watts(self, cell: Configuration) -> float:
        """Return the power of a trial, summed over devices; more devices also need power for their communication."""
        return 100.0 * cell.gpu_count**1.5

    def duration(self, run: Run) -> timedelta:
        """Return how long a run lives: a minute or two to load, plus half a minute for each trial."""
        return timedelta(seconds=Random(f"duration {self.seed} {run.name}").uniform(60, 120) + 30 * len(run.trials))

    def outcome(self, run: Run, started_at: datetime) -> Finished | Lost:
        """Return how a run ends."""
        chance = Random(f"outcome {self.seed} {run.name}")
        ended_at = started_at + self.duration(run)
        if chance.random() < self.preempted:
            return Lost(reason="Preempted", ended_at=ended_at, counts=False)
        if chance.random() < self.lost:
            return Lost(reason="NodeLost", ended_at=ended_at)
        if run.gpu_count in self.killed:
            return Lost(reason="Killed", ended_at=ended_at)
        result = self._result(run, started_at, ended_at, chance)
        return Finished(result=result, ended_at=ended_at, extra_metrics=self._extra_metrics(run))

    def cut_off(self, outcome: Finished | Lost, started: StartedRun, now: datetime) -> Finished | Lost:
        """Return the end of a run that is stopped early: it keeps what it has measured by then."""
        if isinstance(outcome, Lost):
            return Lost(reason=INTERRUPTED, ended_at=now, counts=False)
        share = (now - started.started_at) / (outcome.ended_at - started.started_at)
        trials = outcome.result.trials[: int(share * len(outcome.result.trials))]
        changes = {"trials": trials, "broken": Broken(reason="Stopped"), "ended_at": now}
        return replace(outcome, result=outcome.result.model_copy(update=changes), ended_at=now)

    def _extra_metrics(self, run: Run) -> Mapping[int, Mapping[str, float | Missing]]:
        if self.unseen is None:
            return {}
        chance = Random(f"figures {self.seed} {run.name}")
        return {
            trial.index: {
                "power": Missing(reason="Stale") if chance.random() < self.unseen else self.watts(trial.configuration)
            }
            for trial in run.trials
        }

    def _result(self, run: Run, started_at: datetime, ended_at: datetime, chance: Random) -> RunResult:
        incompatible = chance.random() < self.incompatible
        results = list(self._infeasible(run, "IncompatibleGPU") if incompatible else self._climb(run, chance))
        refused = any(self.refuses(trial.configuration) for trial in run.trials)
        if refused:
            results = list(self._infeasible(run, "RejectedArguments"))
        broken, dies = None, run.gpu_count in self.dying
        if dies:
            results, broken = [], Broken(reason="EngineCrash", detail=f"255 is not divisible by {run.gpu_count}")
        elif chance.random() < self.crashed:
            results = results[: chance.randrange(len(results))]
            broken = Broken(reason="EngineCrash")
        return RunResult(
            run=run.name,
            simulated=True,
            trials=tuple(results),
            load_seconds=None if dies or refused else 60.0,
            provenance=Provenance(engine="simulated"),
            broken=broken,
            started_at=started_at,
            ended_at=ended_at,
        )

    def _climb(self, run: Run, chance: Random) -> Iterator[TrialResult]:
        """Measure in the order of the run, skip what is not worthwhile, leave out what is too large, as the runner."""
        best, too_large = 0.0, MORE_THAN_ANY_BATCH
        for trial in run.sequence:
            cell, needs = trial.configuration, trial.needs_tokens_per_second
            if cell.batch_size > too_large:
                continue
            died = too_large < MORE_THAN_ANY_BATCH and not self.survives
            if died or (needs is not None and best < needs):
                yield Skipped(index=trial.index, batch_size=cell.batch_size)
            elif not self.loads(cell.gpu_count, cell.batch_size):
                yield Infeasible(index=trial.index, batch_size=cell.batch_size, reason="GpuOutOfMemory", phase="load")
            elif not self.fits(cell):
                yield Infeasible(index=trial.index, batch_size=cell.batch_size, reason="GpuOutOfMemory")
                too_large = cell.batch_size
            else:
                result = self._measure(run, trial, chance)
                reached = result.throughput_tokens_per_second if isinstance(result, Measured | RacedOut) else 0.0
                best = max(best, reached)
                yield result

    def _infeasible(self, run: Run, reason: InfeasibleReason) -> Iterator[TrialResult]:
        for trial in run.trials:
            batch, detail = trial.configuration.batch_size, f"{reason} of run {run.name}"
            yield Infeasible(index=trial.index, batch_size=batch, reason=reason, detail=detail)

    def _measure(self, run: Run, trial: PlannedTrial, chance: Random) -> TrialResult:
        cell = trial.configuration
        if chance.random() < self.invalid:
            return make_invalid(cell, trial.index)
        throughput = self.throughput(cell) * (1 + chance.uniform(-self.noise, self.noise))
        found = make_measured(throughput, index=trial.index, batch_size=cell.batch_size)
        return adaptive(found, run.to_beat_tokens_per_second) if self.adaptive else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decision: the history and observations that it received, and the history after it was carried out."""

    now: datetime
    before: History
    observations: Mapping[str, Observation]
    decision: Decision
    after: History


class Story:
    """Everything that happened in one drive: the decisions, and the timed journal that a store would hold.

    Not a dataclass, because Hypothesis would print every step of one.
    """

    def __init__(self, study: Study, world: World) -> None:
        self.study = study
        self.world = world
        self.steps: list[Step] = []
        self.journal: list[tuple[datetime, Entry]] = []

    def __repr__(self) -> str:
        """Return the inputs that reproduce the story; its steps would fill pages."""
        return f"drive({self.study!r}, {self.world!r})"

    @property
    def end(self) -> Decision:
        """The last decision."""
        return self.steps[-1].decision

    @property
    def history(self) -> History:
        """The history after the last decision was carried out."""
        return self.steps[-1].after


class _Stage:
    """The local driver's executor, store and environment, simulated by a world; its clock jumps to the next event."""

    def __init__(self, story: Story, history: History, now: datetime, interrupted_after: int | None) -> None:
        self._story = story
        self._interrupted_after = interrupted_after
        self._now = now
        self._history = history
        self._observations: Mapping[str, Observation] = {}
        self._stopped: set[str] = set()
        self._wake_at: datetime | None = None

    def start(self, run: Run, spec: RunSpec) -> None:
        """Do nothing: the fate of a run is a function of the world and the run."""

    def stop(self, name: str) -> None:
        self._stopped.add(name)

    def observe(self, runs: tuple[StartedRun, ...], now: datetime) -> Mapping[str, Observation]:
        self._observations = observe(self._story.world, runs, now, stopped=self._stopped)
        return self._observations

    def load(self, now: datetime) -> History:
        del now  # the story began earlier
        return self._history

    def record(self, entry: Entry) -> None:
        self._story.journal.append((self._now, entry))

    def now(self) -> datetime:
        return self._now

    def is_interrupted(self) -> bool:
        return self._interrupted_after is not None and len(self._story.steps) > self._interrupted_after

    def before_start(self) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        started = {run.name for run in snapshot.decision.start}
        after = snapshot.decision.history
        decided = replace(after, active=tuple(entry for entry in after.active if entry.run.name not in started))
        step = Step(
            now=self._now,
            before=self._history,
            observations=self._observations,
            decision=replace(snapshot.decision, history=decided),
            after=after,
        )
        self._story.steps.append(step)
        assert len(self._story.steps) < STEPS_LIMIT, f"no end: {step.decision.message}"
        self._history, self._wake_at = after, step.decision.wake_at

    def wait(self, timeout_s: float) -> None:
        """Move the clock to the end of the next run or to the wake-up time of `decide`, whichever comes first."""
        del timeout_s  # of real time
        active = self._history.active
        if any(entry.run.name in self._stopped for entry in active):
            return
        ends = [self._story.world.outcome(entry.run, entry.started_at).ended_at for entry in active]
        wakes = [] if self._wake_at is None else [self._wake_at]
        later = [instant for instant in (*ends, *wakes) if instant > self._now]
        end = self._story.end
        assert later, f"the study waits for nothing: {end.verdict} {end.reason} {end.message}"
        self._now = min(later)


def drive(
    study: Study,
    world: World,
    *,
    history: History | None = None,
    now: datetime = START,
    interrupted_after: int | None = None,
) -> Story:
    """Let the local driver run `study` in `world` to its end, and return everything that happened.

    Args:
        study: the study.
        world: the world that determines the fate of its runs.
        history: what the journal already holds.
        now: when the drive starts.
        interrupted_after: after how many decisions the user interrupts the study; None: never.

    Raises:
        AssertionError: the study does not end, or waits for nothing.
    """
    story = Story(study=study, world=world)
    stage = _Stage(story, History(started_at=START) if history is None else history, now, interrupted_after)
    drive_locally(study, stage, stage, stage)
    return story


def killed_after(story: Story, entries: int) -> list[tuple[datetime, Entry]]:
    """Return the journal of a story that was killed after some entries of its journal, and driven on from them."""
    kept = story.journal[:entries]
    history = remember([entry for _, entry in kept])
    return kept + drive(story.study, story.world, history=history, now=story.journal[entries][0]).journal


def observe(
    world: World, active: Iterable[StartedRun], now: datetime, *, stopped: Container[str] = ()
) -> Mapping[str, Observation]:
    """Return the observation of each live run at `now`; the `stopped` runs end by then."""
    seen: dict[str, Observation] = {}
    for started in active:
        outcome = world.outcome(started.run, started.started_at)
        if outcome.ended_at <= now:
            seen[started.run.name] = outcome
        elif started.run.name in stopped:
            seen[started.run.name] = world.cut_off(outcome, started, now)
        else:
            seen[started.run.name] = Running(phase=Phase.MEASURING)
    return seen


def remember(entries: list[Entry]) -> History:
    """Return the history that a store with these entries loads."""
    return apply(History(started_at=START), entries)
