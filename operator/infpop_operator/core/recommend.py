"""What a study recommends: the best of each pool's newest round, and the best of those.

Until a new round has a best of its own, that of an earlier round is in use.
"""

from collections.abc import Iterable

from infpop_operator.core import objective
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import History, Pool, Study, Trial
from infpop_operator.core.scope import baseline_of, current_trials, in_scope
from infpop_runner.contract import Measured


def best_of_pool(study: Study, pool: Pool, history: History) -> Trial | None:
    """Return the best trial of the newest round of `pool`, None when none is eligible."""
    return objective.best(study, pool, current_trials(study, pool, history))


def best_of_study(study: Study, history: History) -> tuple[Pool, Trial] | None:
    """Return the best of the pools' best trials by the study's objective; of equals the pool that is listed first."""
    found = [(pool, best) for pool in study.pools if (best := best_of_pool(study, pool, history)) is not None]
    return min(found, key=lambda pair: trial_loss(study, *pair), default=None)


def best_in_use(study: Study, history: History, *, search_goes_on: bool) -> tuple[Pool, Trial] | None:
    """Return the best to show: of a pool whose newest round has none, that of its last round that has one.

    Such an older best gives way when the search has ended with a best of the newest rounds. Everything is judged by the
    study as it is now, so what is no longer eligible is not shown.
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
    """Return the trial with the best value, where that is not `best`: the two tie, and `best` needs fewer GPUs.

    Args:
        study: gives the objective and the constraints.
        pool: where the trials ran.
        trials: those from which `best` was chosen.
        best: what is recommended.
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
    """Return what a measured trial is worth by the study's objective, in the objective's own unit."""
    gpus, price = trial.configuration.gpu_count, pool.price_per_gpu_hour
    return objective.value(study.objective, measurement(trial), gpus, price, trial.extra_metrics)


def trial_loss(study: Study, pool: Pool, trial: Trial) -> float:
    """Return the same as a number to be made small."""
    gpus, price = trial.configuration.gpu_count, pool.price_per_gpu_hour
    return objective.loss(study.objective, measurement(trial), gpus, price, trial.extra_metrics)


def improvement_ratio(study: Study, pool: Pool, *, new: Trial, old: Trial) -> float | None:
    """Return how much better the measured trial `new` is than `old`, by the study's objective and relative to `old`.

    None where the objective of one of them is not known, or nothing is relative to that of `old`.
    """
    if not all(objective.has_value(study.objective, trial.extra_metrics) for trial in (new, old)):
        return None
    values = (trial_value(study, pool, trial) for trial in (new, old))
    return objective.improvement_ratio(study.objective, *values)
