"""Drive a study to its end in a loop: observe, decide, record, act, wait.

The order makes a crash harmless at any point. The driver records ended runs before it starts new ones. It records a run
before it starts it, so that a crash never leaves an untracked process; a run that was recorded but never started counts
as interrupted and is retried. A run that is being stopped stays active in the journal until it was observed to end. The
driver decides nothing itself: `core.decide` does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from infpop_operator.core.decide import absorb, decide, stop_runs
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.errors import ExecutorError
from infpop_operator.core.history_diff import Entry, apply, changes
from infpop_operator.core.model import INTERRUPTED, EndedRun, Finished, History, Lost, Observation, Run, StartedRun
from infpop_operator.core.ports import Executor, StudyStore
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.core.study import Study
from infpop_operator.local.snapshot import Snapshot

_LONGEST_PAUSE = timedelta(seconds=0.25)  # the delay until the driver notices a change of phase or an interrupt
_SHORTEST_PAUSE = timedelta(milliseconds=10)


class Environment(Protocol):
    """The interface of the loop to its surroundings: clock, waiting, interrupts and display."""

    def now(self) -> datetime:
        """Return the time, with a time zone."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Wait until a live run ends, for at most `timeout_s` seconds."""
        ...

    def is_interrupted(self) -> bool:
        """Return whether the user has asked to stop the study."""
        ...

    def before_start(self) -> None:
        """Do what comes before a run is recorded and started."""
        ...

    def show(self, snapshot: Snapshot) -> None:
        """Show the state of the study to the user; called after every step, whether or not anything changed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveResult:
    """The result of `drive`: the last snapshot of the study, and whether the user interrupted it."""

    snapshot: Snapshot
    interrupted: bool


def drive(study: Study, store: StudyStore, executor: Executor, environment: Environment) -> DriveResult:
    """Drive `study` until it has succeeded or stalled, or the user interrupts it.

    No run is alive when this returns. Exceptions of the store or the executor are not caught; the caller then has to
    end the runs.
    """
    return _Drive(study, store, executor, environment).run()


class _Drive:
    def __init__(self, study: Study, store: StudyStore, executor: Executor, environment: Environment) -> None:
        self._study = study
        self._store = store
        self._executor = executor
        self._environment = environment
        self._earlier = 0

    def run(self) -> DriveResult:
        history = _held_from_start(self._store.load(self._environment.now()))
        self._earlier = len(history.ended)
        while True:
            snapshot = self._step(history)
            history = snapshot.decision.history
            if snapshot.decision.verdict in (Verdict.SUCCEEDED, Verdict.STALLED):
                return DriveResult(snapshot=snapshot, interrupted=False)
            if self._environment.is_interrupted():
                return DriveResult(snapshot=self._interrupt(snapshot.decision), interrupted=True)
            self._wait(snapshot.decision)

    def _step(self, history: History) -> Snapshot:
        """Observe, decide and act; return a snapshot whose history contains everything that was done."""
        now = self._environment.now()
        observations = self._executor.observe(history.active, now)
        decision = decide(self._study, history, observations, now)
        self._record(changes(history, decision.history))
        for stopping in decision.stop:
            self._executor.stop(stopping.run.name)
        decision = replace(decision, history=apply(decision.history, self._start(decision.start)))
        live = {name: seen for name, seen in observations.items() if not isinstance(seen, Finished | Lost)}
        return self._show(decision, live, now)

    def _show(self, decision: Decision, live: Mapping[str, Observation], now: datetime) -> Snapshot:
        snapshot = Snapshot(study=self._study, decision=decision, observations=live, now=now, earlier=self._earlier)
        self._environment.show(snapshot)
        return snapshot

    def _record(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._store.record(entry)

    def _start(self, runs: Sequence[Run]) -> list[Entry]:
        """Start `runs`, but none after the user interrupts; return the journal entries that were recorded."""
        recorded: list[Entry] = []
        for run in runs:
            if self._environment.is_interrupted():
                break
            self._environment.before_start()
            now = self._environment.now()
            started = StartedRun(run=run, started_at=now, held_since=now)
            self._store.record(started)
            recorded.append(started)
            failure = self._try_start(run)
            if failure is not None:
                failed = EndedRun(run=run, started_at=now, held_since=failure.ended_at, observation=failure)
                self._store.record(failed)
                recorded.append(failed)
        return recorded

    def _try_start(self, run: Run) -> Lost | None:
        try:
            self._executor.start(run, build_run_spec(self._study, run))
        except ExecutorError as error:
            return Lost(reason="StartFailed", detail=str(error), ended_at=self._environment.now())
        return None

    def _interrupt(self, decision: Decision) -> Snapshot:
        """Stop every run because the user interrupted: keep what the runs measured, and count no failure."""
        before = decision.history
        reasons = dict.fromkeys((entry.run.name for entry in before.active), INTERRUPTED)
        stopping = stop_runs(before, reasons, self._environment.now())
        for entry in stopping.active:
            self._executor.stop(entry.run.name)
        after = absorb(stopping, self._executor.observe(stopping.active, self._environment.now()))
        self._record(changes(before, after))
        decision = replace(
            decision,
            history=after,
            start=(),
            verdict=Verdict.WAITING,
            reason=INTERRUPTED,
            message="stopped by the user; run the same command again to resume",
            wake_at=None,
        )
        return self._show(decision, {}, self._environment.now())

    def _wait(self, decision: Decision) -> None:
        pause = _LONGEST_PAUSE
        if decision.wake_at is not None:
            pause = min(pause, max(_SHORTEST_PAUSE, decision.wake_at - self._environment.now()))
        self._environment.wait(pause.total_seconds())


def _held_from_start(history: History) -> History:
    """Return the history with the devices of live runs, which an older journal does not tell: held from their start."""
    active = (replace(entry, held_since=entry.held_since or entry.started_at) for entry in history.active)
    return replace(history, active=tuple(active))
