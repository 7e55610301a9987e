"""Derive trials, spent budget and known facts from a study's history. Nothing derived here is stored."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

from infpop_operator.core.comparability import contradicted
from infpop_operator.core.load_memory import OUT_OF_MEMORY
from infpop_operator.core.model import (
    DELETED,
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
from infpop_operator.core.numbering import trial_number
from infpop_runner.contract import Infeasible, Invalid, Measured, ModelFacts, RacedOut, Skipped, TrialResult

RETRIES_AFTER_DELETION = 1  # a user who deletes a run twice does not want it
RETRIES_PER_TRIAL = 2  # a flaky node costs one retry; a configuration that kills three engines gets no fourth
# How a configuration ends its own engine; any other reason of a broken run may be that of its node.
OF_ITS_ENGINE = frozenset({"EngineCrash", "HostOutOfMemory", "LoadTimeout", "MeasureTimeout"})
_Entry = TypeVar("_Entry", EndedRun, StartedRun)


def current_round(history: History, pool: str) -> Round | None:
    """Return the newest round of `pool`, None when it has none."""
    return next((entry for entry in reversed(history.rounds) if entry.pool == pool), None)


def round_of(history: History, run: Run) -> Round | None:
    """Return the round of a run, None if the history has none."""
    return next((entry for entry in history.rounds if (entry.pool, entry.number) == (run.pool, run.round)), None)


def trials_of(history: History, pool: str, round_number: int) -> tuple[Trial, ...]:
    """Return the trials of one round in index order, each with its last result.

    A planned trial that its run did not reach because a smaller batch ran out of memory is left out: it used nothing,
    and the out-of-memory result already rules it out. This also applies if an earlier run of that trial broke. One that
    its run skipped is left out too: its configuration is open. So is one that was not certain to be measured, if its
    run broke on the way to it. If a result omits any other trial without a reason, the run counts as broken.

    A raced-out trial is left out as well once its configuration has a newer trial, because it was opened again.

    The results of a run that confirms belong to no trial. A reused trial that the round's own results contradict is
    left out: its configuration is measured.
    """
    trials: dict[int, Trial] = {}
    runs = [entry for entry in history.ended if (entry.run.pool, entry.run.round) == (pool, round_number)]
    left_out = contradicted(runs)
    for ended in (entry for entry in runs if not entry.run.confirms):
        if ended.run.name in left_out:
            continue
        for planned in ended.run.trials:
            trial = _after_run(trials.get(planned.index), ended, planned)
            if trial is None:
                trials.pop(planned.index, None)
            else:
                trials[planned.index] = trial
    for started in history.active:
        if (started.run.pool, started.run.round) == (pool, round_number) and not started.run.confirms:
            for planned in started.run.trials:
                trials[planned.index] = _while_running(trials.get(planned.index), started.run, planned)
    return _newest_of_raced(trials[index] for index in sorted(trials))


def _newest_of_raced(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the trials without the raced-out ones whose configuration has a newer trial."""
    known = tuple(trials)
    newest = {trial.configuration: trial.index for trial in known}
    return tuple(
        trial
        for trial in known
        if trial.state is not TrialState.RACED_OUT or newest[trial.configuration] == trial.index
    )


def next_index(history: History, pool: str, round_number: int) -> int:
    """Return the first trial index that no run of the round has used."""
    runs = [*(entry.run for entry in history.ended), *(entry.run for entry in history.active)]
    used = [trial.index for run in runs if (run.pool, run.round) == (pool, round_number) for trial in run.trials]
    return max(used, default=-1) + 1


def searches_of(history: History, entry: Round) -> int:
    """Return how many runs of a round its search has chosen: without retries, and without those that confirm."""
    ended, active = runs_of(history.ended, entry), runs_of(history.active, entry)
    runs = (*(each.run for each in ended), *(each.run for each in active))
    return len({run.name for run in runs if run.attempt == 1 and not run.confirms})


def failures(history: History) -> tuple[EndedRun, ...]:
    """Return the broken runs that use the failure budget, in the order in which they ended.

    Each round has its own failure budget, and so has a round that is resumed: failures before the study or the machine
    was fixed no longer count.
    """
    newest = {entry.pool: entry for entry in history.rounds}
    before = frozenset[str]().union(*(ended_before_return(history, entry) for entry in newest.values()))
    current = (
        ended
        for ended in history.ended
        if ended.run.name not in before
        and (ended.run.pool not in newest or ended.run.round == newest[ended.run.pool].number)
    )
    return tuple(ended for ended in current if broken_reason(ended) is not None and counts_as_failure(ended))


def ended_before_return(history: History, entry: Round) -> frozenset[str]:
    """Return the names of the runs that ended before their round was last resumed: its pool's nodes changed since.

    They are counted, because a clock that is wrong, or set meanwhile, would put later runs before the return.
    """
    return frozenset(ended.run.name for ended in islice(runs_of(history.ended, entry), entry.runs_before_return))


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
    """Return the trials of a broken run that it owes; empty for a run that ended normally."""
    return () if broken_reason(ended) is None else _owed(ended)


def retries_after(reason: str | None) -> int:
    """Return how often a trial is tried again that broke for `reason`."""
    return RETRIES_AFTER_DELETION if reason == DELETED else RETRIES_PER_TRIAL


def suspect(ended: EndedRun) -> PlannedTrial | None:
    """Return the trial during which a broken run died; None if it died before or while loading, or was stopped."""
    observation = ended.observation
    if not isinstance(observation, Finished) or observation.result.load_seconds is None:
        return None
    missing = missing_trials(ended)
    if not missing or (observation.result.broken is not None and observation.result.broken.reason == "Stopped"):
        return None
    return next(trial for trial in ended.run.sequence if trial in missing)


def _after_run(before: Trial | None, ended: EndedRun, planned: PlannedTrial) -> Trial | None:
    result = next((result for result in results_of(ended) if result.index == planned.index), None)
    if isinstance(result, Skipped):
        return None
    if result is not None:
        return _with_result(before, ended, planned, result)
    reason = broken_reason(ended)
    if reason is None or planned not in _owed(ended) or _was_uncertain(ended, planned):
        return None
    trial = _while_running(before, ended.run, planned)
    failures = trial.failures + _is_blamed(ended, planned)
    return replace(trial, state=TrialState.BROKEN, failures=failures, reason=reason[0], detail=reason[1])


def _with_result(
    before: Trial | None, ended: EndedRun, planned: PlannedTrial, result: Measured | Infeasible | RacedOut | Invalid
) -> Trial:
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
        reused_from=ended.reused_from,
    )


def _state_of(result: Measured | Infeasible | RacedOut | Invalid) -> tuple[TrialState, str | None, str]:
    match result:
        case Measured():
            return (TrialState.MEASURED, None, "")
        case RacedOut():
            return (TrialState.RACED_OUT, None, "")
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


def _was_uncertain(ended: EndedRun, planned: PlannedTrial) -> bool:
    """Return whether a broken run might have skipped a trial that it did not come to.

    Not so if it did not come to any trial: then it is tried again as a whole.
    """
    if planned.needs_tokens_per_second is None:
        return False
    died_on = suspect(ended)
    return died_on != planned and (died_on is not None or bool(results_of(ended)))


def _owed(ended: EndedRun) -> tuple[PlannedTrial, ...]:
    """Return the trials of a run without a result, but none that a smaller batch has decided.

    A runner leaves out what is larger than a batch that ran out of memory, whichever came first.
    """
    results = results_of(ended)
    too_large = (
        entry.batch_size for entry in results if isinstance(entry, Infeasible) and entry.reason == OUT_OF_MEMORY
    )
    smallest = min(too_large, default=None)
    done = {entry.index for entry in results}
    lacking = (planned for planned in ended.run.trials if planned.index not in done)
    return tuple(planned for planned in lacking if smallest is None or planned.configuration.batch_size <= smallest)


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
        case Finished() if vanished := _owed(ended):  # a mistake of the runner
            numbers = ", ".join(str(trial_number(planned.index)) for planned in vanished)
            return ("RunnerError", f"the result omits trials {numbers} without a reason")
        case Finished():
            return None


def _is_blamed(ended: EndedRun, planned: PlannedTrial) -> bool:
    return counts_as_failure(ended) and suspect(ended) in (None, planned)


def counts_as_failure(ended: EndedRun) -> bool:
    """Return whether a broken run uses the failure budget: not if the study did not cause its loss, or stopped it."""
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

    A run that found no devices is left out: `core.placement` says when its GPU count is tried again. So is a run of
    another study, which says nothing about the infrastructure of this one.
    """
    for ended in reversed(history.ended):
        if ended.run.pool != pool or ended.reused_from is not None:
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


def own_runs_of(entries: Iterable[EndedRun], newest: Round) -> Iterator[EndedRun]:
    """Return the ended runs of one round that this study made, in their order."""
    return (entry for entry in runs_of(entries, newest) if entry.reused_from is None)
