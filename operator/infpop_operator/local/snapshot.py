"""A snapshot of a study that this process tunes; the loop passes it on for display."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.model import Observation
from infpop_operator.core.partial_results import with_finished_trials
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

    Args:
        snapshot: the snapshot to extend.
        partial: the results of live runs so far, by run name.
    """
    history = with_finished_trials(snapshot.decision.history, partial, snapshot.now)
    return replace(snapshot.decision, history=history)


def as_resumed(snapshot: Snapshot) -> Decision:
    """Return a decision with the history that this process resumed from, without the runs that ended since then."""
    history = replace(snapshot.decision.history, ended=snapshot.decision.history.ended[: snapshot.earlier], active=())
    return replace(snapshot.decision, history=history, verdict=Verdict.RUNNING, reason="Resumed", message="")
