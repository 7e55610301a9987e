"""What a page says of rounds: what changed on a pool, why its newest round began, and the history of all rounds."""

from collections.abc import Iterator

from infpop_operator.api.staleness import next_step
from infpop_operator.api.status_model import Baseline, PoolChange, PoolStatus, RoundRow
from infpop_operator.api.status_rounds import BASELINE_INFEASIBLE
from infpop_operator.report.picture import Notice
from infpop_operator.report.shown_study import ShownStudy
from infpop_operator.report.status_page import RoundLine
from infpop_operator.report.words import count, duration, number, on_one_line, reused_phrase

_CHANGED = {"HardwareChanged": "Its hardware changed", "SpecChanged": "The spec changed"}
_BECAUSE = {"HardwareChanged": "other hardware", "SpecChanged": "another spec", "Requested": "a request"}


def round_notices(shown: ShownStudy, pool: PoolStatus) -> Iterator[Notice]:
    """Yield what the reader must know of a pool's rounds: a change without a round, and why the newest round began."""
    if pool.change is not None:
        yield _change(shown, pool, pool.change)
    newest = _row_of(shown, pool)
    if newest is not None and (newest.round > 1 or newest.resumed_at is not None):
        yield _newest(shown, pool, newest)


def round_lines(shown: ShownStudy) -> tuple[RoundLine, ...]:
    """Return the history of the rounds, oldest first; empty while every pool is in its first round."""
    rows = shown.status.rounds
    if all(row.round == 1 and row.resumed_at is None for row in rows):
        return ()
    return tuple(_line(shown, row) for row in rows)


def _baseline_phrase(shown: ShownStudy, pool: str, baseline: Baseline) -> str:
    """Return the baseline of a round with what it reached in that round, or why it has no number there."""
    configuration = shown.configuration(pool, baseline)
    if baseline.throughput is not None:
        return f"{configuration}: {number(float(baseline.throughput))} tokens/s{reused_phrase(baseline.reused_from)}"
    return f"{configuration}: {'not measured yet' if baseline.reason is None else f'no number ({baseline.reason})'}"


def measured_on(shown: ShownStudy, pool: str, number_of_round: int) -> str | None:
    """Return the GPU model on which a round was measured, which the pool may no longer have; None if unknown."""
    own = (row.gpu for row in shown.status.rounds if (row.pool, row.round) == (pool, number_of_round))
    newest = (row.gpu for row in shown.status.pools if (row.name, row.round) == (pool, number_of_round))
    return next((gpu for gpu in (*own, *newest) if gpu is not None), None)


def _change(shown: ShownStudy, pool: PoolStatus, change: PoolChange) -> Notice:
    when = "" if change.since is None else f"{duration(shown.since(change.since))} ago"
    was = f"the numbers below are of {pool.gpu}" if change.reason == "HardwareChanged" and pool.gpu else ""
    what = ", ".join(change.what)
    return Notice(
        text=_CHANGED.get(change.reason, "A new round was requested"),
        style="bold yellow",
        when=when,
        detail=on_one_line("; ".join(part for part in (what, next_step(change), was) if part)),
    )


def _newest(shown: ShownStudy, pool: PoolStatus, row: RoundRow) -> Notice:
    """Return why the newest round of a pool began; what was measured before is kept, but belongs to other rounds."""
    verb, at = ("began", row.opened_at) if row.resumed_at is None else ("was resumed", row.resumed_at)
    cause = ", ".join(row.cause or ()) or _BECAUSE.get(row.reason or "", "")
    facts = (cause, "" if row.baseline is None else _against(shown, pool.name, row), _earlier(shown, row))
    return Notice(
        text=f"Round {row.round} {verb}",
        style="cyan",
        when="" if at is None else f"{duration(shown.since(at))} ago",
        reason=row.reason or "",
        detail=on_one_line("; ".join(fact for fact in facts if fact)),
    )


def _against(shown: ShownStudy, pool: str, row: RoundRow) -> str:
    if row.baseline is None:
        return ""
    if row.improvement_reason == BASELINE_INFEASIBLE:
        why = f" ({row.baseline.reason})" if row.baseline.reason is not None else ""
        return f"the baseline, {shown.configuration(pool, row.baseline)}, cannot work here{why}"
    return f"baseline {_baseline_phrase(shown, pool, row.baseline)}"


def _earlier(shown: ShownStudy, row: RoundRow) -> str:
    """Return how many trials of the pool's other rounds there are."""
    others = sum(each.trials for each in shown.status.rounds if each.pool == row.pool and each.round != row.round)
    if not others:
        return ""
    return f"{count(others, 'trial')} of other rounds {'is' if others == 1 else 'are'} kept, not compared"


def _row_of(shown: ShownStudy, pool: PoolStatus) -> RoundRow | None:
    return next((row for row in shown.status.rounds if (row.pool, row.round) == (pool.name, pool.round)), None)


def _line(shown: ShownStudy, row: RoundRow) -> RoundLine:
    where = f"{row.pool} " if len({each.pool for each in shown.status.rounds}) > 1 else ""
    began = row.resumed_at or row.opened_at
    return RoundLine(
        name=on_one_line(f"{where}{row.round}"),
        began="" if began is None else f"{began:%Y-%m-%d %H:%M}",
        text=on_one_line("; ".join(_facts(shown, row))),
    )


def _facts(shown: ShownStudy, row: RoundRow) -> Iterator[str]:
    if row.gpu is not None or not shown.status.simulated:
        yield row.gpu or "unknown hardware"
    yield from row.cause or ()
    if row.baseline is not None:
        yield _against(shown, row.pool, row)
    if row.best is None:
        yield "no best"
    else:
        gain = "" if row.improvement_percent is None else f", {row.improvement_percent} % over the baseline"
        best = f"{shown.configuration(row.pool, row.best)}: {number(float(row.best.throughput))} tokens/s"
        yield f"best {best}{reused_phrase(row.best.reused_from)}{gain}"
    if row.published is not None:
        yield f"published {row.published.at:%Y-%m-%d %H:%M} ({row.published.reason})"
