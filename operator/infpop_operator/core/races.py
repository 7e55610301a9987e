"""Race a trial against the best measured configuration: what it has to beat, and whether it still counts as beaten.

A trial that is clearly slower than the best ends early (`RacedOut`). What it has to beat lies below the best by the
margin of a tie, so that a tie is measured in full. Only a configuration that may be recommended sets that bar: while
none does, a slow trial may be the only one that meets the constraints.
"""

from collections.abc import Collection, Iterable

from infpop_operator.core import objective
from infpop_operator.core.model import Trial
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_runner.contract import Measured, RacedOut

# By objective, whether a throughput counts per GPU. No other objective follows from the throughput of a trial.
_COUNTS_PER_GPU: dict[str, bool] = {"throughput": False, "throughputPerGPU": True, "costPerMillionTokens": True}
_ROUNDING = 1e-3  # numbers travel with 6 digits; a tenth of the smallest margin, so it lets no tie be lost


def to_beat(
    study: Study, trials: Iterable[Trial], cells: Iterable[Configuration], *, lost: Collection[int] = ()
) -> float | None:
    """Return the throughput in tokens/s below which the trials of a run cannot become the best, None if none is known.

    Args:
        study: the study; without `measurement.mode: Adaptive` each trial is measured in full.
        trials: the trials that count, measured or not.
        cells: the configurations of the run, which share a GPU count.
        lost: the indexes of those that did not survive a fresh load, and set no bar.
    """
    if study.measurement.mode != "adaptive":
        return None
    bar = _bar_of_one_gpu(study, trials, lost)
    return None if bar is None else min((bar * _scale(study, cell.gpu_count) for cell in cells), default=None)


def beaten(study: Study, trials: Collection[Trial], *, lost: Collection[int] = ()) -> frozenset[int]:
    """Return the indexes of the raced-out trials that are still slower than one of `trials` that may be recommended.

    Those that are `lost`, by index, may not: they did not survive a fresh load.

    The configuration of any other is open: the study, or what is known of the trial that it lost to, has changed.
    """
    raced = {trial.index: trial for trial in trials if isinstance(trial.result, RacedOut)}
    bar = _bar_of_one_gpu(study, trials, lost) if raced else None
    if bar is None:
        return frozenset()
    return frozenset(
        index
        for index, trial in raced.items()
        if isinstance(trial.result, RacedOut)
        and trial.result.at_most_tokens_per_second
        <= bar * _scale(study, trial.configuration.gpu_count) * (1 + _ROUNDING)
    )


def most_promising(study: Study, pool: Pool, reopened: Iterable[Trial]) -> Configuration | None:
    """Return which of the raced-out trials that are open again may be the best by most, None if nothing says so.

    What it reached is known better than what any search could say of it. Measuring these first uses as many trials of
    the budget as their lost races gave back.
    """
    if study.objective.second_metric is not None:
        return None
    bounds = {
        trial.configuration: objective.loss_at(
            study.objective,
            trial.result.at_most_tokens_per_second,
            trial.configuration.gpu_count,
            pool.price_per_gpu_hour,
        )
        for trial in reopened
        if isinstance(trial.result, RacedOut)
    }
    known = {cell: bound for cell, bound in bounds.items() if bound is not None}
    return min(known, key=known.__getitem__, default=None)


def _bar_of_one_gpu(study: Study, trials: Iterable[Trial], lost: Collection[int]) -> float | None:
    """Return the highest bar that one of the trials sets, for a trial on one GPU; more trials never lower it."""
    if study.objective.metric not in _COUNTS_PER_GPU or study.objective.second_metric is not None:
        return None  # with two metrics, a configuration may be among the best without being the fastest
    bars = (
        result.throughput_tokens_per_second
        * (1 - objective.tie_ratio(result))
        / _scale(study, trial.configuration.gpu_count)
        for trial in trials
        if isinstance(result := trial.result, Measured)
        and trial.index not in lost
        and objective.is_eligible(study, trial)
    )
    return max((bar for bar in bars if bar > 0), default=None)


def _scale(study: Study, gpu_count: int) -> float:
    """Return how many times the throughput on one GPU a trial needs to be as good."""
    return float(gpu_count) if _COUNTS_PER_GPU[study.objective.metric] else 1.0
