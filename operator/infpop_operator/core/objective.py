"""Compare measured trials: objective values, constraints and the best trial.

Trials without a measurement are ignored. Constraints are data: a metric and its bounds, never an expression. A trial
without a metric that the objective or a constraint needs is left out of every comparison: its value is unknown.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

from infpop_operator.core.model import Missing, Trial
from infpop_operator.core.study import CONSTRAINT_METRICS, METRICS, Constraint, Objective, Pool, Study
from infpop_runner.contract import Measured

# A smaller relative difference is a tie: measurements of one configuration differ from run to run. 1 % is an assumption
# about that noise, chosen well below the gains that are worth a GPU (9-14 % in arXiv 2408.01050).
TIE_RATIO = 0.01
# Expected range of n normal samples in standard deviations, n = 2 to 10 (the constant d2 of control charts). More
# repeats are treated as ten, which overestimates their noise rather than underestimating it.
_RANGE_IN_SIGMAS = (1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970, 3.078)
_MEDIAN_TO_MEAN = 1.2533  # standard error of a median over that of a mean: sqrt(pi / 2)
_SECONDS_PER_HOUR = 3600.0
_TOKENS_PER_UNIT_OF_COST = 1e6
_NO_WINDOW = Missing(reason="NoWindow")  # the run did not report when it measured, so nothing could be queried
_LEAST_WATTS = 1e-3  # no working device draws less; dividing by almost 0 would give an absurd value

MetricValues = Mapping[str, float | Missing]  # extra metrics of a trial, by name
NO_METRICS: MetricValues = {}


def value(
    objective: Objective,
    measured: Measured,
    gpu_count: int,
    price_per_gpu_hour: float | None,
    extra_metrics: MetricValues = NO_METRICS,
) -> float:
    """Return the objective of one measurement, in the unit of its metric.

    `throughput` is in tokens/s, `throughputPerGPU` in tokens/s per GPU and `tokensPerJoule` in tokens; all three are
    maximised. `costPerMillionTokens` is in the currency of the price and is minimised. A metric of the study's own is
    in its own unit.

    Raises:
        ValueError: the objective is a cost and the pool has no price (validation of the study excludes this), or it
            needs an extra metric that `missing_metrics` reports.
    """
    throughput = measured.throughput_tokens_per_second
    match objective.metric:
        case "throughput":
            return throughput
        case "throughputPerGPU":
            return throughput / gpu_count
        case "costPerMillionTokens":
            if price_per_gpu_hour is None:
                raise ValueError("costPerMillionTokens needs pricePerGPUHour on the pool")
            return cost_per_million_tokens(measured, gpu_count, price_per_gpu_hour)
        case "tokensPerJoule":
            tokens = tokens_per_joule(objective, measured, extra_metrics)
            if tokens is None:
                raise ValueError("tokensPerJoule needs a power above 0")
            return tokens
        case name:
            return _known(name, extra_metrics)


def _known(name: str, extra_metrics: MetricValues) -> float:
    match extra_metrics.get(name, _NO_WINDOW):
        case Missing(reason=reason):
            raise ValueError(f"the objective {name} is missing: {reason}")
        case number:
            return number


def tokens_per_joule(objective: Objective, measured: Measured, extra_metrics: MetricValues) -> float | None:
    """Return the generated tokens per joule, None if no power above 0 is known."""
    watts = extra_metrics.get(objective.power_metric or "", _NO_WINDOW)
    if isinstance(watts, Missing) or watts < _LEAST_WATTS:
        return None
    return measured.throughput_tokens_per_second / watts


def cost_per_million_tokens(measured: Measured, gpu_count: int, price_per_gpu_hour: float) -> float:
    """Return the cost of a million generated tokens, in the currency of the price."""
    cost_per_second = price_per_gpu_hour * gpu_count / _SECONDS_PER_HOUR
    return cost_per_second / measured.throughput_tokens_per_second * _TOKENS_PER_UNIT_OF_COST


def loss(
    objective: Objective,
    measured: Measured,
    gpu_count: int,
    price_per_gpu_hour: float | None,
    extra_metrics: MetricValues = NO_METRICS,
) -> float:
    """Return the objective value as a number to minimise. Arguments and errors are those of `value`."""
    number = value(objective, measured, gpu_count, price_per_gpu_hour, extra_metrics)
    return -number if _is_maximised(objective) else number


def violations(
    constraints: Sequence[Constraint], measured: Measured, gpu_count: int, extra_metrics: MetricValues = NO_METRICS
) -> tuple[str, ...]:
    """Return a text for each bound that the measurement violates; empty if it meets all of them.

    An unknown built-in metric violates every bound on it: a configuration without that value cannot be recommended. A
    missing extra metric is reported by `missing_metrics` instead: the next trial may have it.
    """
    return tuple(
        text for constraint in constraints for text in _broken_bounds(constraint, measured, gpu_count, extra_metrics)
    )


def required_metrics(objective: Objective) -> tuple[str, ...]:
    """Return the names of the study's own metrics that the objective and its constraints need."""
    bounds = (bound.metric for bound in objective.constraints if bound.metric not in CONSTRAINT_METRICS)
    return tuple(dict.fromkeys((*_inputs(objective), *bounds)))


def missing_metrics(objective: Objective, extra_metrics: MetricValues) -> tuple[str, ...]:
    """Return a text for each required metric that has no value; empty if all of them have one."""
    return tuple(_sentences(objective, required_metrics(objective), extra_metrics))


def has_value(objective: Objective, extra_metrics: MetricValues) -> bool:
    """Return whether every extra metric that the objective itself needs has a value; constraints do not matter."""
    return not any(_sentences(objective, _inputs(objective), extra_metrics))


def eligible(study: Study, pool: Pool, trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the measured trials that meet the study's constraints and can be compared, in the order given."""
    return tuple(candidate.trial for candidate in _candidates(study, pool, trials))


def best(study: Study, pool: Pool, trials: Iterable[Trial]) -> Trial | None:
    """Return the trial to recommend, None when no measured trial is eligible.

    A trial ties with the top trial if it is worse by at most `TIE_RATIO` or one standard error of their difference,
    whichever is larger (the one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees,
    section 3.4.3). A tie goes to fewer GPUs, then to the better value, then to the smaller batch, then to the earlier
    trial. The result is therefore not always the trial with the best value.
    """
    candidates = _candidates(study, pool, trials)
    if not candidates:
        return None
    top = min(candidates, key=lambda candidate: (candidate.loss, candidate.error, *_preference(candidate)))
    return min((candidate for candidate in candidates if _ties(candidate, top)), key=_preference).trial


def standard_error_ratio(measured: Measured) -> float:
    """Return the standard error of the throughput, relative to it, from the spread of the repeats; 0 if that is 0.

    The range of a few repeats estimates their standard deviation sigma; the standard error of a median of n repeats is
    1.2533 * sigma / sqrt(n).
    """
    most = len(_RANGE_IN_SIGMAS) + 1
    sigma_ratio = measured.spread_ratio / _RANGE_IN_SIGMAS[min(max(measured.repeats, 2), most) - 2]
    return _MEDIAN_TO_MEAN * sigma_ratio / sqrt(measured.repeats)


def improvement_ratio(objective: Objective, new: float, old: float) -> float | None:
    """Return how much better `new` is than `old`, relative to `old`: 0.1 is 10 % more throughput, or 10 % less cost.

    The result is negative if `new` is worse, and None if `old` is 0, as one of the study's own metrics can be.

    Raises:
        ValueError: `old` is negative.
    """
    if old < 0:
        raise ValueError(f"an objective value is never negative, got {old}")
    if old == 0:
        return None
    return (new - old) / old if _is_maximised(objective) else (old - new) / old


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    trial: Trial
    loss: float
    error: float  # standard error of the loss


def _candidates(study: Study, pool: Pool, trials: Iterable[Trial]) -> tuple[_Candidate, ...]:
    objective = study.objective
    found: list[_Candidate] = []
    for trial in trials:
        gpus, result, extra_metrics = trial.configuration.gpu_count, trial.result, trial.extra_metrics
        if not isinstance(result, Measured) or missing_metrics(objective, extra_metrics):
            continue
        if not violations(objective.constraints, result, gpus, extra_metrics):
            number = loss(objective, result, gpus, pool.price_per_gpu_hour, extra_metrics)
            # Every built-in objective is proportional to the throughput or to its inverse, so the relative error is the
            # same. The relative error of the study's own metrics is unknown.
            ratio = standard_error_ratio(result) if objective.metric in METRICS else 0.0
            found.append(_Candidate(trial=trial, loss=number, error=abs(number) * ratio))
    return tuple(found)


def _inputs(objective: Objective) -> tuple[str, ...]:
    """Return the names of the extra metrics from which the objective value is computed."""
    if objective.metric == "tokensPerJoule":
        return () if objective.power_metric is None else (objective.power_metric,)
    return () if objective.metric in METRICS else (objective.metric,)


def _sentences(objective: Objective, names: Iterable[str], extra_metrics: MetricValues) -> Iterator[str]:
    for name in names:
        number = extra_metrics.get(name, _NO_WINDOW)
        if isinstance(number, Missing):
            yield f"{name} missing: {number.reason}"
        elif (objective.metric, objective.power_metric) == ("tokensPerJoule", name) and number < _LEAST_WATTS:
            yield f"{name} missing: NotPositive"


def _ties(candidate: _Candidate, top: _Candidate) -> bool:
    return candidate.loss <= top.loss + max(TIE_RATIO * abs(top.loss), hypot(candidate.error, top.error))


def _preference(candidate: _Candidate) -> tuple[int, float, int, int]:
    cell = candidate.trial.configuration
    return (cell.gpu_count, candidate.loss, cell.batch_size, candidate.trial.index)


def _is_maximised(objective: Objective) -> bool:
    if objective.goal is not None:
        return objective.goal == "Maximize"
    return objective.metric != "costPerMillionTokens"


def _broken_bounds(
    constraint: Constraint, measured: Measured, gpu_count: int, extra_metrics: MetricValues
) -> Iterator[str]:
    name = constraint.metric
    number = _metric(name, measured, gpu_count, extra_metrics)
    if number is None:
        if name in _FIELDS:
            yield f"{name} unknown: {measured.missing[_FIELDS[name]]}"
        return
    if constraint.maximum is not None and number > constraint.maximum:
        yield f"{name} {number:g} > {constraint.maximum:g}"
    if constraint.minimum is not None and number < constraint.minimum:
        yield f"{name} {number:g} < {constraint.minimum:g}"


_FIELDS: Mapping[str, str] = {
    "batchSecondsP50": "batch_seconds_p50",
    "batchSecondsP95": "batch_seconds_p95",
    "gpuMemoryPeakBytes": "gpu_memory_peak_bytes",
}


def _metric(name: str, measured: Measured, gpu_count: int, extra_metrics: MetricValues) -> float | None:
    match name:
        case "batchSecondsP50":
            return measured.batch_seconds_p50
        case "batchSecondsP95":
            return measured.batch_seconds_p95
        case "gpuMemoryPeakBytes":
            return measured.gpu_memory_peak_bytes
        case "spread":
            return measured.spread_ratio
        case "throughputPerGPU":
            return measured.throughput_tokens_per_second / gpu_count
        case _:
            number = extra_metrics.get(name, _NO_WINDOW)
            return None if isinstance(number, Missing) else number
