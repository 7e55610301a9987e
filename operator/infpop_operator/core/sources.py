"""Merge the values that several metrics sources report for the trials of one run.

The sources that observed the run while it was live (Prometheus, the Pod's own metrics) come first, in the order given;
the runner's result is complete and comes last. A value is kept if all sources agree. If they disagree, it is unknown
which one is right, so the trial is invalid: it is measured again, and the search gets no value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from infpop_operator.core.model import Finished, Missing, Sample, Value
from infpop_runner.contract import Invalid, Measured, TrialResult

AGREEMENT_RATIO = 0.01  # two readings of the same gauge differ only by rounding; repeats differ by 1 % and more
_CLOCK_STEP_S = 5.0  # a node's clock may be adjusted during a run, and the end of a run is known only to the second

Samples = Mapping[int, Sample]
MetricValues = Mapping[int, Mapping[str, float | Missing]]


def merge_sources(finished: Finished, sources: Sequence[tuple[str, Samples]]) -> Finished:
    """Return the run with each value taken from the first source that has one, and with that source's name.

    Args:
        finished: the run with the values of the runner's result.
        sources: name of each metrics source and its samples by trial index; the most trusted source first.
    """
    chosen: dict[int, str] = {}
    trials: list[TrialResult] = []
    for trial in finished.result.trials:
        values = _values(trial, sources)
        if isinstance(trial, Measured) and values:
            trials.append(_agreed(trial, values))
            chosen[trial.index] = next(iter(values))
        else:
            trials.append(trial)
    return replace(
        finished,
        result=finished.result.model_copy(update={"trials": tuple(trials)}),
        sources=chosen,
        missing_sources=_missing_sources(finished, sources),
    )


def windows_of(finished: Finished) -> Mapping[int, tuple[datetime, datetime]]:
    """Return the time window in which each measured trial was measured, by trial index.

    Older runners do not report windows. A window that ends after the run's end is ignored.
    """
    start = finished.result.started_at
    length_s = (finished.ended_at - start).total_seconds() + _CLOCK_STEP_S
    return {
        trial.index: (
            start + timedelta(seconds=trial.window_seconds[0]),
            start + timedelta(seconds=trial.window_seconds[1]),
        )
        for trial in finished.result.trials
        if isinstance(trial, Measured) and trial.window_seconds is not None and trial.window_seconds[1] <= length_s
    }


def with_extra_metrics(finished: Finished, extra_metrics: MetricValues) -> Finished:
    """Return the run with the extra metrics of its trials, each a finite number or the reason why it is missing."""
    return replace(
        finished,
        extra_metrics={
            index: {name: _finite(value) for name, value in of_trial.items()}
            for index, of_trial in extra_metrics.items()
        },
    )


def _finite(value: float | Missing) -> float | Missing:
    """Replace NaN and infinity by `Missing`: JSON cannot represent them, so the journal could not be read again."""
    if isinstance(value, Missing) or math.isfinite(value):
        return value
    return Missing(reason="NotANumber")


def _missing_sources(finished: Finished, sources: Sequence[tuple[str, Samples]]) -> dict[str, str]:
    """Return, for each source that has no value for some measured trial, the first reason."""
    measured = [trial.index for trial in finished.result.trials if isinstance(trial, Measured)]
    reasons: dict[str, str] = {}
    for name, found in sources:
        for index in measured:
            sample = found.get(index)
            if isinstance(sample, Missing):
                reasons.setdefault(name, sample.reason)
    return reasons


def _values(trial: TrialResult, sources: Sequence[tuple[str, Samples]]) -> dict[str, float]:
    samples = ((name, found.get(trial.index)) for name, found in sources)
    return {name: sample.tokens_per_second for name, sample in samples if isinstance(sample, Value)}


def _agreed(trial: Measured, values: Mapping[str, float]) -> Measured | Invalid:
    own = trial.throughput_tokens_per_second
    if all(abs(value - own) <= AGREEMENT_RATIO * own for value in values.values()):
        return trial.model_copy(update={"throughput_tokens_per_second": next(iter(values.values()))})
    reported = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
    detail = f"tokens/s differ by more than {AGREEMENT_RATIO:.0%}: {reported}, result {own:.6g}"
    return Invalid(index=trial.index, batch_size=trial.batch_size, reason="SourcesDisagree", detail=detail)
