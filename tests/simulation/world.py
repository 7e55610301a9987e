"""A world in which a study is driven to its end without a clock: runs take simulated time and end as chance has it.

What happens to a run is a function of the world and the run alone, so a study can be stopped at any entry of its
journal and driven on from there, and must come out the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log2
from random import Random

from factories.studies import START, make_invalid, make_measured
from infpop_operator.core.decide import decide
from infpop_operator.core.model import (
    Configuration,
    Decision,
    EndedRun,
    Finished,
    History,
    Lost,
    Missing,
    Observation,
    Phase,
    PlannedTrial,
    Round,
    Run,
    Running,
    StartedRun,
    Study,
    Verdict,
)
from infpop_runner.contract import Broken, Infeasible, Provenance, RunResult, TrialResult

Entry = Round | StartedRun | EndedRun
STEPS_LIMIT = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A landscape with one optimum and an out-of-memory edge, and how often things go wrong in it.

    Throughput falls by a fifth for each doubling away from the optimum. `noise` is the half-width of a uniform relative
    error. `lost` to `incompatible` are probabilities for each run or, if `invalid`, each trial; a crash comes after the
    first trials of a run have their results. Batches above `memory` x GPU count do not fit. `unseen` is the probability
    that the power of a trial is not known; None: nobody asked for it.
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

    def throughput(self, cell: Configuration) -> float:
        """Return the true tokens/s of a cell that fits."""
        gpus, batch = self.best
        return 1000.0 * 0.8 ** (abs(log2(cell.gpu_count / gpus)) + abs(log2(cell.batch_size / batch)))

    def fits(self, cell: Configuration) -> bool:
        """Say whether a cell runs out of memory."""
        return cell.batch_size <= self.memory * cell.gpu_count

    def watts(self, cell: Configuration) -> float:
        """Return the power of a trial, all devices together: more of them need more for what they say to each other."""
        return 100.0 * cell.gpu_count**1.5

    def duration(self, run: Run) -> timedelta:
        """Return how long a run lives: a minute or two to load, half a minute for each trial."""
        return timedelta(seconds=Random(f"duration {self.seed} {run.name}").uniform(60, 120) + 30 * len(run.trials))

    def outcome(self, run: Run, started_at: datetime) -> Finished | Lost:
        """Return how a run ends."""
        chance = Random(f"outcome {self.seed} {run.name}")
        ended_at = started_at + self.duration(run)
        if chance.random() < self.preempted:
            return Lost(reason="Preempted", ended_at=ended_at, counts=False)
        if chance.random() < self.lost:
            return Lost(reason="NodeLost", ended_at=ended_at)
        result = self._result(run, started_at, ended_at, chance)
        return Finished(result=result, ended_at=ended_at, extra_metrics=self._figures(run))

    def _figures(self, run: Run) -> Mapping[int, Mapping[str, float | Missing]]:
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
        results = list(self._incompatible(run) if chance.random() < self.incompatible else self._climb(run, chance))
        broken = None
        if chance.random() < self.crashed:
            results = results[: chance.randrange(len(results))]
            broken = Broken(reason="EngineCrash")
        return RunResult(
            run=run.name,
            simulated=True,
            trials=tuple(results),
            load_seconds=60.0,
            provenance=Provenance(engine="simulated"),
            broken=broken,
            started_at=started_at,
            ended_at=ended_at,
        )

    def _climb(self, run: Run, chance: Random) -> Iterator[TrialResult]:
        """Measure ascending batches; an out-of-memory ends the climb, as in the runner."""
        for trial in sorted(run.trials, key=lambda trial: trial.configuration.batch_size):
            cell = trial.configuration
            if not self.fits(cell):
                yield Infeasible(index=trial.index, batch_size=cell.batch_size, reason="GpuOutOfMemory")
                return
            yield self._measure(trial, chance)

    def _incompatible(self, run: Run) -> Iterator[TrialResult]:
        for trial in run.trials:
            batch_size = trial.configuration.batch_size
            yield Infeasible(index=trial.index, batch_size=batch_size, reason="IncompatibleGPU")

    def _measure(self, trial: PlannedTrial, chance: Random) -> TrialResult:
        cell = trial.configuration
        if chance.random() < self.invalid:
            return make_invalid(cell, trial.index)
        throughput = self.throughput(cell) * (1 + chance.uniform(-self.noise, self.noise))
        return make_measured(throughput, index=trial.index, batch_size=cell.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decision and the instant at which it was asked for; `before` is the history that it was asked about."""

    now: datetime
    before: History
    decision: Decision
    after: History


class Story:
    """All that happened in one drive: the decisions, and the journal that a store would hold, with its instants.

    No dataclass: Hypothesis would print every step of one.
    """

    def __init__(self, study: Study, world: World) -> None:
        self.study = study
        self.world = world
        self.steps: list[Step] = []
        self.journal: list[tuple[datetime, Entry]] = []

    def __repr__(self) -> str:
        """Return what the story can be told again from: its steps would fill pages."""
        return f"drive({self.study!r}, {self.world!r})"

    @property
    def end(self) -> Decision:
        """The last decision."""
        return self.steps[-1].decision

    @property
    def history(self) -> History:
        """The history after the last decision was carried out."""
        return self.steps[-1].after


def drive(study: Study, world: World, *, history: History | None = None, now: datetime = START) -> Story:
    """Carry out what `decide` says until it says nothing more, and return all that happened.

    Raises:
        AssertionError: the study does not come to an end, or waits for nothing.
    """
    story = Story(study=study, world=world)
    history = History(started_at=START) if history is None else history
    for _ in range(STEPS_LIMIT):
        decision = decide(study, history, observe(world, history, now), now)
        after = carry_out(decision, now)
        story.steps.append(Step(now=now, before=history, decision=decision, after=after))
        story.journal += [(now, entry) for entry in news(history, after)]
        history = after
        if decision.verdict in (Verdict.SUCCEEDED, Verdict.STALLED) and not history.active:
            return story
        now = _next_instant(world, decision, history, now)
    raise AssertionError(f"no end after {STEPS_LIMIT} decisions: {story.end.message}")


def observe(world: World, history: History, now: datetime) -> Mapping[str, Observation]:
    """Return what is seen of each live run at `now`."""
    seen: dict[str, Observation] = {}
    for started in history.active:
        outcome = world.outcome(started.run, started.started_at)
        seen[started.run.name] = outcome if outcome.ended_at <= now else Running(phase=Phase.MEASURING)
    return seen


def carry_out(decision: Decision, now: datetime) -> History:
    """Return the history once the decision's runs have been started."""
    started = tuple(StartedRun(run=run, started_at=now) for run in decision.start)
    return replace(decision.history, active=decision.history.active + started)


def news(before: History, after: History) -> list[Entry]:
    """Return what a store has to remember of a step, in order: rounds, runs that ended, runs that were started."""
    known = {started.run.name for started in before.active}
    return [
        *after.rounds[len(before.rounds) :],
        *after.ended[len(before.ended) :],
        *(started for started in after.active if started.run.name not in known),
    ]


def remember(entries: list[Entry]) -> History:
    """Return the history that a store with these entries loads."""
    ended = tuple(entry for entry in entries if isinstance(entry, EndedRun))
    over = {entry.run.name for entry in ended}
    started = (entry for entry in entries if isinstance(entry, StartedRun))
    return History(
        started_at=START,
        rounds=tuple(entry for entry in entries if isinstance(entry, Round)),
        ended=ended,
        active=tuple(entry for entry in started if entry.run.name not in over),
    )


def _next_instant(world: World, decision: Decision, history: History, now: datetime) -> datetime:
    """Return when the next run ends or `decide` wants to be asked, whichever comes first."""
    ends = [world.outcome(started.run, started.started_at).ended_at for started in history.active]
    wakes = [decision.wake_at] if decision.wake_at is not None else []
    later = [instant for instant in (*ends, *wakes) if instant > now]
    assert later, f"the study waits for nothing: {decision.verdict} {decision.reason} {decision.message}"
    return min(later)
