"""Drive a study to its end: observe, decide, remember, act, wait, and again.

The order makes a crash harmless at any point. What ended is recorded before anything new is started; a run is recorded
before it is started, so a process that nobody remembers cannot exist; a run that was recorded and never lived is seen
as interrupted and tried again. Nothing is decided here: `core.decide` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from infpop_operator.core.comparability import reject_incomparable
from infpop_operator.core.decide import decide
from infpop_operator.core.errors import ExecutorError
from infpop_operator.core.model import (
    INTERRUPTED,
    Decision,
    EndedRun,
    Finished,
    History,
    Lost,
    Observation,
    Round,
    Run,
    StartedRun,
    Study,
    Verdict,
)
from infpop_operator.core.ports import Executor, StudyStore
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.local.snapshot import Snapshot

_LONGEST_PAUSE = timedelta(seconds=0.25)  # how soon a change of phase or an interrupt is noticed
_SHORTEST_PAUSE = timedelta(milliseconds=10)


class Environment(Protocol):
    """What the loop needs besides the study, its store and its executor."""

    def now(self) -> datetime:
        """Return the time, aware."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Return when a live run ended, after `timeout_s` at the latest."""
        ...

    def is_interrupted(self) -> bool:
        """Say whether the user wants the study to stop here."""
        ...

    def show(self, snapshot: Snapshot) -> None:
        """Let somebody see where the study is; called after every step, whether or not anything changed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How `drive` ended: the study as it is left, and whether that was the user's wish."""

    snapshot: Snapshot
    interrupted: bool


def drive(study: Study, store: StudyStore, executor: Executor, surroundings: Environment) -> Outcome:
    """Carry on with `study` until it has succeeded or stalled, or the user interrupts it.

    No run lives when this returns. An exception of the store or the executor passes through; the caller ends the runs.
    """
    return _Drive(study, store, executor, surroundings).run()


class _Drive:
    def __init__(self, study: Study, store: StudyStore, executor: Executor, surroundings: Environment) -> None:
        self._study = study
        self._store = store
        self._executor = executor
        self._around = surroundings
        self._earlier = 0

    def run(self) -> Outcome:
        history = self._store.load(self._around.now())
        self._earlier = len(history.ended)
        while True:
            snapshot = self._step(history)
            history = snapshot.decision.history
            if snapshot.decision.verdict in (Verdict.SUCCEEDED, Verdict.STALLED):
                return Outcome(snapshot=snapshot, interrupted=False)
            if self._around.is_interrupted():
                return Outcome(snapshot=self._interrupt(snapshot.decision), interrupted=True)
            self._wait(snapshot.decision)

    def _step(self, history: History) -> Snapshot:
        """Observe, decide and carry out; the history in what is returned has everything that was done."""
        now = self._around.now()
        observations = self._executor.observe(history.active, now)
        decision = decide(self._study, history, observations, now)
        ended = self._remember(history, decision)
        started, failed = self._start(decision)
        history = replace(decision.history, ended=ended + failed, active=decision.history.active + started)
        decision = replace(decision, history=history)
        live = {name: seen for name, seen in observations.items() if not isinstance(seen, Finished | Lost)}
        return self._show(decision, live, now)

    def _show(self, decision: Decision, live: Mapping[str, Observation], now: datetime) -> Snapshot:
        snapshot = Snapshot(study=self._study, decision=decision, observations=live, now=now, earlier=self._earlier)
        self._around.show(snapshot)
        return snapshot

    def _remember(self, before: History, decision: Decision) -> tuple[EndedRun, ...]:
        """Record new rounds and ended runs; end the runs that are to stop, keeping what they measured."""
        for new_round in _new_rounds(before, decision.history):
            self._store.record(new_round)
        known = {ended.run.name for ended in before.ended}
        ended = list(before.ended)
        for entry in decision.history.ended:
            if entry.run.name not in known:
                ended.append(self._stopped(entry, ended) if entry.stopped is not None else entry)
                self._store.record(ended[-1])
        return tuple(ended)

    def _stopped(self, entry: EndedRun, earlier: Sequence[EndedRun]) -> EndedRun:
        """End a run that the study wants no more. Stopped before it is recorded: it may live, but not unremembered."""
        self._executor.stop(entry.run.name)
        seen = self._last_seen(StartedRun(run=entry.run, started_at=entry.started_at), earlier)
        return replace(entry, observation=seen) if isinstance(seen, Finished) and seen.result.trials else entry

    def _last_seen(self, started: StartedRun, earlier: Sequence[EndedRun]) -> Finished | Lost:
        now = self._around.now()
        seen = self._executor.observe((started,), now)[started.run.name]
        if isinstance(seen, Finished | Lost):
            return reject_incomparable(started.run, seen, earlier)
        return Lost(reason=INTERRUPTED, ended_at=now, counts=False)

    def _start(self, decision: Decision) -> tuple[tuple[StartedRun, ...], tuple[EndedRun, ...]]:
        started: list[StartedRun] = []
        failed: list[EndedRun] = []
        for run in decision.start:
            if self._around.is_interrupted():
                break
            entry = StartedRun(run=run, started_at=self._around.now())
            self._store.record(entry)
            failure = self._try_start(run)
            if failure is None:
                started.append(entry)
            else:
                failed.append(EndedRun(run=run, started_at=entry.started_at, observation=failure))
                self._store.record(failed[-1])
        return tuple(started), tuple(failed)

    def _try_start(self, run: Run) -> Lost | None:
        try:
            self._executor.start(run, build_run_spec(self._study, run))
        except ExecutorError as error:
            return Lost(reason="StartFailed", detail=str(error), ended_at=self._around.now())
        return None

    def _interrupt(self, decision: Decision) -> Snapshot:
        """End every run on the user's wish; what they measured is kept, and nothing of it counts as a failure."""
        ended: list[EndedRun] = []
        for entry in decision.history.active:
            self._executor.stop(entry.run.name)
            seen = self._last_seen(entry, (*decision.history.ended, *ended))
            ended.append(EndedRun(run=entry.run, started_at=entry.started_at, observation=_uncounted(seen)))
            self._store.record(ended[-1])
        decision = replace(
            decision,
            history=replace(decision.history, ended=decision.history.ended + tuple(ended), active=()),
            start=(),
            stop=(),
            verdict=Verdict.WAITING,
            reason=INTERRUPTED,
            message="stopped by the user; the same command goes on from here",
            wake_at=None,
        )
        return self._show(decision, {}, self._around.now())

    def _wait(self, decision: Decision) -> None:
        pause = _LONGEST_PAUSE
        if decision.wake_at is not None:
            pause = min(pause, max(_SHORTEST_PAUSE, decision.wake_at - self._around.now()))
        self._around.wait(pause.total_seconds())


def _new_rounds(before: History, after: History) -> Iterator[Round]:
    known = {(entry.pool, entry.number) for entry in before.rounds}
    yield from (entry for entry in after.rounds if (entry.pool, entry.number) not in known)


def _uncounted(seen: Finished | Lost) -> Finished | Lost:
    """A run that was ended from outside and has nothing to show was interrupted, whatever it looks like."""
    if isinstance(seen, Finished) and (seen.result.trials or seen.result.broken is None):
        return seen
    return Lost(reason=INTERRUPTED, detail="stopped by the user", ended_at=seen.ended_at, counts=False)
