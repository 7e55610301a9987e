"""A snapshot of a study that this process tunes; the loop passes it on for display."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from infpop_operator.core.model import Decision, EndedRun, Finished, Observation, Verdict
from infpop_operator.core.study import Study
from infpop_runner.contract import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a study at `now`: the decision with its history, and the observation of each live run, by name.

    `earlier` is how many runs had ended before this process resumed the study.
    """

    study: Study
    decision: Decision
    observations: Mapping[str, Observation]
    now: datetime
    earlier: int = 0


def with_partial_results(snapshot: Snapshot, partial: Mapping[str, RunResult]) -> Decision:
    """Return the decision with the trials that live runs with shared loads have finished so far.

    Each such run appears as two runs: an ended one with the finished trials, and an active one with the others.

    Args:
        snapshot: the snapshot to extend.
        partial: the results of live runs so far, by run name.
    """
    history = snapshot.decision.history
    ended, active = list(history.ended), []
    for entry in history.active:
        result = partial.get(entry.run.name)
        found = {trial.index for trial in result.trials} if result is not None else set()
        done = tuple(trial for trial in entry.run.trials if trial.index in found)
        left = tuple(trial for trial in entry.run.trials if trial.index not in found)
        if result is not None and done:
            observation = Finished(result=result.model_copy(update={"broken": None}), ended_at=snapshot.now)
            run = replace(entry.run, trials=done)
            ended.append(EndedRun(run=run, started_at=entry.started_at, observation=observation))
        if left:
            active.append(replace(entry, run=replace(entry.run, trials=left)))
    return replace(snapshot.decision, history=replace(history, ended=tuple(ended), active=tuple(active)))


def as_resumed(snapshot: Snapshot) -> Decision:
    """Return a decision with the history that this process resumed from, without the runs that ended since then."""
    history = replace(snapshot.decision.history, ended=snapshot.decision.history.ended[: snapshot.earlier], active=())
    return replace(snapshot.decision, history=history, verdict=Verdict.RUNNING, reason="Resumed", message="")
