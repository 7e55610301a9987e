"""Select the trials and the baseline that count now: the study may have changed since they were measured.

A trial whose configuration left the search space stays in the history and in the status. It is neither recommended nor
passed to the search, and it does not use the budget, because the user no longer wants that configuration. Facts that it
established (an out-of-memory error, an incompatible GPU) remain valid. The same applies to a trial that was raced out
by one that counts no longer, or that failed since (`core.counting`): its configuration is open again.
"""

from collections.abc import Collection, Iterable

from infpop_operator.core.engine_default import engine_default
from infpop_operator.core.model import Round, Trial, TrialState
from infpop_operator.core.races import beaten
from infpop_operator.core.space import cells
from infpop_operator.core.study import ENGINE_DEFAULT, Configuration, Study


def baseline_of(study: Study, newest: Round) -> Configuration | None:
    """Return the configuration that the best of the round `newest` is compared with, None without one.

    In the first round it is the study's baseline. In later rounds it is the best of the earlier rounds, or the study's
    baseline if they had none.
    """
    earlier = earlier_best(newest)
    return earlier if earlier is not None else declared_baseline(study, newest)


def declared_baseline(study: Study, newest: Round) -> Configuration | None:
    """Return the baseline that the study's spec asks for, on the hardware of a round."""
    if study.baseline == ENGINE_DEFAULT:
        return engine_default(study.engine, study.space, newest.hardware)
    return study.baseline


def earlier_best(newest: Round) -> Configuration | None:
    """Return the best configuration of the rounds before `newest`, None if they had none."""
    return newest.baseline if newest.number > 1 or newest.resumed else None


def in_scope(
    study: Study, trials: Iterable[Trial], baseline: Configuration | None, *, lost: Collection[int] = ()
) -> tuple[Trial, ...]:
    """Return the trials whose configuration is in the study's search space or is the baseline, in the order given.

    A raced-out trial counts only while one of them beats it, and never as the baseline, which needs a number. The
    trials that are `lost`, by index, did not survive a fresh load, and beat nothing.
    """
    wanted = {*cells(study.space), baseline}
    found = tuple(trial for trial in trials if trial.configuration in wanted)
    if all(trial.state is not TrialState.RACED_OUT for trial in found):
        return found
    settled = beaten(study, found, lost=lost)
    return tuple(
        trial
        for trial in found
        if trial.state is not TrialState.RACED_OUT or (trial.index in settled and trial.configuration != baseline)
    )


def own_trials(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the trials that this study measured or measures itself: only those use its trial budget."""
    return tuple(trial for trial in trials if trial.reused_from is None)
