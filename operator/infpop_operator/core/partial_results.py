"""What a history is once the trials that its live runs have finished so far are counted as ended."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from infpop_operator.core.model import EndedRun, Finished, History
from infpop_runner.contract import RunResult


def with_finished_trials(history: History, partial: Mapping[str, RunResult], now: datetime) -> History:
    """Return the history with the trials that live runs have finished so far.

    Each such run appears as two runs: an ended one with the finished trials, and an active one with the others.

    Args:
        history: to extend.
        partial: the results of live runs so far, by run name.
        now: when they were read.
    """
    ended, active = list(history.ended), []
    for entry in history.active:
        result = partial.get(entry.run.name)
        found = {trial.index for trial in result.trials} if result is not None else set()
        done = tuple(trial for trial in entry.run.trials if trial.index in found)
        left = tuple(trial for trial in entry.run.trials if trial.index not in found)
        if result is not None and done:
            observation = Finished(result=result.model_copy(update={"broken": None}), ended_at=now)
            run = replace(entry.run, trials=done)
            ended.append(EndedRun(run=run, started_at=entry.started_at, observation=observation))
        if left:
            active.append(replace(entry, run=replace(entry.run, trials=left)))
    return replace(history, ended=tuple(ended), active=tuple(active))
