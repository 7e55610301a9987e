"""One instant of a study that is tuned by this process, as the loop hands it on to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from infpop_operator.core.model import Decision, EndedRun, Finished, Observation, Study, Verdict
from infpop_runner.contract import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A study at `now`: what was decided (history included), and what is seen of each live run, by name.

    `earlier`: how many runs had ended when this process took the study up.
    """

    study: Study
    decision: Decision
    observations: Mapping[str, Observation]
    now: datetime
    earlier: int = 0


def with_partial_results(snapshot: Snapshot, partial: Mapping[str, RunResult]) -> Decision:
    """Return the decision with the trials that shared loads have finished, as if each load had been two runs.

    Args:
        snapshot: one instant.
        partial: what live runs have found so far, by run name.
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


def as_taken_up(snapshot: Snapshot) -> Decision:
    """Return a decision whose history is the one that this process found: what ended since then is news to its user."""
    history = replace(snapshot.decision.history, ended=snapshot.decision.history.ended[: snapshot.earlier], active=())
    return replace(snapshot.decision, history=history, verdict=Verdict.RUNNING, reason="Resumed", message="")
