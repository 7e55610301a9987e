"""Find the configuration to recommend: the best of each pool's newest round, and the best of those.

Until a new round has its own best, the best of an earlier round stays in use.
"""

from collections.abc import Iterable

from infpop_operator.core import objective
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import History, Trial
from infpop_operator.core.scope import baseline_of, current_trials, in_scope
from infpop_operator.core.study import Pool, Study
from infpop_runner.contract import Measured


def best_of_pool(study: Study, pool: Pool, history: History) -> Trial | None:
    """Return the best trial of the newest round of `pool`, None when none is eligible."""
    return objective.best(study, pool, current_trials(study, pool, history))


def best_of_study(study: Study, history: History) -> tuple[Pool, Trial] | None:
    """Return the best of the pools' best trials by the study's objective; equal ones go to the pool listed first."""
    found = [(pool, best) for pool in study.pools if (best := best_of_pool(study, pool, history)) is not None]
    return min(found, key=lambda pair: trial_loss(study, *pair), default=None)


def best_in_use(study: Study, history: History, *, search_goes_on: bool) -> tuple[Pool, Trial] | None:
    """Return the best to show; a pool whose newest round has no best counts with its last round that has one.

    When the search has ended with a best from the newest rounds, that one wins over an older best. All trials are
    judged by the study as it is now, so a trial that is no longer eligible is not shown.
    """
    newest = best_of_study(study, history)
    if newest is not None and not search_goes_on:
        return newest
    found = [(pool, best) for pool in study.pools if (best := _last_best(study, pool, history)) is not None]
    return min(found, key=lambda pair: trial_loss(study, *pair), default=None)


def _last_best(study: Study, pool: Pool, history: History) -> Trial | None:
    for entry in reversed([entry for entry in history.rounds if entry.pool == pool.name]):
        trials = in_scope(study, trials_of(history, pool.name, entry.number), baseline_of(study, entry))
        best = objective.best(study, pool, trials)
        if best is not None:
            return best
    return None


def tie_of(study: Study, pool: Pool, trials: Iterable[Trial], best: Trial) -> Trial | None:
    """Return the trial with the best value if it is not `best`: the two tie, and `best` needs fewer GPUs.

    Args:
        study: the study, for its objective and constraints.
        pool: the pool on which the trials ran.
        trials: the trials from which `best` was chosen.
        best: the recommended trial.
    """
    eligible = objective.eligible(study, pool, trials)
    highest = min(eligible, key=lambda trial: trial_loss(study, pool, trial), default=best)
    return None if highest.configuration == best.configuration else highest


def measurement(trial: Trial) -> Measured:
    """Return the measurement of a trial that has one.

    Raises:
        TypeError: the trial was not measured.
    """
    if not isinstance(trial.result, Measured):
        raise TypeError(f"trial {trial.index} was not measured")
    return trial.result


def trial_value(study: Study, pool: Pool, trial: Trial) -> float:
    """Return the objective value of a measured trial, in the objective's own unit."""
    gpus, price = trial.configuration.gpu_count, pool.price_per_gpu_hour
    return objective.value(study.objective, measurement(trial), gpus, price, trial.extra_metrics)


def trial_loss(study: Study, pool: Pool, trial: Trial) -> float:
    """Return the objective value of a measured trial as a loss: smaller is better."""
    gpus, price = trial.configuration.gpu_count, pool.price_per_gpu_hour
    return objective.loss(study.objective, measurement(trial), gpus, price, trial.extra_metrics)


def improvement_ratio(study: Study, pool: Pool, *, new: Trial, old: Trial) -> float | None:
    """Return how much better the measured trial `new` is than `old`, by the study's objective and relative to `old`.

    None if the objective value of either is unknown, or if that of `old` is 0.
    """
    if not all(objective.has_value(study.objective, trial.extra_metrics) for trial in (new, old)):
        return None
    values = (trial_value(study, pool, trial) for trial in (new, old))
    return objective.improvement_ratio(study.objective, *values)
