"""Which of the trials of a study are exported."""

from collections.abc import Iterable, Sequence

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.errors import ExportError, Problem

LAST = "last"
_SHOWN = 5


def choose_trials(
    rows: Sequence[TrialResultRow], *, pool: str | None, round_number: str | None
) -> tuple[TrialResultRow, ...]:
    """Return the trials of one pool and one round, in their order.

    Args:
        rows: all trials.
        pool: name of the pool; None for all.
        round_number: the number of a round, or "last" for the last one of each pool; None for all.

    Raises:
        ExportError: there is no such pool or round; the message names those that there are.
    """
    if pool is not None:
        _check("--pool", pool, (row.pool for row in rows))
    chosen = tuple(row for row in rows if pool in {None, row.pool})
    if round_number is None:
        return chosen
    if round_number == LAST:
        last: dict[tuple[str, str], int] = {}
        for row in chosen:
            last[row.study, row.pool] = max(row.round, last.get((row.study, row.pool), 0))
        return tuple(row for row in chosen if row.round == last[row.study, row.pool])
    _check("--round", round_number, (*(str(row.round) for row in chosen), LAST))
    return tuple(row for row in chosen if str(row.round) == round_number)


def _check(option: str, value: str, known: Iterable[str]) -> None:
    names = list(dict.fromkeys(known))
    if value not in names:
        more = ", ..." if len(names) > _SHOWN else ""
        remedy = f"Use {', '.join(names[:_SHOWN])}{more}" if names else "There are no trials yet: leave it out"
        problem = Problem(field=option, value=value, message="has no trials", remedy=remedy)
        raise ExportError(str(problem))
