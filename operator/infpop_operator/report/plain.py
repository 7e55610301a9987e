"""A study's progress as plain lines, one for each change of state: for logs, pipes and screen readers."""

from collections.abc import Callable, Iterator
from datetime import datetime

from infpop_operator.core.model import (
    EndedRun,
    Finished,
    Lost,
    Observation,
    Phase,
    PlannedTrial,
    Run,
    Running,
    Verdict,
    Waiting,
)
from infpop_operator.core.run_spec import pool_named
from infpop_operator.report.snapshot import Snapshot
from infpop_operator.report.words import clock, configuration_text, number, percent, phase_text, why
from infpop_runner.contract import Infeasible, Invalid, Measured, TrialResult


class PlainView:
    """Writes what changed since the snapshot before; `write` gets one line at a time."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._before: Snapshot | None = None
        self._since: datetime | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Write a line for each change."""
        self._since = self._since or snapshot.now
        for line in changes(self._before, snapshot):
            self._write(f"{clock(snapshot.now - self._since)}  {line}")
        self._before = snapshot

    def announce(self, text: str) -> None:
        """Write a line that is not the study's own progress."""
        self._write(text)

    def close(self) -> None:
        """There is nothing to close; the other view has."""


def changes(before: Snapshot | None, after: Snapshot) -> Iterator[str]:
    """Yield a line for each change of state from one snapshot to the next.

    Without a `before`: all that happened since this process took the study up.
    """
    if before is None:
        yield from _opening(after)
    ended_before = after.earlier if before is None else len(before.decision.history.ended)
    for ended in after.decision.history.ended[ended_before:]:
        yield from _ended(after, ended)
    known = {entry.run.name for entry in before.decision.history.active} if before else set()
    for entry in after.decision.history.active:
        if entry.run.name not in known:
            yield f"{_run_text(after, entry.run)}: started"
        else:
            yield from _phase_change(before, after, entry.run)
    if before is None or before.decision.verdict is not after.decision.verdict:
        yield from _verdict(after)


def _opening(snapshot: Snapshot) -> Iterator[str]:
    study, ended = snapshot.study, snapshot.earlier
    yield f"study {study.name}: {study.engine.name}, model {study.model.name}"
    for pool in study.pools:
        yield f"pool {pool.name}: {pool.gpu_model or 'simulated'}"
    if ended:
        yield f"going on after {ended} earlier runs"


def _phase_change(before: Snapshot | None, after: Snapshot, run: Run) -> Iterator[str]:
    old = seen_text(run, before.observations.get(run.name)) if before else None
    new = seen_text(run, after.observations.get(run.name))
    if new is not None and new != old:
        yield f"{_run_text(after, run)}: {new}"


def seen_text(run: Run, seen: Observation | None) -> str | None:
    """Return what a live run does in a few words, None where that is not known."""
    match seen:
        case Running(phase=Phase.STARTING):
            return None
        case Running(phase=phase, trial_index=index):
            return phase_text(phase) + _which(run, index)
        case Waiting(reason=reason):
            return f"waiting: {reason}"
        case _:
            return None


def _which(run: Run, index: int | None) -> str:
    """Name the trial by its batch size where a run has several; everything else they share."""
    batch = next((trial.configuration.batch_size for trial in run.trials if trial.index == index), None)
    return f" batch size {batch}" if batch is not None and len(run.trials) > 1 else ""


def _ended(snapshot: Snapshot, ended: EndedRun) -> Iterator[str]:
    match ended.observation:
        case Lost(reason=reason, detail=detail):
            yield f"{_run_text(snapshot, ended.run)}: {ended.stopped or reason}{f': {detail}' if detail else ''}"
        case Finished(result=result):
            planned = {trial.index: trial for trial in ended.run.trials}
            for trial in result.trials:
                if trial.index in planned:
                    yield f"{_trial_text(snapshot, ended.run, planned[trial.index])}: {result_text(trial)}"
            if result.broken is not None:
                detail = f": {result.broken.detail}" if result.broken.detail else ""
                yield f"{_run_text(snapshot, ended.run)}: {result.broken.reason}{detail}"


def result_text(result: TrialResult) -> str:
    """Return what came out of a trial in one phrase."""
    match result:
        case Measured():
            return f"{number(result.throughput_tokens_per_second)} tokens/s (spread {percent(result.spread_ratio)})"
        case Infeasible():
            return f"cannot work: {result.reason}"
        case Invalid():
            return f"not comparable: {result.reason}"


def _verdict(snapshot: Snapshot) -> Iterator[str]:
    decision = snapshot.decision
    if decision.verdict is not Verdict.RUNNING:
        yield f"{decision.verdict.value.lower()}: {why(decision)}"


def _run_text(snapshot: Snapshot, run: Run) -> str:
    texts = [_trial_text(snapshot, run, trial) for trial in run.trials]
    again = f" (attempt {run.attempt})" if run.attempt > 1 else ""
    return texts[0] + (f" and {len(texts) - 1} more" if len(texts) > 1 else "") + again


def _trial_text(snapshot: Snapshot, run: Run, trial: PlannedTrial) -> str:
    pool = pool_named(snapshot.study, run.pool)
    prefix = f"{pool.name} " if len(snapshot.study.pools) > 1 else ""
    return f"{prefix}trial {trial.index}: {configuration_text(snapshot.study, pool, trial.configuration)}"
