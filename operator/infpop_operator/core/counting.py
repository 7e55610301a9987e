"""Select the trials of a round that count now, by what the round has measured again as well.

A trial that did not survive a fresh load (`Confirmation.lost`) is not recommended, so no other trial has lost to it:
what was raced out against it is open again. Races decide nothing about what is measured again, so this is no circle.
"""

from infpop_operator.core.confirmation import measured_again
from infpop_operator.core.contest import Confirmation
from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.model import History, Round, Trial
from infpop_operator.core.scope import baseline_of, in_scope
from infpop_operator.core.study import Pool, Study


def lost_in(again: Confirmation | None) -> frozenset[int]:
    """Return the trials, by index, that did not survive a fresh load; none if nothing was measured again."""
    return frozenset() if again is None else frozenset(again.lost)


def counting_trials(study: Study, pool: Pool | None, history: History, entry: Round) -> tuple[Trial, ...]:
    """Return the trials of a round that count now; `pool` as for `measured_again`."""
    return counting_after(study, history, entry, measured_again(study, pool, history, entry))


def counting_after(study: Study, history: History, entry: Round, again: Confirmation | None) -> tuple[Trial, ...]:
    """Return the trials of a round that count now, with what it has measured again."""
    trials = trials_of(history, entry.pool, entry.number)
    return in_scope(study, trials, baseline_of(study, entry), lost=lost_in(again))


def current_trials(study: Study, pool: Pool, history: History) -> tuple[Trial, ...]:
    """Return the trials of the newest round of `pool` that count now; empty before its first round."""
    newest = current_round(history, pool.name)
    return () if newest is None else counting_trials(study, pool, history, newest)
