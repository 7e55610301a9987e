"""Keep a status below the size that the API server and its clients handle well, whatever strings it holds."""

from infpop_operator.api.clip import stored_bytes
from infpop_operator.api.status_model import StudyStatus, TrialRow

LIMIT_BYTES = 240_000  # of 256 KiB; the rest is left for metadata that other clients write
FEWEST_ROUNDS = 8  # that stay in the history, whatever else the status holds


def fit(status: StudyStatus) -> StudyStatus:
    """Return `status`, shortened if it is too large.

    It drops messages of rows first, then extra metrics of earlier rounds, then engine arguments of pools, then what
    another pool beats from the fronts, then all rounds but the newest few from their history, and finally the oldest
    rows of trials.
    """
    steps = (
        _without_messages,
        _without_earlier_metrics,
        _without_arguments,
        _without_beaten,
        _without_earlier_rounds,
        _without_oldest_rows,
    )
    for shorten in steps:
        if size_bytes(status) <= LIMIT_BYTES:
            break
        status = shorten(status)
    return status


def size_bytes(status: StudyStatus | TrialRow) -> int:
    """Return the size of a status or one of its rows in bytes, as the API server stores it."""
    text = status.model_dump_json(by_alias=True, exclude_none=True)
    return len(text.encode()) + sum(text.count(character) * (stored_bytes(character) - 1) for character in "<>&")


def _without_messages(status: StudyStatus) -> StudyStatus:
    rows = [row.model_copy(update={"message": None, "last_failure": None}) for row in status.trials]
    return status.model_copy(update={"trials": rows})


def _without_earlier_metrics(status: StudyStatus) -> StudyStatus:
    newest = {(pool.name, pool.round) for pool in status.pools}
    rows = [
        row if (row.pool, row.round) in newest else row.model_copy(update={"metrics": None}) for row in status.trials
    ]
    return status.model_copy(update={"trials": rows})


def _without_arguments(status: StudyStatus) -> StudyStatus:
    bests = [row.best and row.best.model_copy(update={"engine_args": []}) for row in status.pools]
    rows = [row.model_copy(update={"best": best}) for row, best in zip(status.pools, bests, strict=True)]
    return status.model_copy(update={"pools": rows})


def _without_beaten(status: StudyStatus) -> StudyStatus:
    kept = [row for row in status.pareto or () if row.overall]
    dropped = (status.pareto_dropped or 0) + len(status.pareto or ()) - len(kept)
    return status.model_copy(update={"pareto": kept or None, "pareto_dropped": dropped or None})


def _without_earlier_rounds(status: StudyStatus) -> StudyStatus:
    return status.model_copy(update={"rounds": status.rounds[-FEWEST_ROUNDS:]})


def _without_oldest_rows(status: StudyStatus) -> StudyStatus:
    rest = LIMIT_BYTES - size_bytes(status.model_copy(update={"trials": []}))
    fitting = 0
    for row in reversed(status.trials):
        rest -= size_bytes(row) + 1  # plus a comma
        if rest < 0:
            break
        fitting += 1
    return status.model_copy(update={"trials": status.trials[len(status.trials) - fitting :]})
