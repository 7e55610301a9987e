"""What the search learns from the trials of a round: results and pending trials, never broken or unknown ones."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from infpop_operator.core import objective
from infpop_operator.core.constraints import violations
from infpop_operator.core.load_memory import OUT_OF_MEMORY, while_loading
from infpop_operator.core.metric_values import missing_metrics
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.recommend import measurement, trial_loss
from infpop_operator.core.scalarised import scalarised_losses
from infpop_operator.core.search import SearchTrial
from infpop_operator.core.space import cells
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_operator.core.study import METRICS, Configuration, Constraint, Pool, Study
from infpop_runner.contract import Measured, RacedOut

# A larger batch only makes these worse, so their maximum is a limit of the batch size.
_GROW_WITH_BATCH = frozenset({"batchSecondsP50", "batchSecondsP95", "gpuMemoryPeakBytes", "secondsPerOutputToken"})


def search_trials(
    study: Study,
    pool: Pool,
    trials: Iterable[Trial],
    *,
    also: Iterable[Configuration] = (),
    weight: float | None = None,
) -> tuple[SearchTrial, ...]:
    """Return what the search learns from the trials inside the search space.

    Args:
        study: the study.
        pool: the pool of the round.
        trials: the trials of a round that count.
        also: cells that are pending as well.
        weight: of the second metric, None: the losses are those of the objective alone. Otherwise a trial that lacks
            the second metric, as one that was raced out, says nothing.
    """
    space, counting = frozenset(cells(study.space)), tuple(trials)
    losses = None if weight is None else scalarised_losses(study, pool, counting, weight)
    known = (
        _weighted(search_trial(study, pool, trial), trial, losses) for trial in counting if trial.configuration in space
    )
    pending = (SearchTrial(configuration=cell, state="pending", loss=None) for cell in also)
    return (*(trial for trial in known if trial is not None), *pending)


def search_trial(study: Study, pool: Pool, trial: Trial) -> SearchTrial | None:
    """Return a trial as the search knows it, None if it says nothing about its configuration."""
    match trial.state:
        case TrialState.RUNNING:
            return SearchTrial(configuration=trial.configuration, state="pending", loss=None)
        case TrialState.INFEASIBLE:
            return _failed(study, trial)
        case TrialState.MEASURED:
            return _measured(study, pool, trial)
        case TrialState.RACED_OUT:
            return _bounded(study, pool, trial)
        case TrialState.INVALID | TrialState.BROKEN:
            return None


def _weighted(known: SearchTrial | None, trial: Trial, losses: Mapping[int, float] | None) -> SearchTrial | None:
    if known is None or known.loss is None or losses is None:
        return known
    return replace(known, loss=losses[trial.index]) if trial.index in losses else None


def is_too_large(study: Study, trial: Trial) -> bool:
    """Return whether a trial failed because of its batch size, so that larger batches will fail as well.

    A load that ran out of memory says nothing about other batch sizes: the weights may not fit with any of them.
    """
    if trial.state is TrialState.INFEASIBLE:
        return trial.reason == OUT_OF_MEMORY and not while_loading(trial)
    if trial.state is not TrialState.MEASURED:
        return False
    bounds = tuple(
        Constraint(metric=bound.metric, maximum=bound.maximum)
        for bound in study.objective.constraints
        if bound.metric in _GROW_WITH_BATCH and bound.maximum is not None
    )
    gpus = trial.configuration.gpu_count
    return bool(violations(study, measurement(trial), gpus, trial.extra_metrics, bounds=bounds))


def _measured(study: Study, pool: Pool, trial: Trial) -> SearchTrial | None:
    """Return a measured trial as the search knows it, None while a metric that the comparison needs is missing."""
    wanted, cell = study.objective, trial.configuration
    if violations(study, measurement(trial), cell.gpu_count, trial.extra_metrics):
        return _failed(study, trial)
    if missing_metrics(wanted, trial.extra_metrics):
        return None
    result = measurement(trial)
    return SearchTrial(
        configuration=cell,
        state="measured",
        loss=trial_loss(study, pool, trial),
        seconds=result.measured_seconds,
        error_ratio=standard_error_ratio(result) if wanted.metric in METRICS else None,
    )


def _bounded(study: Study, pool: Pool, trial: Trial) -> SearchTrial | None:
    """Return a raced-out trial as the search knows it, None if the objective does not follow from the throughput."""
    if not isinstance(trial.result, RacedOut):
        raise TypeError(f"trial {trial.index} was not raced out")
    result, cell = trial.result, trial.configuration
    bound = objective.loss_at(
        study.objective, result.at_most_tokens_per_second, cell.gpu_count, pool.price_per_gpu_hour
    )
    if bound is None:
        return None
    return SearchTrial(configuration=cell, state="bounded", loss=bound, seconds=result.measured_seconds)


def _failed(study: Study, trial: Trial) -> SearchTrial:
    return SearchTrial(
        configuration=trial.configuration,
        state="failed",
        loss=None,
        too_large=is_too_large(study, trial),
        while_loading=while_loading(trial),
        seconds=trial.result.measured_seconds if isinstance(trial.result, Measured) else None,
    )
