"""A study driven as the operator drives it: a run has its devices later than its start, or never."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from factories.studies import START
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history_diff import apply, changes
from infpop_operator.core.model import QUEUED, History, Lost, Observation, Phase, Running, StartedRun, Waiting
from infpop_operator.core.study import Study
from simulation.world import STEPS_LIMIT, Step, Story, World

DELETION = timedelta(seconds=1)  # how long it takes to stop a run
NEVER = timedelta(days=9999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The nodes, the quota and the queue of a simulated cluster.

    `placed_after` is, by GPU count, how long after the study's start its runs find devices; other counts find them at
    once. Runs of the counts in `queued` wait in a queue meanwhile, the other ones are lost after `wait`.
    """

    placed_after: Mapping[int, timedelta] = field(default_factory=dict)
    queued: frozenset[int] = frozenset()
    wait: timedelta = timedelta(minutes=10)

    def placed_at(self, started: StartedRun) -> datetime:
        """Return when a run finds its devices if it waits for as long as that takes."""
        return max(started.started_at, START + self.placed_after.get(started.run.gpu_count, timedelta()))

    def lost_at(self, started: StartedRun) -> datetime | None:
        """Return when a run is lost because it found no devices, None if it finds some or waits in a queue."""
        lost_at = started.started_at + self.wait
        return None if started.run.gpu_count in self.queued or self.placed_at(started) <= lost_at else lost_at

    def ended_at(self, started: StartedRun, world: World) -> datetime:
        """Return when a run ends by itself."""
        return self.lost_at(started) or world.outcome(started.run, self.placed_at(started)).ended_at

    def observe(self, started: StartedRun, world: World, now: datetime) -> Observation:
        """Return the observation of a live run; one that the study stops ends a second later."""
        lost_at, placed_at = self.lost_at(started), self.placed_at(started)
        if lost_at is not None and now >= lost_at:
            return Lost(reason="Unschedulable", detail="0/3 nodes", ended_at=lost_at, counts=False)
        if started.stopping_since is not None:
            ended = now >= started.stopping_since + DELETION
            return Lost(reason="Deleted", ended_at=now) if ended else Waiting(reason="Terminating")
        if now < placed_at:
            return Waiting(reason=QUEUED if started.run.gpu_count in self.queued else "Unschedulable")
        outcome = world.outcome(started.run, placed_at)
        return outcome if outcome.ended_at <= now else Running(phase=Phase.MEASURING)


def drive_on_cluster(
    study: Study, world: World, cluster: Cluster, *, history: History | None = None, now: datetime = START
) -> Story:
    """Drive `study` to its end as the operator does, and return everything that happened.

    Raises:
        AssertionError: the study does not end, or waits for nothing.
    """
    story, history = Story(study, world), History(started_at=START) if history is None else history
    while True:
        before = replace(history, active=tuple(_held(entry, cluster, now) for entry in history.active))
        seen = {entry.run.name: cluster.observe(entry, world, now) for entry in before.active}
        decision = decide(study, before, seen, now)
        starts = (StartedRun(run=run, started_at=now) for run in decision.start)
        entries = (*changes(before, decision.history), *starts)
        history = apply(before, entries)
        story.journal += [(now, entry) for entry in entries]
        story.steps.append(Step(now=now, before=before, observations=seen, decision=decision, after=history))
        if decision.verdict in (Verdict.SUCCEEDED, Verdict.STALLED):
            return story
        assert len(story.steps) < STEPS_LIMIT, f"no end: {decision.message}"
        now = now if decision.start else _next_event(story, cluster, now)


def _held(entry: StartedRun, cluster: Cluster, now: datetime) -> StartedRun:
    placed = cluster.lost_at(entry) is None and cluster.placed_at(entry) <= now
    return replace(entry, held_since=cluster.placed_at(entry)) if placed else entry


def _next_event(story: Story, cluster: Cluster, now: datetime) -> datetime:
    decision = story.end
    instants = [] if decision.wake_at is None else [decision.wake_at]
    for entry in story.history.active:
        instants += [cluster.placed_at(entry), cluster.ended_at(entry, story.world)]
        instants += [] if entry.stopping_since is None else [entry.stopping_since + DELETION]
    later = [instant for instant in instants if now < instant < START + NEVER]
    assert later, f"the study waits for nothing: {decision.verdict} {decision.reason} {decision.message}"
    return min(later)
