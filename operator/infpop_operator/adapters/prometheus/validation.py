"""Validate the values in an answer of Prometheus. Pure.

A valid value is the only one, or the only one of each GPU of the run; it belongs to the run and time of the query, and
is possible in its unit. Any other is `Missing` with a reason.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from statistics import fmean

from infpop_operator.adapters.prometheus.answers import BAD_ANSWER, REJECTED, Answer, Series
from infpop_operator.adapters.prometheus.promql import SLACK
from infpop_operator.adapters.runner_metrics import to_index
from infpop_operator.core.extra_metrics import LARGEST, LARGEST_PER_GPU, AcrossGpus, Unit
from infpop_operator.core.model import Missing, Sample, Value, WatchedRun

NOT_YET = ("Empty", "Stale")  # a sample that was scraped may appear a moment later
_ROUNDING = 1e-9  # the mean of a hundred values of 100 % is slightly more
_ACROSS: Mapping[AcrossGpus, Callable[[Sequence[float]], float]] = {"mean": fmean, "sum": math.fsum, "max": max}
# In place of a value that it does not have, DCGM reports one of these numbers, or one, two or three more: blank, not
# found, not supported, not permitted (dcgm_structs.h: DCGM_INT32_BLANK, DCGM_INT64_BLANK, DCGM_FP64_BLANK).
_BLANKS = (float(0x7FFFFFF0), float(0x7FFFFFFFFFFFFFF0), float(2**47))
_BLANK_KINDS = 2e-9  # relative: the three more, and the rounding of a scaled number
# By these, queries change the unit: from MiB to bytes for example.
_SCALES = (1.0, 2.0**20, 2.0**10, 1e6, 1e3, 1e-3, 1e-6)


def to_samples(answer: Answer, watched: WatchedRun) -> dict[int, Sample]:
    """Return the throughput of each trial from the raw samples of its run, or why it is missing.

    One sample is enough: the runner sets a throughput once and does not change it. Samples from before the start of the
    run belong to an earlier run of the same name.
    """
    owner = {"namespace": watched.namespace, "study": watched.study, "run": watched.run}
    if answer.kind != "matrix" or not all(owner.items() <= series.labels.items() for series in answer.series):
        return dict.fromkeys(watched.trials, Missing(reason=BAD_ANSWER))
    by_trial = _by_trial(answer, watched)
    return {index: _to_sample(by_trial.get(index, ())) for index in watched.trials}


def to_metric_value(
    answer: Answer,
    unit: Unit,
    window: tuple[datetime, datetime],
    *,
    across_gpus: AcrossGpus | None = None,
    gpu_count: int | None = None,
) -> float | Missing:
    """Return the value of an extra metric in a trial's window, or why it is missing.

    Args:
        answer: a single number, or one for each GPU of the run if the metric is `across_gpus`.
        unit: the unit of each number.
        window: when the trial was measured.
        across_gpus: how the values of several GPUs become one.
        gpu_count: the devices of the run, None if their number is unknown: then any number of GPUs may answer.
    """
    if answer.kind not in ("vector", "scalar"):
        return Missing(reason=REJECTED)  # the query returns raw samples, or a text
    if not answer.series:
        return Missing(reason="Empty")
    wanted = 1 if across_gpus is None else gpu_count or len(answer.series)
    if len(answer.series) != wanted:
        return Missing(reason="TwoSeries" if len(answer.series) > wanted else "FewerGPUs")
    largest = LARGEST[unit] if across_gpus is None else LARGEST_PER_GPU.get(unit, LARGEST[unit])
    values = [_element(series, window, largest) for series in answer.series]
    numbers = [value for value in values if not isinstance(value, Missing)]
    if len(numbers) < len(values):
        return next(value for value in values if isinstance(value, Missing))
    return _ACROSS[across_gpus or "max"](numbers)


def _element(series: Series, window: tuple[datetime, datetime], largest: float | None) -> float | Missing:
    """Return the value of one element of a vector, or why it is not a value of this trial."""
    ((time, value),) = series.samples
    earliest, latest = _bounds(*window)
    if not earliest <= time <= latest:
        return Missing(reason="Stale")
    if not math.isfinite(value):
        return Missing(reason="NotANumber")
    if _is_blank(value):
        return Missing(reason="Blank")
    return _in_unit(value, largest)


def _is_blank(value: float) -> bool:
    """Return whether `value` is one of the numbers with which DCGM says that it has none, in any usual unit."""
    return any(math.isclose(value, blank * scale, rel_tol=_BLANK_KINDS) for blank in _BLANKS for scale in _SCALES)


def _in_unit(value: float, largest: float | None) -> float | Missing:
    if value < 0 or (largest is not None and value > largest * (1 + _ROUNDING)):
        return Missing(reason="WrongUnit")
    return value if largest is None else min(value, largest)


def _by_trial(answer: Answer, watched: WatchedRun) -> Mapping[int, list[tuple[float, ...]]]:
    """Return by trial the values of each of its series during the run."""
    found: dict[int, list[tuple[float, ...]]] = {}
    for series in answer.series:
        index = to_index(series.labels.get("trial"))
        if index is not None:
            found.setdefault(index, []).append(_values(series, watched))
    return found


def _values(series: Series, watched: WatchedRun) -> tuple[float, ...]:
    earliest, latest = _bounds(watched.started_at, watched.ended_at)
    return tuple(value for time, value in series.samples if earliest <= time <= latest)


def _bounds(begin: datetime, end: datetime) -> tuple[float, float]:
    return begin.timestamp(), (end + SLACK).timestamp()


def _to_sample(found: list[tuple[float, ...]] | tuple[()]) -> Sample:
    """Return the throughput in the values of all series of one trial, or why it is missing."""
    recent = [values for values in found if values]
    if not recent:
        return Missing(reason="Stale" if found else "Empty")
    values = {value for series in recent for value in series}
    if not all(map(math.isfinite, values)):
        return Missing(reason="NotANumber")
    if len(values) > 1:
        return Missing(reason="Ambiguous")
    if len(recent) > 1:
        return Missing(reason="TwoSeries")
    (value,) = values
    return Value(tokens_per_second=value) if value > 0 else Missing(reason="NotPositive")
