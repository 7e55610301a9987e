"""Find the configuration to recommend: the best of each pool's newest round, and the best of those.

Until a new round has its own best, the best of an earlier round stays in use. What a round has measured again
(`core.confirmation`) takes the place of what its search measured.
"""

from collections.abc import Iterable
from dataclasses import replace

from infpop_operator.core import objective
from infpop_operator.core.confirmation import measured_again
from infpop_operator.core.contest import Confirmation
from infpop_operator.core.counting import counting_after, lost_in
from infpop_operator.core.history import current_round
from infpop_operator.core.load_noise import student_t
from infpop_operator.core.metric_values import has_value
from infpop_operator.core.model import History, Round, Trial
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_runner.contract import Measured


def best_of_pool(study: Study, pool: Pool, history: History) -> Trial | None:
    """Return the best trial of the newest round of `pool`, None when none is eligible."""
    newest = current_round(history, pool.name)
    return None if newest is None else best_of_round(study, pool, history, newest)


def best_of_round(study: Study, pool: Pool, history: History, entry: Round) -> Trial | None:
    """Return the best trial of any round of `pool` by the study as it is now, None when none is eligible.

    If its best was measured again, that decides. Without a result of that, it is the best that the search has found
    and that has not failed since.
    """
    return _best_after(study, pool, history, entry, measured_again(study, pool, history, entry))


def _best_after(study: Study, pool: Pool, history: History, entry: Round, again: Confirmation | None) -> Trial | None:
    winner = None if again is None else again.winner
    return winner or objective.best(study, pool, _survivors(study, pool, history, entry, again))


def _survivors(
    study: Study, pool: Pool, history: History, entry: Round, again: Confirmation | None
) -> tuple[Trial, ...]:
    """Return the trials of a round that no fresh load has lost; all of them if none of these can be the best.

    A number of fresh loads that was challenged takes the place of that of the search, and is not confirmed by that.
    """
    trials, lost = counting_after(study, history, entry, again), lost_in(again)
    fresh = {} if again is None else {trial.index: replace(trial, confirmed=None) for trial in again.fresh}
    left = tuple(fresh.get(trial.index, trial) for trial in trials if trial.index not in lost)
    return left if objective.eligible(study, pool, left) else trials


def with_own_number(study: Study, pool: Pool | None, history: History, entry: Round, trial: Trial) -> Trial:
    """Return a trial of a round with the number that counts: of the loads that confirmed it, else of the search.

    `pool` as for `measured_again`.
    """
    again = measured_again(study, pool, history, entry)
    confirmed = () if again is None else (again.winner, again.baseline, *again.fresh)
    return next((each for each in confirmed if each is not None and each.index == trial.index), trial)


def best_of_study(study: Study, history: History) -> tuple[Pool, Trial] | None:
    """Return the best of the pools' best trials, as `_best_of_pools` compares them.

    A trial that needs more GPUs than a node of the pool has any more is the best only if all of its pool do.
    """
    return _best_of_pools(study, ((pool, _best_that_fits(study, pool, history)) for pool in study.pools))


def _best_of_pools(study: Study, bests: Iterable[tuple[Pool, Trial | None]]) -> tuple[Pool, Trial] | None:
    """Return the best by the study's objective, each at the price of its pool; equal ones go to the pool listed first.

    A number that is not confirmed is the largest of a search, which is too good to be true. So it beats a confirmed one
    only if it lies above the whole 95 % interval of that.
    """
    found = [(pool, best) for pool, best in bests if best is not None]
    confirmed = [pair for pair in found if pair[1].confirmed is not None]
    best = min(confirmed, key=lambda pair: trial_loss(study, *pair), default=None)
    if best is not None:
        lowest = _lowest_loss(study, *best)
        found = [pair for pair in found if pair[1].confirmed is None and trial_loss(study, *pair) < lowest] or [best]
    return min(found, key=lambda pair: trial_loss(study, *pair), default=None)


def _lowest_loss(study: Study, pool: Pool, trial: Trial) -> float:
    """Return the end of the 95 % interval of a confirmed trial's loss at which it is the best."""
    loss, known = trial_loss(study, pool, trial), trial.confirmed
    return loss if known is None else loss - abs(loss) * student_t(known.degrees_of_freedom) * known.error_ratio


def _best_that_fits(study: Study, pool: Pool, history: History) -> Trial | None:
    newest = current_round(history, pool.name)
    if newest is None:
        return None
    again = measured_again(study, pool, history, newest)
    if again is not None and again.winner is not None and fits(newest, again.winner.configuration):
        return again.winner
    survivors = _survivors(study, pool, history, newest, again)
    fitting = (trial for trial in survivors if fits(newest, trial.configuration))
    return objective.best(study, pool, fitting) or _best_after(study, pool, history, newest, again)


def fits(newest: Round | None, cell: Configuration) -> bool:
    """Return whether a node of the hardware of a round has as many GPUs as a configuration needs, as far as is known.

    Nodes with fewer GPUs of the same model are the same hardware: what was measured on the larger ones stays true.
    """
    devices = None if newest is None or newest.hardware is None else newest.hardware.device_count
    return devices is None or cell.gpu_count <= devices


def best_in_use(study: Study, history: History, *, search_goes_on: bool) -> tuple[Pool, Trial] | None:
    """Return the best to show; a pool whose newest round has no best counts with its last round that has one.

    When the search has ended with a best from the newest rounds, that one wins over an older best. All trials are
    judged by the study as it is now, so a trial that is no longer eligible is not shown.
    """
    newest = best_of_study(study, history)
    if newest is not None and not search_goes_on:
        return newest
    return _best_of_pools(study, ((pool, _last_best(study, pool, history)) for pool in study.pools))


def _last_best(study: Study, pool: Pool, history: History) -> Trial | None:
    newest = current_round(history, pool.name)
    own = (entry for entry in reversed(history.rounds) if entry.pool == pool.name and entry is not newest)
    bests = (best_of_round(study, pool, history, entry) for entry in own)
    return _best_that_fits(study, pool, history) or next((best for best in bests if best is not None), None)


def tie_of(study: Study, pool: Pool, history: History, best: Trial) -> Trial | None:
    """Return the trial with the best value if it is not `best`: the two tie, and `best` needs fewer GPUs.

    Args:
        study: the study, for its objective and constraints.
        pool: the pool on which the trials ran.
        history: with the trials from which `best` was chosen.
        best: the recommended trial, of any round of the pool.
    """
    entry = next((each for each in history.rounds if (each.pool, each.number) == (best.pool, best.round)), None)
    if entry is None:
        return None
    again = measured_again(study, pool, history, entry)
    contest = () if again is None else again.contest
    trials = contest or _survivors(study, pool, history, entry, again)
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
    if not all(has_value(study.objective, trial.extra_metrics) for trial in (new, old)):
        return None
    values = (trial_value(study, pool, trial) for trial in (new, old))
    return objective.improvement_ratio(study.objective, *values)
