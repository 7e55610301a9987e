"""Derive trials, spent budget and known facts from a study's history. Nothing derived here is stored."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from infpop_operator.core.model import (
    INTERRUPTED,
    QUEUED,
    EndedRun,
    Finished,
    History,
    Lost,
    PlannedTrial,
    Round,
    Run,
    StartedRun,
    Trial,
    TrialState,
)
from infpop_runner.contract import Infeasible, Invalid, Measured, ModelFacts, TrialResult

_Entry = TypeVar("_Entry", EndedRun, StartedRun)


def current_round(history: History, pool: str) -> Round | None:
    """Return the newest round of `pool`, None when it has none."""
    return next((entry for entry in reversed(history.rounds) if entry.pool == pool), None)


def trials_of(history: History, pool: str, round_number: int) -> tuple[Trial, ...]:
    """Return the trials of one round in index order, each with its last result.

    A planned trial that its run did not reach because a smaller batch ran out of memory is left out: it used nothing,
    and the out-of-memory result already rules it out. This also applies if an earlier run of that trial broke. If a
    result omits any other trial without a reason, the run counts as broken.
    """
    trials: dict[int, Trial] = {}
    for ended in history.ended:
        if (ended.run.pool, ended.run.round) == (pool, round_number):
            for planned in ended.run.trials:
                trial = _after_run(trials.get(planned.index), ended, planned)
                if trial is None:
                    trials.pop(planned.index, None)
                else:
                    trials[planned.index] = trial
    for started in history.active:
        if (started.run.pool, started.run.round) == (pool, round_number):
            for planned in started.run.trials:
                trials[planned.index] = _while_running(trials.get(planned.index), started.run, planned)
    return tuple(trials[index] for index in sorted(trials))


def next_index(history: History, pool: str, round_number: int) -> int:
    """Return the first trial index that no run of the round has used."""
    runs = [*(entry.run for entry in history.ended), *(entry.run for entry in history.active)]
    used = [trial.index for run in runs if (run.pool, run.round) == (pool, round_number) for trial in run.trials]
    return max(used, default=-1) + 1


def failures(history: History) -> tuple[EndedRun, ...]:
    """Return the broken runs that use the failure budget, in the order in which they ended.

    Each round has its own failure budget, so failures before the study or the machine was fixed no longer count.
    """
    newest = {entry.pool: entry.number for entry in history.rounds}
    current = (ended for ended in history.ended if ended.run.round >= newest.get(ended.run.pool, 0))
    return tuple(ended for ended in current if broken_reason(ended) is not None and _counts(ended))


def gpu_seconds(history: History, now: datetime) -> float:
    """Return the device-seconds used by all ended runs and, up to `now`, by live runs."""
    return sum(entry.gpu_seconds for entry in history.ended) + sum(_gpu_seconds(live, now) for live in history.active)


def _gpu_seconds(live: StartedRun, now: datetime) -> float:
    if live.held_since is None:
        return 0.0
    return max(0.0, (now - live.held_since).total_seconds()) * live.run.gpu_count


def known_model_facts(history: History) -> ModelFacts | None:
    """Return the model facts from the newest run of a current round; older rounds may have had another model."""
    newest = {entry.pool: entry.number for entry in history.rounds}
    current = (entry for entry in reversed(history.ended) if newest.get(entry.run.pool) == entry.run.round)
    results = (entry.observation.result for entry in current if isinstance(entry.observation, Finished))
    return next((result.model for result in results if result.model is not None), None)


def missing_trials(ended: EndedRun) -> tuple[PlannedTrial, ...]:
    """Return the trials of a broken run that have no result; empty for a run that ended normally."""
    if broken_reason(ended) is None:
        return ()
    done = {result.index for result in results_of(ended)}
    return tuple(trial for trial in ended.run.trials if trial.index not in done)


def suspect(ended: EndedRun) -> PlannedTrial | None:
    """Return the trial during which a broken run died; None if it died before or while loading, or was stopped."""
    observation = ended.observation
    if not isinstance(observation, Finished) or observation.result.load_seconds is None:
        return None
    missing = missing_trials(ended)
    if not missing or (observation.result.broken is not None and observation.result.broken.reason == "Stopped"):
        return None
    return min(missing, key=lambda trial: trial.configuration.batch_size)


def _after_run(before: Trial | None, ended: EndedRun, planned: PlannedTrial) -> Trial | None:
    result = next((result for result in results_of(ended) if result.index == planned.index), None)
    if result is not None:
        return _with_result(before, ended, planned, result)
    reason = broken_reason(ended)
    if reason is None:
        return None
    trial = _while_running(before, ended.run, planned)
    failures = trial.failures + _is_blamed(ended, planned)
    return replace(trial, state=TrialState.BROKEN, failures=failures, reason=reason[0], detail=reason[1])


def _with_result(before: Trial | None, ended: EndedRun, planned: PlannedTrial, result: TrialResult) -> Trial:
    state, reason, detail = _state_of(result)
    trial = _while_running(before, ended.run, planned)
    found = ended.observation if isinstance(ended.observation, Finished) else None
    return replace(
        trial,
        state=state,
        invalid_results=trial.invalid_results + (state is TrialState.INVALID),
        result=result,
        source=found.sources.get(planned.index) if found is not None else None,
        extra_metrics=found.extra_metrics.get(planned.index, {}) if found is not None else {},
        reason=reason,
        detail=detail,
    )


def _state_of(result: TrialResult) -> tuple[TrialState, str | None, str]:
    match result:
        case Measured():
            return (TrialState.MEASURED, None, "")
        case Infeasible():
            return (TrialState.INFEASIBLE, result.reason, result.detail)
        case Invalid():
            return (TrialState.INVALID, result.reason, result.detail)


def _while_running(before: Trial | None, run: Run, planned: PlannedTrial) -> Trial:
    return Trial(
        pool=run.pool,
        round=run.round,
        index=planned.index,
        configuration=planned.configuration,
        state=TrialState.RUNNING,
        run=run.name,
        attempts=(before.attempts if before else 0) + 1,
        failures=before.failures if before else 0,
        invalid_results=before.invalid_results if before else 0,
    )


def _vanished(ended: EndedRun) -> tuple[PlannedTrial, ...]:
    """Return the trials that a result omits although no smaller batch ran out of memory: a mistake of the runner."""
    results = results_of(ended)
    too_large = [entry.batch_size for entry in results if isinstance(entry, Infeasible) and _is_memory(entry)]
    smallest = min(too_large, default=None)
    done = {entry.index for entry in results}
    lacking = (planned for planned in ended.run.trials if planned.index not in done)
    return tuple(planned for planned in lacking if smallest is None or planned.configuration.batch_size <= smallest)


def _is_memory(result: Infeasible) -> bool:
    return result.reason == "GpuOutOfMemory"


def results_of(ended: EndedRun) -> tuple[TrialResult, ...]:
    """Return the results of the trials of a run, none if it was lost."""
    return ended.observation.result.trials if isinstance(ended.observation, Finished) else ()


def broken_reason(ended: EndedRun) -> tuple[str, str] | None:
    """Return the reason and the detail of a broken run, None for a run that ended normally."""
    match ended.observation:
        case Lost(reason=reason, detail=detail):
            return (reason, detail)
        case Finished(result=result) if result.broken is not None:
            return (result.broken.reason, result.broken.detail)
        case Finished() if vanished := _vanished(ended):
            indexes = ", ".join(str(planned.index) for planned in vanished)
            return ("RunnerError", f"the result omits trials {indexes} without a reason")
        case Finished():
            return None


def _is_blamed(ended: EndedRun, planned: PlannedTrial) -> bool:
    return _counts(ended) and suspect(ended) in (None, planned)


def _counts(ended: EndedRun) -> bool:
    if ended.stopped is not None:
        return False
    match ended.observation:
        case Lost(counts=counts):
            return counts
        case Finished(result=result):
            broken = result.broken.reason if result.broken is not None else None
            return broken != "Stopped" and broken_reason(ended) is not None


def active_gpus(active: tuple[StartedRun, ...]) -> int:
    """Return the devices that live runs hold."""
    return sum(entry.run.gpu_count for entry in active)


def broken_runs_in_a_row(history: History, pool: str) -> Iterator[EndedRun]:
    """Yield the ended runs of `pool`, newest first, up to the first that did not break or that was stopped.

    A run that found no devices is left out: `core.placement` says when its GPU count is tried again.
    """
    for ended in reversed(history.ended):
        if ended.run.pool != pool:
            continue
        if is_unplaced(ended):
            continue
        if broken_reason(ended) is None or was_asked_to_stop(ended):
            return
        yield ended


def was_asked_to_stop(ended: EndedRun) -> bool:
    """Return whether the user or the study no longer wanted the run; not so if it was stopped to leave its queue."""
    if ended.stopped == QUEUED and never_held(ended):
        return False
    match ended.observation:
        case Lost(reason=reason):
            return ended.stopped is not None or reason == INTERRUPTED
        case Finished(result=result):
            return ended.stopped is not None or (result.broken is not None and result.broken.reason == "Stopped")


def never_held(ended: EndedRun) -> bool:
    """Return whether the run ended without having held a device; a journal of an earlier version does not say so."""
    return ended.held_since is not None and ended.held_since >= ended.observation.ended_at


def is_unplaced(ended: EndedRun) -> bool:
    """Return whether the run was lost because there were no devices for it: no fault of the study or of the run."""
    lost = isinstance(ended.observation, Lost) and not ended.observation.counts
    return lost and never_held(ended) and not was_asked_to_stop(ended)


def runs_of(entries: Iterable[_Entry], newest: Round) -> Iterator[_Entry]:
    """Return the entries of the runs of one round, in their order."""
    return (entry for entry in entries if (entry.run.pool, entry.run.round) == (newest.pool, newest.number))
