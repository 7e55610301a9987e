"""Turn a study into result rows: from its history where that is known, otherwise from its status alone.

A status has rounded numbers, at most 500 trials and 32 rounds, and neither loads nor memory. A journal has everything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from infpop_operator.analysis.journal_rows import journal_rows
from infpop_operator.analysis.round_subject import pool_status, round_status, shared_fields
from infpop_operator.analysis.rows import CellRow, ResultTable, RoundResultRow, TrialResultRow
from infpop_operator.analysis.status_numbers import to_interval, to_number, to_numbers
from infpop_operator.api.landscapes import described_study, to_landscape
from infpop_operator.api.status_model import Best, PoolStatus, RoundBest, RoundRow, TrialRow
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.landscape import CellState
from infpop_operator.core.model import INTERRUPTED, History
from infpop_operator.core.study import Study

_STATES = {state.value: state for state in CellState}
_Place = tuple[int, int, tuple[tuple[str, str], ...]]


def study_table(found: StudyObject, history: History | None, source: str, notes: Iterable[str] = ()) -> ResultTable:
    """Return the rows of a study.

    Args:
        found: the study with its status.
        history: from its journal, None without one.
        source: where it was read.
        notes: what could not be read, one sentence each.
    """
    study = None if found.document is None else described_study(found.document, found.status)
    if history is not None and history.rounds:
        trials, rounds = journal_rows(found, study, history, source)
    else:
        trials, rounds = _from_status(found, source)
    ended = has_ended(found)
    return ResultTable(
        trials=trials,
        rounds=rounds,
        cells=tuple(_cells(found, study, source)),
        recommended=tuple(_recommended(found.status.best, trials)),
        in_progress=() if ended else (source,),
        notes=(*notes, *_about(found, source, has_trials=bool(trials), ended=ended)),
    )


def has_ended(found: StudyObject) -> bool:
    """Return whether the study has ended, according to its newest spec: it succeeded, or it cannot continue."""
    is_current = found.status.observed_generation == found.generation
    return is_current and (found.holds("Succeeded") or found.holds("Stalled"))


def _recommended(best: Best | None, trials: Iterable[TrialResultRow]) -> Iterator[tuple[str, str, int, int]]:
    """Yield the trial that the study recommends, of all its pools."""
    for row in trials:
        is_there = best is not None and (best.pool, best.round) == (row.pool, row.round)
        if row.is_best and is_there:
            yield (row.source, row.pool, row.round, row.trial)


def _about(found: StudyObject, source: str, *, has_trials: bool, ended: bool) -> Iterator[str]:
    ready = found.condition("Ready")
    if not has_trials:
        yield f"{source}: the study has no trials yet."
    if not ended and ready is not None and ready.reason == INTERRUPTED:
        yield f"{source}: the study was interrupted before its end."
    elif not ended:
        yield f"{source}: the study is in progress; its results may change."


def _cells(found: StudyObject, study: Study | None, source: str) -> Iterator[CellRow]:
    """Yield what the search spaces of the newest rounds have without a trial."""
    for pool in found.status.pools:
        landscape = to_landscape(found.status, pool, study)
        for row in () if landscape is None else landscape.rows:
            for cell in row:
                if cell.state in {CellState.UNTRIED, CellState.RULED_OUT}:
                    yield CellRow(
                        source=source,
                        study=found.name,
                        pool=pool.name,
                        round=pool.round or 1,
                        gpu_count=cell.gpu_count,
                        batch_size=cell.batch_size,
                        extra=dict(cell.extra),
                        state=cell.state,
                        reason=cell.reason,
                        detail=cell.detail,
                    )


def _from_status(found: StudyObject, source: str) -> tuple[tuple[TrialResultRow, ...], tuple[RoundResultRow, ...]]:
    keys = dict.fromkeys((row.pool, row.round) for row in found.status.trials)
    shared = {key: shared_fields(found, source, *key, entry=None) for key in keys}
    bests = {key: _best_of(found, *key) for key in keys}
    trials = tuple(_trial(row, shared[row.pool, row.round], bests[row.pool, row.round]) for row in found.status.trials)
    if found.status.rounds:
        return (trials, tuple(_round(found, row, source) for row in found.status.rounds))
    pools = (pool for pool in found.status.pools if pool.round is not None)
    return (trials, tuple(replace(_round(found, _round_of_pool(pool), source), gpu_hours=None) for pool in pools))


def _round_of_pool(pool: PoolStatus) -> RoundRow:
    """Return the newest round of a pool, from a status of a version that kept no history of rounds."""
    best = pool.best
    return RoundRow(
        pool=pool.name,
        round=pool.round or 1,
        gpu=pool.gpu,
        image=pool.image,
        baseline=pool.baseline,
        best=None if best is None else RoundBest(**best.model_dump(include=set(RoundBest.model_fields))),
        improvement_percent=pool.improvement_percent,
    )


def _best_of(found: StudyObject, pool: str, number: int) -> Best | RoundBest | None:
    newest, row = pool_status(found, pool, number), round_status(found, pool, number)
    if newest is not None and newest.best is not None:
        return newest.best
    if row is not None and row.best is not None:
        return row.best
    best = found.status.best
    return best if best is not None and (best.pool, best.round) == (pool, number) else None


def _place(row: TrialRow | Best | RoundBest) -> _Place:
    return (row.gpu_count, row.batch_size, tuple(sorted((row.extra or {}).items())))


def _trial(row: TrialRow, shared: dict[str, Any], best: Best | RoundBest | None) -> TrialResultRow:
    is_best = best is not None and row.throughput is not None and _place(best) == _place(row)
    return TrialResultRow(
        **shared,
        **_numbers(row) | (to_numbers(best) if is_best and isinstance(best, Best) else {}),
        trial=row.index,
        gpu_count=row.gpu_count,
        batch_size=row.batch_size,
        extra=row.extra or {},
        state=_STATES.get(row.state, CellState.INVALID),  # an unknown state of a newer version cannot be compared
        reason=row.reason,
        detail=row.message or "",
        run=row.run,
        attempts=row.attempts,
        is_best=is_best,
        reused_from=row.reused_from,
    )


def _numbers(row: TrialRow) -> dict[str, Any]:
    return {
        "throughput_tokens_per_second": to_number(row.throughput),
        "at_most_tokens_per_second": to_number(row.throughput_at_most),
        "interval_tokens_per_second": to_interval(row.interval),
        "spread_ratio": to_number(row.spread),
        "measured_seconds": to_number(row.measured_seconds),
        "mode": None if row.throughput is None else (row.mode or "Full").lower(),
        "seconds_per_output_token": to_number(row.seconds_per_output_token),
        "metrics": {name: float(value) for name, value in (row.metrics or {}).items()},
    }


def _round(found: StudyObject, row: RoundRow, source: str) -> RoundResultRow:
    shared = shared_fields(found, source, row.pool, row.round, None)
    before = round_status(found, row.pool, row.round - 1)
    return RoundResultRow(
        **{name: shared[name] for name in ("source", "study", "pool", "round", "model", "engine", "gpu_model")},
        previous_gpu_model=None if before is None else before.gpu,
        reason=row.reason,
        cause=tuple(row.cause or ()),
        opened_at=row.opened_at,
        baseline_tokens_per_second=None if row.baseline is None else to_number(row.baseline.throughput),
        best_tokens_per_second=None if row.best is None else float(row.best.throughput),
        improvement_percent=to_number(row.improvement_percent),
        improvement_interval_percent=to_interval(row.improvement_interval),
        gpu_hours=to_number(row.gpu_hours),
    )
