"""Take over what other studies of the namespace measured under the same measurement identity.

A study with `reuse: SameIdentity` asks for the cells of its open rounds that have no trial yet. It takes over valid
results and infeasible configurations, never broken or invalid ones, and waits for no run of another study. A result is
recorded in the study's own journal once, with the study and the run that measured it, so it outlives both.

The identity is built from names, as in `core.comparability`. So the results that a round takes over must match its own
in every recorded fact, and one another as long as it has none. An own result that contradicts them later wins.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from infpop_operator.core.comparability import is_comparable, is_other_gpu, settled_provenances
from infpop_operator.core.fingerprint import measurement_identity, reused_run_name
from infpop_operator.core.history import current_round, next_index, runs_of
from infpop_operator.core.model import REQUESTED, EndedRun, Finished, History, Origin, PlannedTrial, Round, Run
from infpop_operator.core.plan import wanted_cells
from infpop_operator.core.retune import retune
from infpop_operator.core.study import Pool, Study
from infpop_runner.contract import Infeasible, Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """A run with results that this study may use, with the measurement identity that they belong to.

    `origin` is the study that made the run: another one than that whose journal has it, if that one took it over.
    `trials` are the trials whose result says something about their configuration.
    """

    identity: str
    origin: Origin
    run: Run
    finished: Finished
    trials: tuple[PlannedTrial, ...]


def shared_runs(study: str, history: History, identities: Container[str]) -> Iterator[SharedRun]:
    """Yield the runs of a study that have results under one of these measurement identities.

    Of several rounds of a pool with the same identity, only the newest one counts: its user asked for new numbers.

    Args:
        study: the name of the study.
        history: its history.
        identities: the wanted measurement identities.
    """
    newest = {(entry.pool, entry.identity): entry for entry in history.rounds if entry.identity in identities}
    for entry in newest.values():
        for ended in runs_of(history.ended, entry):
            if isinstance(ended.observation, Finished) and (trials := _usable(ended.run, ended.observation)):
                yield SharedRun(
                    identity=entry.identity,
                    origin=ended.reused_from or Origin(study=study, run=ended.run.name),
                    run=ended.run,
                    finished=ended.observation,
                    trials=trials,
                )


def _usable(run: Run, finished: Finished) -> tuple[PlannedTrial, ...]:
    done = {result.index for result in finished.result.trials if isinstance(result, Measured | Infeasible)}
    return tuple(planned for planned in run.trials if planned.index in done)


def wanted_identities(study: Study, history: History, now: datetime) -> frozenset[str]:
    """Return the measurement identities under which the study can use results of others now; usually none.

    They are those of the rounds that the next decision finds or opens. A round that is not opened yet, because changed
    hardware has to last, wants nothing.
    """
    if study.reuse == "Never" or study.suspended:
        return frozenset()
    opened = retune(study, history, now).history
    return frozenset(
        newest.identity
        for pool in study.pools
        if (newest := current_round(opened, pool.name)) is not None
        and newest.identity == measurement_identity(study, pool)
        and newest.trigger != REQUESTED
        and wanted_cells(study, pool, opened)
    )


def take_over(study: Study, history: History, shared: Iterable[SharedRun], now: datetime) -> History:
    """Return the history with what the study takes over; it takes each cell of a round over once.

    Args:
        study: the study.
        history: its history, with a round for each of its pools.
        shared: what others measured, in any order.
        now: the current time.
    """
    found = [each for each in shared if each.origin.study != study.name]
    if not found or study.reuse == "Never" or study.suspended:
        return history
    for pool in study.pools:
        newest = current_round(history, pool.name)
        if newest is None or newest.trigger == REQUESTED:
            continue  # its user asked for new numbers
        for each in _choose(study, pool, history, [each for each in found if each.identity == newest.identity]):
            ended = _reused(study, newest, each, next_index(history, pool.name, newest.number), now)
            history = replace(history, ended=(*history.ended, ended))
    return history


def _choose(study: Study, pool: Pool, history: History, usable: list[SharedRun]) -> Iterator[SharedRun]:
    """Yield the runs to take over, oldest first, with only the trials to take; the newest number of a cell wins."""
    newest = current_round(history, pool.name)
    if newest is None or not usable:
        return
    left = wanted_cells(study, pool, history)
    known = settled_provenances(tuple(runs_of(history.ended, newest)))
    chosen: list[SharedRun] = []
    for each in sorted(usable, key=_by_age, reverse=True):
        provenance = each.finished.result.provenance
        trials = tuple(planned for planned in each.trials if planned.configuration in left)
        if trials and is_comparable(provenance, known) and not is_other_gpu(provenance, newest.hardware):
            known, left = (*known, provenance), left.difference(planned.configuration for planned in trials)
            chosen.append(replace(each, trials=trials))
    yield from reversed(chosen)


def _by_age(shared: SharedRun) -> tuple[datetime, str, str]:
    return (shared.finished.ended_at, shared.origin.study, shared.origin.run)


def _reused(study: Study, newest: Round, shared: SharedRun, first_index: int, now: datetime) -> EndedRun:
    """Return a run of another study as one of this round, with new indexes and without what it cost."""
    index_of = {planned.index: index for index, planned in enumerate(shared.trials, first_index)}
    finished = _renumbered(shared.finished, index_of)
    name = reused_run_name(
        study, pool=newest.pool, round_number=newest.number, origin=shared.origin, first_index=first_index
    )
    run = Run(
        name=name,
        pool=newest.pool,
        round=newest.number,
        attempt=1,
        trials=tuple(replace(planned, index=index_of[planned.index]) for planned in shared.trials),
        longer=shared.run.longer,
    )
    return EndedRun(
        run=run, started_at=now, held_since=finished.ended_at, observation=finished, reused_from=shared.origin
    )


def _renumbered(finished: Finished, index_of: Mapping[int, int]) -> Finished:
    """Return the end of a run with only some of its trials, under other indexes."""
    kept = (each for each in finished.result.trials if each.index in index_of)
    trials = tuple(each.model_copy(update={"index": index_of[each.index]}) for each in kept)
    return Finished(
        result=finished.result.model_copy(update={"trials": trials, "broken": None, "held_seconds": None}),
        ended_at=finished.ended_at,
        sources={index_of[index]: source for index, source in finished.sources.items() if index in index_of},
        extra_metrics={index_of[index]: found for index, found in finished.extra_metrics.items() if index in index_of},
    )
