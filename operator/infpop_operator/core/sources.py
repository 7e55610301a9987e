"""Put together what several metrics sources say of the trials of one run.

The result that the runner left is complete and comes last; whoever watched it while it ran (its own metrics, then
Prometheus) comes first, in the order given. A number is kept when the sources agree. Where they do not, nobody knows
which is right, so the trial is invalid: it is measured again, and no number is told.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from infpop_operator.core.model import Finished, Missing, Sample, Value
from infpop_runner.contract import Invalid, Measured, TrialResult

AGREEMENT_RATIO = 0.01  # the same gauge, read twice, differs by rounding alone; 1 % is where repeats begin to differ
_CLOCK_STEP_S = 5.0  # a node's clock may be set during a run, and its end is known to the second

Samples = Mapping[int, Sample]
MetricValues = Mapping[int, Mapping[str, float | Missing]]


def merge_sources(finished: Finished, sources: Sequence[tuple[str, Samples]]) -> Finished:
    """Return the run with each number from the first source that has one, and the source's name.

    Args:
        finished: as the runner's result says.
        sources: name of a metrics source, and what it has by trial index; the most trusted first.
    """
    given: dict[int, str] = {}
    trials: list[TrialResult] = []
    for trial in finished.result.trials:
        values = _values(trial, sources)
        if isinstance(trial, Measured) and values:
            trials.append(_agreed(trial, values))
            given[trial.index] = next(iter(values))
        else:
            trials.append(trial)
    return replace(
        finished,
        result=finished.result.model_copy(update={"trials": tuple(trials)}),
        sources=given,
        missing_sources=_unanswered(finished, sources),
    )


def windows_of(finished: Finished) -> Mapping[int, tuple[datetime, datetime]]:
    """Return when the measured trials of a run were measured, by trial index.

    Older runners do not tell, and what is told of a time after the run's end is not believed.
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
    """Return the run with further metrics of its trials, each a number that can be written down, or why it is none."""
    return replace(
        finished,
        extra_metrics={
            index: {name: _written(figure) for name, figure in of_trial.items()}
            for index, of_trial in extra_metrics.items()
        },
    )


def _written(figure: float | Missing) -> float | Missing:
    """JSON has no NaN and no infinity: a journal with one of them could never be read again."""
    if isinstance(figure, Missing) or math.isfinite(figure):
        return figure
    return Missing(reason="NotANumber")


def _unanswered(finished: Finished, sources: Sequence[tuple[str, Samples]]) -> dict[str, str]:
    """Return the first reason for which each source had no number of a trial that was measured."""
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
    said = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
    detail = f"tokens/s differ by more than {AGREEMENT_RATIO:.0%}: {said}, result {own:.6g}"
    return Invalid(index=trial.index, batch_size=trial.batch_size, reason="SourcesDisagree", detail=detail)
