"""Whether the result of a study is out of date: what changed, from what to what, and what happens next."""

from collections.abc import Sequence
from datetime import UTC, datetime

from infpop_operator.api.status_context import ConditionState
from infpop_operator.api.status_model import Best, PoolChange, PoolStatus, RoundRow

_MOST_POOLS = 4  # that the message has room for
_MOST_FACTS = 2  # of one pool; its row has more
_HARDWARE = "HardwareChanged"


def stale_state(best: Best | None, pools: Sequence[PoolStatus], rounds: Sequence[RoundRow]) -> ConditionState:
    """Return the state of ResultStale.

    It is true while a pool is no longer what its newest round measured, and while `best` is from another round than the
    newest of its pool.

    Args:
        best: the best of the status.
        pools: the rows of the pools.
        rounds: the rows of the rounds, among them those of the newest rounds.
    """
    if best is None:
        return ConditionState(holds=False, reason="NoResult", message="there is no result yet")
    changes = {pool.name: pool.change for pool in pools if pool.change is not None and pool.change.what}
    if changes:
        hardware = any(change.reason == _HARDWARE for change in changes.values())
        reason = _HARDWARE if hardware else next(iter(changes.values())).reason
        return ConditionState(holds=True, reason=reason, message=_changes(changes))
    newest = next((pool.round for pool in pools if pool.name == best.pool), None)
    if newest in {None, best.round}:
        return ConditionState(holds=False, reason="Current", message="the best belongs to its pool's newest round")
    opened = next((row for row in rounds if (row.pool, row.round) == (best.pool, newest)), None)
    message = f"the best is from round {best.round} of pool {best.pool}; round {newest} has none yet{_why(opened)}"
    return ConditionState(holds=True, reason="NewerRound", message=message)


def change_text(change: PoolChange) -> str:
    """Return what changed on a pool and since when."""
    since = "" if change.since is None else f" since {shown_time(change.since)}"
    return f"{facts_text(change.what)}{since}"


def facts_text(what: Sequence[str]) -> str:
    """Return what changed as a list in one sentence, which says whether there is more."""
    return ", ".join((*what[:_MOST_FACTS], *(["and more"] if len(what) > _MOST_FACTS else ())))


def next_step(change: PoolChange) -> str:
    """Return what the operator does about a change."""
    if change.held_by is not None:
        return change.held_by
    if change.retunes_at is not None:
        return f"a new round starts at {shown_time(change.retunes_at)} if it lasts"
    return "no new round starts now"


def shown_time(instant: datetime) -> str:
    """Return a time in a message, the same on every day on which it is read."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _changes(changes: dict[str, PoolChange]) -> str:
    shown = [
        f"pool {name}: {change_text(change)}; {next_step(change)}"
        for name, change in list(changes.items())[:_MOST_POOLS]
    ]
    more = len(changes) - len(shown)
    return ". ".join((*shown, *([f"{more} more pools changed"] if more > 0 else ())))


def _why(opened: RoundRow | None) -> str:
    """Return why a round was opened, and when."""
    if opened is None or not opened.cause:
        return ""
    began = "" if opened.opened_at is None else f" at {shown_time(opened.opened_at)}"
    return f". Round {opened.round} began{began}: {facts_text(opened.cause)}"
