"""Compare measured trials: objective values, constraints, the best.

Nothing here looks at trials without a measurement. Constraints are data: a metric and its bounds, never an expression.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import assert_never

from infpop_operator.core.model import Constraint, ConstraintMetric, Objective, Pool, Study, Trial
from infpop_runner.contract import Measured

# Closer than this is a tie: real measurements of one configuration differ from run to run. 1 % is an assumption about
# that noise, chosen well below the gains that are worth a GPU (9-14 % in arXiv 2408.01050).
TIE_RATIO = 0.01
# Expected range of n normal samples in standard deviations, n = 2 to 10 (the constant d2 of control charts). More
# repeats are taken as ten, which makes their noise too large rather than too small.
_RANGE_IN_SIGMAS = (1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970, 3.078)
_MEDIAN_TO_MEAN = 1.2533  # standard error of a median over that of a mean: sqrt(pi / 2)
_SECONDS_PER_HOUR = 3600.0
_TOKENS_PER_UNIT_OF_COST = 1e6


def value(objective: Objective, measured: Measured, gpu_count: int, price_per_gpu_hour: float | None) -> float:
    """Return the objective of one measurement, in the unit of its metric.

    `throughput` is in tokens/s, `throughputPerGPU` in tokens/s for each GPU, both to be maximised.
    `costPerMillionTokens` is in the currency of the price, to be minimised.

    Raises:
        ValueError: a cost is asked for and the pool has no price (which a parsed study never lets happen).
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
        case _ as never:
            assert_never(never)


def cost_per_million_tokens(measured: Measured, gpu_count: int, price_per_gpu_hour: float) -> float:
    """Return what a million generated tokens cost, in the currency of the price."""
    cost_per_second = price_per_gpu_hour * gpu_count / _SECONDS_PER_HOUR
    return cost_per_second / measured.throughput_tokens_per_second * _TOKENS_PER_UNIT_OF_COST


def loss(objective: Objective, measured: Measured, gpu_count: int, price_per_gpu_hour: float | None) -> float:
    """Return the objective as a number to be minimised. Same arguments and errors as `value`."""
    number = value(objective, measured, gpu_count, price_per_gpu_hour)
    return -number if _is_maximised(objective) else number


def violations(constraints: Sequence[Constraint], measured: Measured, gpu_count: int) -> tuple[str, ...]:
    """Return a sentence for each bound that the measurement breaks; empty when it keeps to all of them.

    A metric that is not known breaks every bound on it: what was not measured cannot be recommended.
    """
    return tuple(text for constraint in constraints for text in _broken_bounds(constraint, measured, gpu_count))


def eligible(study: Study, pool: Pool, trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the measured trials that keep to the study's constraints, in the order given."""
    return tuple(candidate.trial for candidate in _candidates(study, pool, trials))


def best(study: Study, pool: Pool, trials: Iterable[Trial]) -> Trial | None:
    """Return the trial to recommend, None when no measured trial keeps to the constraints.

    A trial ties with the top when it is worse by no more than `TIE_RATIO` or one standard error of their difference,
    whichever is larger (the one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees,
    section 3.4.3). A tie goes to fewer GPUs, then to the better value, then to the smaller batch, then to the earlier
    trial. So the result need not be the trial with the highest number.
    """
    candidates = _candidates(study, pool, trials)
    if not candidates:
        return None
    top = min(candidates, key=lambda candidate: (candidate.loss, candidate.error, *_preference(candidate)))
    return min((candidate for candidate in candidates if _ties(candidate, top)), key=_preference).trial


def standard_error_ratio(measured: Measured) -> float:
    """Return the standard error of the throughput, relative to it, from the spread of the repeats; 0 without one.

    The range of a few repeats estimates their standard deviation, which a median of n has 1.2533 / sqrt(n) times.
    """
    most = len(_RANGE_IN_SIGMAS) + 1
    sigma_ratio = measured.spread_ratio / _RANGE_IN_SIGMAS[min(max(measured.repeats, 2), most) - 2]
    return _MEDIAN_TO_MEAN * sigma_ratio / sqrt(measured.repeats)


def improvement_ratio(objective: Objective, new: float, old: float) -> float:
    """Return how much better `new` is than `old`, relative to `old`: 0.1 is 10 % more throughput, or 10 % less cost.

    Negative when it is worse.

    Raises:
        ValueError: `old` is not positive.
    """
    if old <= 0:
        raise ValueError(f"an objective value is positive, got {old}")
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
        gpus, result = trial.configuration.gpu_count, trial.result
        if isinstance(result, Measured) and not violations(objective.constraints, result, gpus):
            number = loss(objective, result, gpus, pool.price_per_gpu_hour)
            # Every objective is proportional to the throughput or to its inverse: the relative error is the same.
            error = abs(number) * standard_error_ratio(result)
            found.append(_Candidate(trial=trial, loss=number, error=error))
    return tuple(found)


def _ties(candidate: _Candidate, top: _Candidate) -> bool:
    return candidate.loss <= top.loss + max(TIE_RATIO * abs(top.loss), hypot(candidate.error, top.error))


def _preference(candidate: _Candidate) -> tuple[int, float, int, int]:
    cell = candidate.trial.configuration
    return (cell.gpu_count, candidate.loss, cell.batch_size, candidate.trial.index)


def _is_maximised(objective: Objective) -> bool:
    return objective.metric != "costPerMillionTokens"


def _broken_bounds(constraint: Constraint, measured: Measured, gpu_count: int) -> Iterator[str]:
    name = constraint.metric
    number = _metric(name, measured, gpu_count)
    if number is None:
        yield f"{name} unknown: {measured.missing[_FIELDS[name]]}"
        return
    if constraint.maximum is not None and number > constraint.maximum:
        yield f"{name} {number:g} > {constraint.maximum:g}"
    if constraint.minimum is not None and number < constraint.minimum:
        yield f"{name} {number:g} < {constraint.minimum:g}"


_FIELDS: dict[ConstraintMetric, str] = {
    "batchSecondsP50": "batch_seconds_p50",
    "batchSecondsP95": "batch_seconds_p95",
    "gpuMemoryPeakBytes": "gpu_memory_peak_bytes",
}


def _metric(name: ConstraintMetric, measured: Measured, gpu_count: int) -> float | None:
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
        case _ as never:
            assert_never(never)
