"""The constraints of a study: a metric and its bounds, never an expression, and what a measurement violates of them."""

from collections.abc import Iterator, Mapping, Sequence

from infpop_operator.core.metric_values import NO_METRICS, NO_WINDOW, MetricValues
from infpop_operator.core.model import Missing
from infpop_operator.core.study import Constraint, Study
from infpop_runner.contract import Measured


def violations(
    study: Study,
    measured: Measured,
    gpu_count: int,
    extra_metrics: MetricValues = NO_METRICS,
    *,
    bounds: Sequence[Constraint] | None = None,
) -> tuple[str, ...]:
    """Return a text for each bound that the measurement violates; empty if it meets all of them.

    An unknown built-in metric violates every bound on it: a configuration without that value cannot be recommended. A
    missing extra metric is reported by `missing_metrics` instead: the next trial may have it.

    Args:
        study: the study; its constraints are the bounds.
        measured: the measurement.
        gpu_count: the GPUs of its configuration.
        extra_metrics: the study's own metrics of the trial.
        bounds: instead of the study's constraints.
    """
    wanted = study.objective.constraints if bounds is None else bounds
    return tuple(text for bound in wanted for text in _broken_bounds(study, bound, measured, gpu_count, extra_metrics))


def seconds_per_output_token(study: Study, measured: Measured) -> float | None:
    """Return the time per output token of one sequence, in seconds; None if its engine reports no times of sequences.

    It is the median time that a sequence spends in the batch, divided by the number of tokens that it generates. The
    time in the batch includes the prefill and each wait for the other sequences of the batch. What a server adds is not
    part of it: the wait before a sequence enters the batch, and the network.
    """
    seconds = measured.batch_seconds_p50
    return None if seconds is None else seconds / study.workload.max_new_tokens


def _broken_bounds(
    study: Study, constraint: Constraint, measured: Measured, gpu_count: int, extra_metrics: MetricValues
) -> Iterator[str]:
    name = constraint.metric
    number = _metric(study, name, measured, gpu_count, extra_metrics)
    if number is None:
        if name in _FIELDS:
            yield f"{name} unknown: {measured.missing[_FIELDS[name]]}"
        return
    if constraint.maximum is not None and number > constraint.maximum:
        yield f"{name} {number:g} > {constraint.maximum:g}"
    if constraint.minimum is not None and number < constraint.minimum:
        yield f"{name} {number:g} < {constraint.minimum:g}"


# The field of the contract that a metric is read from; where it is absent, the metric is unknown for its reason.
_FIELDS: Mapping[str, str] = {
    "batchSecondsP50": "batch_seconds_p50",
    "batchSecondsP95": "batch_seconds_p95",
    "gpuMemoryPeakBytes": "gpu_memory_peak_bytes",
    "secondsPerOutputToken": "batch_seconds_p50",
}


def _metric(study: Study, name: str, measured: Measured, gpu_count: int, extra_metrics: MetricValues) -> float | None:
    match name:
        case "batchSecondsP50" | "batchSecondsP95" | "gpuMemoryPeakBytes":
            number: float | None = getattr(measured, _FIELDS[name])
            return number
        case "secondsPerOutputToken":
            return seconds_per_output_token(study, measured)
        case "spread":
            return measured.spread_ratio
        case "throughputPerGPU":
            return measured.throughput_tokens_per_second / gpu_count
        case _:
            extra = extra_metrics.get(name, NO_WINDOW)
            return None if isinstance(extra, Missing) else extra
