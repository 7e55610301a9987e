"""Find the engine loads that fail in every attempt, and set them aside while another load can work.

A load (`Configuration.load_key`) fails if its run breaks before the engine was loaded, as far as is known. Such a
failure may be permanent although no rule knows its text, so the study neither repeats it for each batch size nor lets
it use up the failure budget of the other loads. Until one was loaded, only the first failure of each GPU count is free.
Where every load fails, nothing is set aside: the failure budget ends the study.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infpop_operator.core.comparability import INCOMPARABLE
from infpop_operator.core.counting import counting_trials
from infpop_operator.core.decision import SetAside
from infpop_operator.core.history import (
    RETRIES_PER_TRIAL,
    broken_reason,
    current_round,
    failures,
    known_model_facts,
    own_runs_of,
    trials_of,
)
from infpop_operator.core.model import DELETED, EndedRun, Finished, History, Lost, Round, Trial, TrialState
from infpop_operator.core.prior import inherited, is_inherited
from infpop_operator.core.scope import baseline_of, own_trials
from infpop_operator.core.space import cells, ruled_out
from infpop_operator.core.study import Configuration, Pool, Scalar, Study
from infpop_runner.contract import Infeasible

LOAD_FAILS = "LoadFails"
LoadKey = tuple[int, tuple[tuple[str, Scalar], ...]]
# What a run needs whatever its GPU count is: if that is missing, the load is not the reason.
_SAME_FOR_ALL = frozenset(
    {
        DELETED,
        "ImagePull",
        "InvalidContainerConfig",
        "MissingSecret",
        "ModelUnavailable",
        "MountFailed",
        "StorageUnavailable",
        "WorkloadUnavailable",
    }
)
_MEMORY = re.compile(r"out.?of.?memory|\bOOM|MemoryError|cannot allocate memory", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOutlook:
    """What the runs of a round say about its engine loads.

    Args:
        any_loaded: an engine was loaded in this round.
        failed: the failed runs of each load that never succeeded, since its last answer, oldest first.
        alive: the loads that work, or may work; only known if one has failed.
        aside: the loads among them that are not tried again in this round.
        free: the failed runs that use no failure budget.
    """

    any_loaded: bool
    failed: Mapping[LoadKey, tuple[EndedRun, ...]]
    alive: frozenset[LoadKey] = frozenset()
    aside: frozenset[LoadKey] = frozenset()
    free: tuple[EndedRun, ...] = ()

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """The loads that are not tried again, each with its cause."""
        return tuple(_set_aside(key, runs) for key, runs in self.failed.items() if key in self.aside)

    @property
    def failed_configurations(self) -> frozenset[Configuration]:
        """The configurations of the runs that failed."""
        runs = (entry.run for entries in self.failed.values() for entry in entries)
        return frozenset(planned.configuration for run in runs for planned in run.trials)


def load_outlook(study: Study, pool: Pool, newest: Round, history: History) -> LoadOutlook:
    """Return what the runs of the newest round of `pool` say about its engine loads."""
    ended = tuple(own_runs_of(history.ended, newest))
    loaded = {_key(entry) for entry in ended if has_loaded(entry)}
    counted = {entry.run.name for entry in failures(history)}
    failed: dict[LoadKey, tuple[EndedRun, ...]] = {}
    for entry in ended:
        key = _key(entry)
        if entry.run.name in counted and key not in loaded and _is_about_load(entry):
            failed[key] = (*failed.get(key, ()), entry)
        elif _has_answered(entry):
            failed.pop(key, None)
    if not failed:
        return LoadOutlook(any_loaded=bool(loaded), failed={})
    possible = _possible(study, pool, newest, history)
    smallest = smallest_of_each(possible)
    hopeless = {key for key, runs in failed.items() if _always_fails(runs, smallest.get(key))}
    alive = loaded | {cell.load_key for cell in possible} - hopeless
    if loaded:
        free = tuple(entry for key, runs in failed.items() for entry in runs if key in hopeless or _is_reported(entry))
    else:
        goes_on = bool(alive - failed.keys()) and _may_try_more(study, pool, newest, history)
        free = _first_of_each_count(failed) if goes_on else ()
    return LoadOutlook(
        any_loaded=bool(loaded),
        failed=failed,
        alive=frozenset(alive),
        aside=frozenset(hopeless if alive else ()),
        free=free,
    )


def free_failures(study: Study, history: History) -> frozenset[str]:
    """Return the names of the failed runs that use no failure budget, because their load is the cause."""
    free: set[str] = set()
    for pool in study.pools:
        newest = current_round(history, pool.name)
        if newest is not None:
            free |= {entry.run.name for entry in load_outlook(study, pool, newest, history).free}
    return frozenset(free)


def has_loaded(ended: EndedRun) -> bool:
    """Return whether the engine of a run was loaded."""
    match ended.observation:
        case Lost(reason=reason):
            return reason in INCOMPARABLE
        case Finished(result=result):
            return result.load_seconds is not None or any(not isinstance(each, Infeasible) for each in result.trials)


def smallest_of_each(possible: Iterable[Configuration]) -> Mapping[LoadKey, Configuration]:
    """Return the cell of each load with the smallest batch: if that does not load, no cell of it does."""
    smallest: dict[LoadKey, Configuration] = {}
    for cell in possible:
        key = cell.load_key
        if key not in smallest or cell.batch_size < smallest[key].batch_size:
            smallest[key] = cell
    return smallest


def above_memory(trials: Iterable[Trial], candidates: Iterable[Configuration]) -> frozenset[Configuration]:
    """Return the cells with a larger batch than one that broke in every attempt, if its cause names memory.

    Any other cause says nothing about another batch size.
    """
    given_up = smallest_of_each(
        trial.configuration
        for trial in trials
        if trial.state is TrialState.BROKEN and trial.failures > RETRIES_PER_TRIAL and _names_memory(trial)
    )
    bounds = ((cell, given_up.get(cell.load_key)) for cell in candidates)
    return frozenset(cell for cell, tried in bounds if tried is not None and cell.batch_size > tried.batch_size)


def _names_memory(trial: Trial) -> bool:
    return _MEMORY.search(f"{trial.reason} {trial.detail}") is not None


def _key(ended: EndedRun) -> LoadKey:
    return ended.run.trials[0].configuration.load_key


def _has_answered(ended: EndedRun) -> bool:
    """Return whether the run has a result of a trial: a refusal says as much as a number."""
    return isinstance(ended.observation, Finished) and bool(ended.observation.result.trials)


def _first_of_each_count(failed: Mapping[LoadKey, tuple[EndedRun, ...]]) -> tuple[EndedRun, ...]:
    """Return the first failure of each GPU count that its runner reported: the next run tries another GPU count."""
    first: dict[int, EndedRun] = {}
    for (gpu_count, _), runs in failed.items():
        for entry in filter(_is_reported, runs):
            first.setdefault(gpu_count, entry)
    return tuple(first.values())


def _may_try_more(study: Study, pool: Pool, newest: Round, history: History) -> bool:
    """Return whether the trial budget of the round allows another configuration."""
    return len(own_trials(counting_trials(study, pool, history, newest))) < study.budget.max_trials


def _is_reported(ended: EndedRun) -> bool:
    return isinstance(ended.observation, Finished)


def _is_about_load(ended: EndedRun) -> bool:
    return (broken_reason(ended) or ("", ""))[0] not in _SAME_FOR_ALL


def _possible(study: Study, pool: Pool, newest: Round, history: History) -> tuple[Configuration, ...]:
    """Return the cells of the round that may have a number: those that are not known to be impossible."""
    trials, baseline = trials_of(history, newest.pool, newest.number), baseline_of(study, newest)
    wanted = dict.fromkeys((*cells(study.space), *(() if baseline is None else (baseline,))))
    closed = set(ruled_out(study, pool, trials, known_model_facts(history), also=tuple(wanted)))
    closed |= {trial.configuration for trial in trials if trial.state is TrialState.INFEASIBLE}
    without_memory, limit = inherited(pool, history, newest), study.budget.max_concurrent_gpus
    return tuple(
        cell
        for cell in wanted
        if cell.gpu_count <= limit and cell not in closed and not is_inherited(without_memory, cell)
    )


def _always_fails(runs: tuple[EndedRun, ...], smallest: Configuration | None) -> bool:
    """Return whether a load has failed as often as a trial may, with its smallest batch too."""
    tried = {planned.configuration for entry in runs for planned in entry.run.trials}
    return len(runs) > RETRIES_PER_TRIAL and (smallest is None or smallest in tried)


def _set_aside(key: LoadKey, runs: tuple[EndedRun, ...]) -> SetAside:
    reason, detail = broken_reason(runs[-1]) or ("", "")
    cause = f"{reason}: {detail}" if detail else reason
    return SetAside(gpu_count=key[0], extra=key[1], reason=LOAD_FAILS, detail=cause, attempts=len(runs))
