"""Compare measured trials: objective values and the best trial.

Trials without a measurement are ignored. A trial without a metric that the objective or a constraint needs is left out
of every comparison: its value is unknown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot

from infpop_operator.core.constraints import violations
from infpop_operator.core.load_noise import student_t
from infpop_operator.core.metric_values import (
    LEAST_WATTS,
    NO_METRICS,
    NO_WINDOW,
    MetricValues,
    has_value,
    missing_metrics,
)
from infpop_operator.core.model import Missing, Trial
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_operator.core.study import METRICS, Objective, Pool, Study
from infpop_runner.contract import Measured

# A smaller relative difference is a tie: measurements of one configuration differ from run to run. 1 % is an assumption
# about that noise, chosen well below the gains that are worth a GPU (9-14 % in arXiv 2408.01050).
TIE_RATIO = 0.01
_SECONDS_PER_HOUR = 3600.0
_TOKENS_PER_UNIT_OF_COST = 1e6


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
    if objective.metric == "costPerMillionTokens" and price_per_gpu_hour is None:
        raise ValueError("costPerMillionTokens needs pricePerGPUHour on the pool")
    known = _value_at(objective, measured.throughput_tokens_per_second, gpu_count, price_per_gpu_hour)
    if known is not None:
        return known
    if objective.metric != "tokensPerJoule":
        return _known(objective.metric, extra_metrics)
    tokens = tokens_per_joule(objective, measured, extra_metrics)
    if tokens is None:
        raise ValueError("tokensPerJoule needs a power above 0")
    return tokens


def _value_at(
    objective: Objective, tokens_per_second: float, gpu_count: int, price_per_gpu_hour: float | None
) -> float | None:
    """Return the objective at a throughput, None if it does not follow from the throughput alone."""
    match objective.metric:
        case "throughput":
            return tokens_per_second
        case "throughputPerGPU":
            return tokens_per_second / gpu_count
        case "costPerMillionTokens" if price_per_gpu_hour is not None:
            return _cost_per_million_tokens(tokens_per_second, gpu_count, price_per_gpu_hour)
        case _:
            return None


def loss_at(
    objective: Objective, tokens_per_second: float, gpu_count: int, price_per_gpu_hour: float | None
) -> float | None:
    """Return the loss at a throughput that was not measured, None if it does not follow from the throughput alone."""
    number = _value_at(objective, tokens_per_second, gpu_count, price_per_gpu_hour)
    return None if number is None else -number if _is_maximised(objective) else number


def throughput_at(objective: Objective, loss: float, gpu_count: int, price_per_gpu_hour: float | None) -> float | None:
    """Return the throughput that has this loss, 0 if every throughput has at most this loss.

    None if the loss does not follow from the throughput alone, or if no throughput has at most this loss.
    """
    at_one = loss_at(objective, 1.0, gpu_count, price_per_gpu_hour)
    if at_one is None:
        return None
    if _is_maximised(objective):
        return max(0.0, loss / at_one)  # the loss is proportional to the throughput
    return at_one / loss if loss > 0 else None  # and to its inverse


def _known(name: str, extra_metrics: MetricValues) -> float:
    match extra_metrics.get(name, NO_WINDOW):
        case Missing(reason=reason):
            raise ValueError(f"the objective {name} is missing: {reason}")
        case number:
            return number


def tokens_per_joule(objective: Objective, measured: Measured, extra_metrics: MetricValues) -> float | None:
    """Return the generated tokens per joule, None if no power above 0 is known."""
    watts = extra_metrics.get(objective.power_metric or "", NO_WINDOW)
    if isinstance(watts, Missing) or watts < LEAST_WATTS:
        return None
    return measured.throughput_tokens_per_second / watts


def cost_per_million_tokens(measured: Measured, gpu_count: int, price_per_gpu_hour: float) -> float:
    """Return the cost of a million generated tokens, in the currency of the price."""
    return _cost_per_million_tokens(measured.throughput_tokens_per_second, gpu_count, price_per_gpu_hour)


def _cost_per_million_tokens(tokens_per_second: float, gpu_count: int, price_per_gpu_hour: float) -> float:
    cost_per_second = price_per_gpu_hour * gpu_count / _SECONDS_PER_HOUR
    return cost_per_second / tokens_per_second * _TOKENS_PER_UNIT_OF_COST


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


def eligible(study: Study, pool: Pool, trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the measured trials that meet the study's constraints and can be compared, in the order given."""
    return tuple(candidate.trial for candidate in _candidates(study, pool, trials))


def is_eligible(study: Study, trial: Trial) -> bool:
    """Return whether a trial was measured, meets the study's constraints and can be compared."""
    result, gpus = trial.result, trial.configuration.gpu_count
    if not isinstance(result, Measured) or missing_metrics(study.objective, trial.extra_metrics):
        return False
    return not violations(study, result, gpus, trial.extra_metrics)


def best(study: Study, pool: Pool, trials: Iterable[Trial]) -> Trial | None:
    """Return the trial to recommend, None when no measured trial is eligible.

    A trial ties with the top trial if it is worse by at most `TIE_RATIO` or one standard error of their difference,
    whichever is larger (the one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees,
    section 3.4.3). A tie goes to fewer GPUs, then to the better value, then to the smaller batch, then to the earlier
    trial. The result is therefore not always the trial with the best value.
    """
    return next(iter(tied_with_best(study, pool, trials)), None)


def tied_with_best(study: Study, pool: Pool, trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the trials that tie with the top trial, as `best` judges it, and the top trial.

    The first is that of `best`, the second that with the best value, then come the others, fewer GPUs first.
    """
    candidates = _candidates(study, pool, trials)
    top = _top(candidates)
    if top is None:
        return ()
    best, *others = sorted((candidate for candidate in candidates if _ties(candidate, top)), key=_preference)
    others.sort(key=lambda candidate: candidate is not top)
    return tuple(candidate.trial for candidate in (best, *others))


def top(study: Study, pool: Pool, trials: Iterable[Trial]) -> Trial | None:
    """Return the trial with the best value, whatever ties with it; None when no measured trial is eligible."""
    found = _top(_candidates(study, pool, trials))
    return None if found is None else found.trial


def is_clearly_better(study: Study, new: tuple[Pool, Trial], old: tuple[Pool, Trial]) -> bool:
    """Return whether `new` is better than `old` by more than the noise of both, as `best` judges a tie.

    Each trial is judged at the price of its own pool. A trial that is not eligible is never better, and never beaten:
    nothing is known that could be compared. Two confirmed trials have a better judge: all of `improvement_interval`.
    """
    found = [_candidates(study, pool, [trial]) for pool, trial in (new, old)]
    if not all(found):
        return False
    (better,), (other,) = found
    if _ties(other, better):
        return False
    interval = improvement_interval(study, new, old)
    return interval is None or interval[0] > 0


def improvement_interval(study: Study, new: tuple[Pool, Trial], old: tuple[Pool, Trial]) -> tuple[float, float] | None:
    """Return the 95 % interval of how much better `new` is than `old`, relative to `old`; None unless it is known.

    It is known for two trials that were both confirmed: only fresh loads show how much loads differ. The interval is
    Student's, with the fewer degrees of freedom of the two.
    """
    confirmed = [trial.confirmed for _, trial in (new, old)]
    values = [value_of(study, *each) for each in (new, old)]
    if None in confirmed or None in values or values[1] == 0:
        return None
    known = [each for each in confirmed if each is not None]
    better, other = (number for number in values if number is not None)
    error = student_t(min(each.degrees_of_freedom for each in known)) * hypot(*(each.error_ratio for each in known))
    ratio = better / other
    ends = sorted((ratio * (1 - error), ratio * (1 + error)))
    low, high = ((end - 1) if _is_maximised(study.objective) else (1 - end) for end in ends)
    return (min(low, high), max(low, high))


def value_of(study: Study, pool: Pool, trial: Trial) -> float | None:
    """Return the objective value of a trial, None if it was not measured or lacks a metric that the value needs."""
    if not isinstance(trial.result, Measured) or not has_value(study.objective, trial.extra_metrics):
        return None
    gpus = trial.configuration.gpu_count
    return value(study.objective, trial.result, gpus, pool.price_per_gpu_hour, trial.extra_metrics)


def tie_ratio(measured: Measured) -> float:
    """Return by how much another throughput may be lower than this one, relative to it, and tie with it."""
    return max(TIE_RATIO, standard_error_ratio(measured))


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


def error_ratio(study: Study, trial: Trial) -> float:
    """Return the standard error of the objective value of a measured trial, relative to it; 0 if it is not known.

    Every built-in objective is proportional to the throughput or to its inverse, so it has the relative error of the
    throughput: that of the confirming loads where there are any. That of the study's own metrics is unknown.

    Raises:
        TypeError: the trial was not measured.
    """
    if trial.confirmed is not None:
        return trial.confirmed.error_ratio
    if not isinstance(trial.result, Measured):
        raise TypeError(f"trial {trial.index} was not measured")
    return standard_error_ratio(trial.result) if study.objective.metric in METRICS else 0.0


def ties(candidate: tuple[float, float], top: tuple[float, float]) -> bool:
    """Return whether a loss is worse than the top one by no more than the noise of both, given as standard errors."""
    return candidate[0] <= top[0] + max(TIE_RATIO * abs(top[0]), hypot(candidate[1], top[1]))


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
        if isinstance(result, Measured) and is_eligible(study, trial):
            number = loss(objective, result, gpus, pool.price_per_gpu_hour, extra_metrics)
            ratio = error_ratio(study, trial)
            found.append(_Candidate(trial=trial, loss=number, error=abs(number) * ratio))
    return tuple(found)


def _top(candidates: Sequence[_Candidate]) -> _Candidate | None:
    """Return the candidate with the best value; of equal ones that with the smaller error."""
    return min(
        candidates, key=lambda candidate: (candidate.loss, candidate.error, *_preference(candidate)), default=None
    )


def _ties(candidate: _Candidate, top: _Candidate) -> bool:
    return ties((candidate.loss, candidate.error), (top.loss, top.error))


def _preference(candidate: _Candidate) -> tuple[int, float, int, int]:
    cell = candidate.trial.configuration
    return (cell.gpu_count, candidate.loss, cell.batch_size, candidate.trial.index)


def _is_maximised(objective: Objective) -> bool:
    if objective.goal is not None:
        return objective.goal == "Maximize"
    return objective.metric != "costPerMillionTokens"
