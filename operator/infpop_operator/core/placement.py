"""Find the GPU counts that a pool has no devices for now, and when a run of them is tried again.

A run that is lost for a cause outside of it (a full quota, no node with room, a queue, a preemption) costs the study
nothing, so nothing else limits how often it is tried. Its GPU count therefore yields to the other ones, and each pause
until its next attempt is twice the previous one. When only such GPU counts are left, a bound ends the attempts.

Everything follows from the history and the time. A restart changes nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from infpop_operator.core.history import (
    broken_reason,
    current_round,
    ended_before_return,
    never_held,
    own_runs_of,
    results_of,
    runs_of,
    was_asked_to_stop,
)
from infpop_operator.core.model import EndedRun, Finished, History, Lost, Round, StartedRun
from infpop_operator.core.study import Pool, Study
from infpop_runner.contract import Measured, RacedOut

FIRST_PAUSE = timedelta(seconds=10)  # the first back-off of the Job controller
_DOUBLINGS = 16  # 10 s become a week
ATTEMPTS = 3  # at least, before a GPU count is given up
PATIENCE = 6  # schedule time-outs from the first attempt until a GPU count may be given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """A GPU count whose newest runs were all lost without a fault of the study; `runs` are these, newest first.

    `is_waiting`: another run of this GPU count waits for its devices now. `schedule_timeout` is the pool's.
    """

    gpu_count: int
    schedule_timeout: timedelta
    runs: tuple[EndedRun, ...]
    is_waiting: bool

    @property
    def reason(self) -> tuple[str, str]:
        """Return the reason and the detail of the newest loss."""
        return broken_reason(self.runs[0]) or ("", "")

    @property
    def never_held(self) -> bool:
        """Return whether none of the runs held a device: one that was preempted may be placed again."""
        return all(never_held(ended) for ended in self.runs)

    @property
    def next_attempt(self) -> datetime:
        """Return when a run of this GPU count is due again: the first pause is at least as long as the run waited.

        After a preemption the pauses are those of its pool (`core.budget.retry_at`), without their cap.
        """
        newest = self.runs[0]
        ended_at, earlier = newest.observation.ended_at, min(len(self.runs) - 1, _DOUBLINGS)
        if never_held(newest):
            return ended_at + max(FIRST_PAUSE, ended_at - newest.started_at) * (1 << earlier)
        return ended_at + FIRST_PAUSE * (1 << max(0, earlier - 1))

    def is_due(self, now: datetime, *, only_left: bool, others_ended_at: datetime | None) -> bool:
        """Return whether a run of this GPU count may start.

        Args:
            now: the current time.
            only_left: no other GPU count has anything left to measure.
            others_ended_at: when a run of another GPU count last released its devices: they may have been in the way.
        """
        if self.is_waiting:
            return False
        if now < self.runs[0].observation.ended_at:
            return True  # the clock was set back since
        return now >= self.next_attempt or (only_left and not self._was_tried_since(others_ended_at))

    def is_given_up(self, now: datetime, *, only_left: bool, others_ended_at: datetime | None) -> bool:
        """Return whether no further run of this GPU count is worth waiting for; one that held devices once always is.

        Args:
            now: the current time.
            only_left: no other GPU count has anything left to measure.
            others_ended_at: when a run of another GPU count last released its devices.
        """
        return (
            only_left
            and not self.is_waiting
            and len(self.runs) >= ATTEMPTS
            and self.never_held
            and now >= self.bound
            and self._was_tried_since(others_ended_at)
        )

    @property
    def bound(self) -> datetime:
        """Return from when on this GPU count may be given up."""
        return self.runs[-1].started_at + PATIENCE * self.schedule_timeout

    def _was_tried_since(self, instant: datetime | None) -> bool:
        return instant is None or self.runs[0].started_at >= instant


def unplaced(pool: Pool, history: History, newest: Round) -> Mapping[int, Unplaced]:
    """Return the GPU counts of the pool's round whose newest runs found no devices or lost them, by GPU count.

    The first preemption is no reason to yield: its run is retried at once.
    """
    chains: dict[int, list[EndedRun]] = {}
    placed = {entry.run.gpu_count for entry in runs_of(history.active, newest) if entry.held_since is not None}
    before = ended_before_return(history, newest)
    for ended in reversed(list(own_runs_of(history.ended, newest))):
        if ended.run.gpu_count in placed or was_asked_to_stop(ended) or ended.run.name in before:
            continue
        if isinstance(ended.observation, Lost) and not ended.observation.counts:
            chains.setdefault(ended.run.gpu_count, []).append(ended)
        else:
            placed.add(ended.run.gpu_count)
    waiting = {entry.run.gpu_count for entry in runs_of(history.active, newest)}
    return {
        count: Unplaced(
            gpu_count=count,
            schedule_timeout=pool.schedule_timeout,
            runs=tuple(runs),
            is_waiting=count in waiting,
        )
        for count, runs in chains.items()
        if len(runs) > 1 or never_held(runs[0])
    }


def others_ended_at(history: History, newest: Round, gpu_count: int) -> datetime | None:
    """Return when a run of another GPU count last released its devices in this round, None before that."""
    ends = (
        ended.observation.ended_at
        for ended in runs_of(history.ended, newest)
        if ended.run.gpu_count != gpu_count and not never_held(ended)
    )
    return max(ends, default=None)


def was_placed(history: History, newest: Round, gpu_count: int) -> bool:
    """Return whether a run of this GPU count has held devices in this round."""
    return any(
        entry.run.gpu_count == gpu_count and not never_held(entry) for entry in runs_of(history.ended, newest)
    ) or any(
        entry.run.gpu_count == gpu_count and entry.held_since is not None for entry in runs_of(history.active, newest)
    )


def queue_bound(pool: Pool, started: StartedRun) -> datetime | None:
    """Return until when a run may wait in a queue while others could run, None if it holds devices already."""
    return None if started.held_since is not None else started.started_at + pool.schedule_timeout


def has_node(pool: Pool, gpu_count: int) -> bool:
    """Return whether a node of the pool has as many usable GPUs now; a pool whose nodes are not known has."""
    return all(count is None or gpu_count <= count for count in (pool.usable_device_count, pool.total_device_count))


def node_bound(pool: Pool, history: History, newest: Round) -> datetime | None:
    """Return until when a round waits for a node with more usable GPUs, None while it knows no number.

    A reused run counts from when it was taken over.
    """
    ended = [entry for entry in runs_of(history.ended, newest) if isinstance(entry.observation, Finished)]
    ends = [entry.observation.ended_at if entry.reused_from is None else entry.started_at for entry in ended]
    if newest.resumed_at is not None:
        ends.append(newest.resumed_at)
    measured = any(isinstance(result, Measured | RacedOut) for entry in ended for result in results_of(entry))
    return max(ends) + PATIENCE * pool.schedule_timeout if measured else None


def instants(study: Study, history: History) -> Iterator[datetime]:
    """Yield the times at which the plan of a pool changes without a new observation."""
    for pool in study.pools:
        for started in history.active:
            if started.run.pool == pool.name and (until := queue_bound(pool, started)) is not None:
                yield until
        newest = current_round(history, pool.name)
        if newest is None:
            continue
        bound = node_bound(pool, history, newest)
        if bound is not None and not all(has_node(pool, count) for count in study.space.gpu_counts):
            yield bound
        for each in unplaced(pool, history, newest).values():
            yield each.next_attempt
            if each.never_held:
                yield each.bound
