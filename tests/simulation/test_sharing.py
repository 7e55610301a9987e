"""Studies that take over from one another while both go on: what neither may do, in any world and order of events."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories.studies import START
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.history import gpu_seconds, trials_of
from infpop_operator.core.history_diff import Entry, apply, changes
from infpop_operator.core.model import History, StartedRun, TrialState
from infpop_operator.core.reuse import shared_runs
from infpop_operator.core.scope import own_trials
from infpop_operator.core.study import Study
from simulation.strategies import studies, worlds
from simulation.world import STEPS_LIMIT, World, observe, remember

properties = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
OVER = (Verdict.SUCCEEDED, Verdict.STALLED)


@dataclass(slots=True, kw_only=True)
class Player:
    """A study with its journal, its history and its last decision."""

    study: Study
    journal: list[Entry] = field(default_factory=list)
    history: History = field(default_factory=lambda: History(started_at=START))
    decision: Decision | None = None

    def step(self, world: World, others: list["Player"], now: datetime) -> bool:
        """Do one pass; say whether it started something."""
        identities = {measurement_identity(self.study, pool) for pool in self.study.pools}
        shared = [run for other in others for run in shared_runs(other.study.name, other.history, identities)]
        seen = observe(world, self.history.active, now, stopped=self.stopping)
        self.decision = decide(self.study, self.history, seen, now, shared=shared)
        starts = tuple(StartedRun(run=run, started_at=now, held_since=now) for run in self.decision.start)
        entries = (*changes(self.history, self.decision.history), *starts)
        self.journal += entries
        self.history = apply(self.history, entries)
        return bool(starts)

    @property
    def stopping(self) -> set[str]:
        """The runs that the study stops."""
        return {started.run.name for started in self.history.active if started.stopping is not None}

    @property
    def is_over(self) -> bool:
        """Whether the study has ended."""
        return self.decision is not None and self.decision.verdict in OVER

    def instants(self, world: World) -> list[datetime]:
        """Return when something happens to the study by itself."""
        wake = [] if self.decision is None or self.decision.wake_at is None else [self.decision.wake_at]
        return wake + [world.outcome(entry.run, entry.started_at).ended_at for entry in self.history.active]


def play(first: Study, second: Study, world: World) -> list[Player]:
    """Drive two studies to their ends, pass by pass in turn, and return them."""
    players = [Player(study=first), Player(study=second)]
    now = START
    for _ in range(STEPS_LIMIT):
        busy = [player.step(world, [each for each in players if each is not player], now) for player in players]
        if all(player.is_over for player in players):
            return players
        later = [instant for player in players for instant in player.instants(world) if instant > now]
        if not any(busy) and not any(player.stopping for player in players):
            assert later, [player.decision and player.decision.message for player in players]
            now = min(later)
    raise AssertionError("no end")


@st.composite
def pairs(draw: st.DrawFn) -> list[Player]:
    """Draw two studies that measure the same, with searches and budgets of their own, and drive them."""
    first = replace(draw(studies()), name="first", key="first", reuse="SameIdentity")
    algorithm = replace(first.algorithm, name=draw(st.sampled_from(("grid", "random"))))
    budget = replace(first.budget, max_trials=draw(st.integers(1, 12)), parallel_trials=1)
    second = replace(first, name="second", key="second", algorithm=algorithm, budget=budget)
    return play(first, second, draw(worlds))


@properties
@given(pairs())
def test_two_studies_that_share_keep_every_promise(players: list[Player]) -> None:
    """One trial for each cell of a round, `maxTrials` of its own, GPU time of its own runs, the history as recorded."""
    for player in players:
        history, other = player.history, next(each for each in players if each is not player)
        for entry in history.rounds:
            trials = trials_of(history, entry.pool, entry.number)
            assert set(Counter(trial.configuration for trial in trials).values()) <= {1}
            assert len(own_trials(trials)) <= player.study.budget.max_trials
            for trial in trials:
                if trial.reused_from is not None:
                    assert trial.state in {TrialState.MEASURED, TrialState.INFEASIBLE}
                    assert trial.reused_from.study == other.study.name
                    assert trial.reused_from.run in {ended.run.name for ended in other.history.ended}
        own = replace(history, ended=tuple(ended for ended in history.ended if ended.reused_from is None))
        assert gpu_seconds(history, START) == gpu_seconds(own, START)
        assert remember(player.journal) == history
