"""Keep a status below the size that the API server and its clients handle well, whatever strings it holds."""

from infpop_operator.api.clip import stored_bytes
from infpop_operator.api.status_model import Best, PoolStatus, StudyStatus, TrialRow

LIMIT_BYTES = 240_000  # of 256 KiB; the rest is left for metadata that other clients write


def fit(status: StudyStatus) -> StudyStatus:
    """Return `status`, shortened if it is too large.

    It drops messages of rows first, then extra metrics of earlier rounds, then engine arguments of pools, and finally
    the oldest rows.
    """
    if size_bytes(status) <= LIMIT_BYTES:
        return status
    status = status.model_copy(update={"trials": [_without_messages(row) for row in status.trials]})
    if size_bytes(status) <= LIMIT_BYTES:
        return status
    newest = {(pool.name, pool.round) for pool in status.pools}
    rows = [row if (row.pool, row.round) in newest else _without_metrics(row) for row in status.trials]
    status = status.model_copy(update={"trials": rows})
    if size_bytes(status) <= LIMIT_BYTES:
        return status
    status = status.model_copy(update={"pools": [_without_arguments(row) for row in status.pools]})
    rest = LIMIT_BYTES - size_bytes(status.model_copy(update={"trials": []}))
    return status.model_copy(update={"trials": _newest(status.trials, rest)})


def size_bytes(status: StudyStatus | TrialRow) -> int:
    """Return the size of a status or one of its rows in bytes, as the API server stores it."""
    text = status.model_dump_json(by_alias=True, exclude_none=True)
    return len(text.encode()) + sum(text.count(character) * (stored_bytes(character) - 1) for character in "<>&")


def _without_arguments(row: PoolStatus) -> PoolStatus:
    best: Best | None = row.best
    return row if best is None else row.model_copy(update={"best": best.model_copy(update={"engine_args": []})})


def _without_messages(row: TrialRow) -> TrialRow:
    return row.model_copy(update={"message": None, "last_failure": None})


def _without_metrics(row: TrialRow) -> TrialRow:
    return row.model_copy(update={"metrics": None})


def _newest(rows: list[TrialRow], limit: int) -> list[TrialRow]:
    """Return the newest rows that together fit into `limit` bytes."""
    fitting = 0
    for row in reversed(rows):
        limit -= size_bytes(row) + 1  # plus a comma
        if limit < 0:
            break
        fitting += 1
    return rows[len(rows) - fitting :]
