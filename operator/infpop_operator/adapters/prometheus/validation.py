"""Validate the values in an answer of Prometheus. Pure.

A valid value is the only one, belongs to the run and time of the query, and is possible in its unit. Any other is
`Missing` with a reason.
"""

import math
from collections.abc import Mapping
from datetime import datetime

from infpop_operator.adapters.prometheus.answers import BAD_ANSWER, REJECTED, Answer, Series
from infpop_operator.adapters.prometheus.promql import SLACK
from infpop_operator.adapters.runner_metrics import to_index
from infpop_operator.core.extra_metrics import LARGEST, Unit
from infpop_operator.core.model import Missing, Sample, Value, WatchedRun

NOT_YET = ("Empty", "Stale")  # a sample that was scraped may appear a moment later
_ROUNDING = 1e-9  # the mean of a hundred values of 100 % is slightly more


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


def to_metric_value(answer: Answer, unit: Unit, window: tuple[datetime, datetime]) -> float | Missing:
    """Return the single value of an extra metric in a trial's window, or why it is missing."""
    if answer.kind not in ("vector", "scalar"):
        return Missing(reason=REJECTED)  # the query returns raw samples, or a text
    if len(answer.series) > 1:
        return Missing(reason="TwoSeries")
    if not answer.series:
        return Missing(reason="Empty")
    ((time, value),) = answer.series[0].samples
    earliest, latest = _bounds(*window)
    if not earliest <= time <= latest:
        return Missing(reason="Stale")
    if not math.isfinite(value):
        return Missing(reason="NotANumber")
    return _in_unit(value, LARGEST[unit])


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
