"""The second metric of a study with two: the value of a trial in it, and as a loss."""

from dataclasses import replace

from infpop_operator.core import objective
from infpop_operator.core.constraints import seconds_per_output_token
from infpop_operator.core.metric_values import NO_WINDOW
from infpop_operator.core.model import Missing, Trial
from infpop_operator.core.recommend import measurement
from infpop_operator.core.study import Objective, Pool, SecondMetric, Study


def second_value(study: Study, pool: Pool, trial: Trial) -> float | Missing:
    """Return the second metric of a measured trial in its own unit, or why it is unknown.

    `secondsPerOutputToken` is in seconds, the others are in the units of `objective.value`.

    Raises:
        ValueError: the study has no second metric, or it is a cost and the pool has no price (validation of the study
            excludes this).
    """
    metric, measured = study.objective.second_metric, measurement(trial)
    match metric:
        case None:
            raise ValueError("the study has one metric only")
        case "secondsPerOutputToken":
            seconds = seconds_per_output_token(study, measured)
            return Missing(reason=measured.missing["batch_seconds_p50"]) if seconds is None else seconds
        case "tokensPerJoule":
            tokens = objective.tokens_per_joule(study.objective, measured, trial.extra_metrics)
            return _why_no_energy(study.objective, trial) if tokens is None else tokens
        case _:
            gpus = trial.configuration.gpu_count
            return objective.value(_alone(metric), measured, gpus, pool.price_per_gpu_hour)


def second_loss(study: Study, pool: Pool, trial: Trial) -> float | Missing:
    """Return the second metric of a measured trial as a loss: smaller is better. The rest is that of `second_value`."""
    value = second_value(study, pool, trial)
    return value if isinstance(value, Missing) or is_minimised(study.objective.second_metric) else -value


def is_minimised(metric: SecondMetric | None) -> bool:
    """Return whether less of a second metric is better."""
    return metric in ("secondsPerOutputToken", "costPerMillionTokens")


def _why_no_energy(wanted: Objective, trial: Trial) -> Missing:
    found = trial.extra_metrics.get(wanted.power_metric or "", NO_WINDOW)
    return found if isinstance(found, Missing) else Missing(reason="NotPositive")


def _alone(metric: SecondMetric) -> Objective:
    return replace(Objective(), metric=metric)
