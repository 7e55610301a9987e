"""The course of each study as JSON values: what its trials found, in their order, and how long they took.

A recorded landscape has no course: its cells say neither when nor by which run they were measured.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.landscape import CellState
from infpop_operator.report.html.landscape_json import Json, short
from infpop_operator.report.words import count, number, on_one_line

MOST_TRIALS = 2000  # of one round; more points than a picture can show
MOST_ROUNDS = 200
_LONGEST_DETAIL = 300
_ENDINGS = {CellState.MEASURED: "measured", CellState.RACED_OUT: "slower than the best"}
_TRIED = {CellState.MEASURED, CellState.RACED_OUT, CellState.INFEASIBLE, CellState.INVALID, CellState.BROKEN}


def has_course(rows: Iterable[TrialResultRow]) -> bool:
    """Return whether the rows say anything about when or by which run they were measured."""
    return any(row.run or row.started_at is not None or row.measured_seconds is not None for row in rows)


def courses(rows: Iterable[TrialResultRow]) -> dict[tuple[str, str, str, int], list[TrialResultRow]]:
    """Return the tried trials of each round of a study, in the order in which they ran."""
    groups: dict[tuple[str, str, str, int], list[TrialResultRow]] = {}
    for row in rows:
        if row.state in _TRIED:
            groups.setdefault((row.study, row.source, row.pool, row.round), []).append(row)
    return {key: sorted(found, key=_order) for key, found in sorted(groups.items()) if has_course(found)}


def courses_to_json(groups: dict[tuple[str, str, str, int], list[TrialResultRow]]) -> list[Json]:
    """Return the newest `MOST_ROUNDS` of them as JSON values."""
    return [_to_json(*key, rows) for key, rows in list(groups.items())[-MOST_ROUNDS:]]


def _order(row: TrialResultRow) -> tuple[float, int]:
    return (0.0 if row.started_at is None else row.started_at.timestamp(), row.trial)


def _to_json(study: str, source: str, pool: str, round_: int, rows: Sequence[TrialResultRow]) -> Json:
    shown = rows[:MOST_TRIALS]
    seen: set[str] = set()
    load = []
    for row in shown:  # every trial of a run has the load time of its run: it is shown once
        is_first = not row.run or row.run not in seen
        seen.add(row.run)
        load.append(short(row.load_seconds) if is_first else None)
    return {
        "name": study,
        "source": source,
        "pool": pool,
        "round": round_,
        "device": rows[0].device,
        "sentence": course_sentence(rows),
        "trials": [row.trial for row in shown],
        "gpus": [row.gpu_count for row in shown],
        "batches": [row.batch_size for row in shown],
        "values": [short(row.throughput_tokens_per_second) for row in shown],
        "bounds": [
            short(row.at_most_tokens_per_second) if row.throughput_tokens_per_second is None else None for row in shown
        ],
        "spread": [short(row.spread_ratio) for row in shown],
        "measured": [short(row.measured_seconds) for row in shown],
        "load": load,
        "why": [_why(row) for row in shown],
    }


def _why(row: TrialResultRow) -> str:
    detail = on_one_line(row.detail)[:_LONGEST_DETAIL]
    return ": ".join(part for part in (row.reason or "", detail) if part)


def course_sentence(rows: Sequence[TrialResultRow]) -> str:
    """Return what the picture of a round shows: when its best was found, and how the trials ended."""
    measured = [row for row in rows if row.throughput_tokens_per_second is not None]
    endings = Counter(_ENDINGS.get(row.state) or row.reason or row.state.value for row in rows)
    counted = ", ".join(f"{amount} {on_one_line(name)}" for name, amount in endings.most_common())
    if not measured:
        return f"None of {count(len(rows), 'trial')} gave a number: {counted}."
    top = max(measured, key=lambda row: row.throughput_tokens_per_second or 0.0)
    place = next(place for place, row in enumerate(rows) if row is top) + 1
    return (
        f"The fastest configuration, {count(top.gpu_count, top.device)} with batch size {top.batch_size} "
        f"({number(top.throughput_tokens_per_second or 0.0)} tokens/s), was trial {place} of {len(rows)}: {counted}."
        + (f" The first {MOST_TRIALS} are shown." if len(rows) > MOST_TRIALS else "")
    )
