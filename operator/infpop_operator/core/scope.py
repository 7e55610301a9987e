"""Select the trials and the baseline that count now: the study may have changed since they were measured.

A trial whose configuration left the search space stays in the history and in the status. It is neither recommended nor
passed to the search, and it does not use the budget, because the user no longer wants that configuration. Facts that it
established (an out-of-memory error, an incompatible GPU) remain valid.
"""

from collections.abc import Iterable

from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.model import History, Round, Trial
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, Pool, Study


def baseline_of(study: Study, newest: Round) -> Configuration | None:
    """Return the configuration that the best of the round `newest` is compared with, None without one.

    In the first round it is the study's baseline. In later rounds it is the best of the earlier rounds, or the study's
    baseline if they had none.
    """
    earlier = earlier_best(newest)
    return earlier if earlier is not None else study.baseline


def earlier_best(newest: Round) -> Configuration | None:
    """Return the best configuration of the rounds before `newest`, None if they had none."""
    return newest.baseline if newest.number > 1 else None


def in_scope(study: Study, trials: Iterable[Trial], baseline: Configuration | None) -> tuple[Trial, ...]:
    """Return the trials whose configuration is in the study's search space or is the baseline, in the order given."""
    wanted = {*cells(study.space), baseline}
    return tuple(trial for trial in trials if trial.configuration in wanted)


def current_trials(study: Study, pool: Pool, history: History) -> tuple[Trial, ...]:
    """Return the trials of the newest round of `pool` that count now; empty before its first round."""
    newest = current_round(history, pool.name)
    if newest is None:
        return ()
    return in_scope(study, trials_of(history, pool.name, newest.number), baseline_of(study, newest))
