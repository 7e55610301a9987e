"""Which trials and which baseline count now: the study may have been changed since they were measured.

A trial whose configuration left the search space stays in history and in the status. It is neither recommended, nor
told to the search, nor does it use the budget: the owner of the study does not want that configuration any more. What
it showed for certain (an out-of-memory, an incompatible GPU) stays true all the same.
"""

from collections.abc import Iterable

from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.model import Configuration, History, Pool, Round, Study, Trial
from infpop_operator.core.space import cells


def baseline_of(study: Study, newest: Round) -> Configuration | None:
    """Return what the best of the round `newest` is compared with, None when nothing is known to be in use.

    In the first round that is what the study says now; later it is the best of the rounds before, where there was one.
    """
    earlier = earlier_best(newest)
    return earlier if earlier is not None else study.baseline


def earlier_best(newest: Round) -> Configuration | None:
    """Return the best of the rounds before `newest`, None where there was none."""
    return newest.baseline if newest.number > 1 else None


def in_scope(study: Study, trials: Iterable[Trial], baseline: Configuration | None) -> tuple[Trial, ...]:
    """Return those of `trials` that lie in the study's search space or are its baseline, in the order given."""
    wanted = {*cells(study.space), baseline}
    return tuple(trial for trial in trials if trial.configuration in wanted)


def current_trials(study: Study, pool: Pool, history: History) -> tuple[Trial, ...]:
    """Return the trials of the newest round of `pool` that count now; none before its first round."""
    newest = current_round(history, pool.name)
    if newest is None:
        return ()
    return in_scope(study, trials_of(history, pool.name, newest.number), baseline_of(study, newest))
