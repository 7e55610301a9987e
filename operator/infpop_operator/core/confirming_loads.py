"""What the confirming runs of one trial have measured, and whether another one is worthwhile.

A confirming run has one trial: it measures once more, in full and on a fresh engine load, a configuration that the
search has measured. Everything follows from the history, as for the trials of the search.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from infpop_operator.core.history import (
    OF_ITS_ENGINE,
    broken_reason,
    counts_as_failure,
    ended_before_return,
    own_runs_of,
    results_of,
    retries_after,
    runs_of,
)
from infpop_operator.core.load_noise import LoadNoise, student_t
from infpop_operator.core.metric_values import NO_WINDOW
from infpop_operator.core.model import Confirmed, EndedRun, Finished, History, Missing, Round, Run, Trial
from infpop_runner.contract import Infeasible, Invalid, Measured

_MOST_INVALID = 1  # as in the search: an unstable measurement is repeated once, longer
_SMALLEST_SHARE = 1e-3  # of a mean, for the lower end of an interval that is wider: a throughput is above 0
Why = tuple[str, str]  # a reason and its detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """The confirming runs of one trial.

    `measured` is the trial with the number of each load, in the order in which they ended. `live` runs are under way,
    and `runs` have been started in all. `longer`: the next one measures longer. `lost_for` says why the configuration
    does not survive a fresh load, `stuck_for` why it cannot be measured for a reason that is not its own.
    """

    trial: Trial
    measured: tuple[Trial, ...]
    live: int
    runs: int
    longer: bool = False
    lost_for: Why | None = None
    stuck_for: Why | None = None


def loads_of(history: History, entry: Round, trial: Trial) -> Loads:
    """Return what the confirming runs of a trial of the round `entry` have given."""
    ended = [each for each in own_runs_of(history.ended, entry) if _is_about(each.run, trial)]
    live = sum(_is_about(each.run, trial) for each in runs_of(history.active, entry))
    before = ended_before_return(history, entry)
    given_up = _given_up([each for each in ended if each.run.name not in before])
    is_own = given_up is not None and given_up[0] in OF_ITS_ENGINE
    return Loads(
        trial=trial,
        measured=tuple(load for each in ended if (load := _with_number(trial, each)) is not None),
        live=live,
        runs=len(ended) + live,
        longer=bool(ended) and any(isinstance(found, Invalid) for found in results_of(ended[-1])),
        lost_for=_why_lost(ended) or (given_up if is_own else None),
        stuck_for=None if is_own else given_up,
    )


def _is_about(run: Run, trial: Trial) -> bool:
    return run.confirms and run.trials[0].index == trial.index


def _why_lost(ended: Iterable[EndedRun]) -> Why | None:
    found = [result for each in ended for result in results_of(each)]
    infeasible = next((result for result in found if isinstance(result, Infeasible)), None)
    if infeasible is not None:
        return (infeasible.reason, infeasible.detail)
    invalid = [result for result in found if isinstance(result, Invalid)]
    return (invalid[-1].reason, invalid[-1].detail) if len(invalid) > _MOST_INVALID else None


def _given_up(ended: Iterable[EndedRun]) -> Why | None:
    """Return why the newest run broke, if the runs have broken as often as those of a trial may."""
    broken = [why for each in ended if (why := _why_broken(each)) is not None]
    return broken[-1] if broken and len(broken) > retries_after(broken[-1][0]) else None


def _why_broken(ended: EndedRun) -> Why | None:
    if counts_as_failure(ended):
        return broken_reason(ended)
    results = results_of(ended)
    if results and not any(isinstance(result, Measured | Infeasible | Invalid) for result in results):
        return ("RunnerError", f"the result of a full measurement is {results[0].outcome}")
    return None


def _with_number(trial: Trial, ended: EndedRun) -> Trial | None:
    """Return the trial with what one load measured, None if that has no number."""
    found = ended.observation
    measured = next((result for result in results_of(ended) if isinstance(result, Measured)), None)
    if measured is None or not isinstance(found, Finished):
        return None
    return replace(
        trial,
        run=ended.run.name,
        result=measured,
        source=found.sources.get(trial.index),
        extra_metrics=found.extra_metrics.get(trial.index, {}),
        reused_from=None,
    )


def combined(loads: Sequence[Trial], *, of_throughput: LoadNoise | None, of_value: LoadNoise | None) -> Trial:
    """Return a trial with the mean of what its loads measured, each of which counts the same.

    Args:
        loads: the trial with the number of each load, at least one.
        of_throughput: how much the throughput of a configuration differs from load to load, None if unknown.
        of_value: how much its objective value does, None if unknown: then the trial is not confirmed.

    Raises:
        ValueError: there is no load with a number.
    """
    results = [each.result for each in loads if isinstance(each.result, Measured)]
    if not results:
        raise ValueError("no load has a number")
    tokens = fmean(each.throughput_tokens_per_second for each in results)
    interval = None if of_throughput is None else _interval(tokens, of_throughput, len(results))
    confirmed = None
    if of_value is not None:
        confirmed = Confirmed(
            loads=len(results),
            error_ratio=of_value.error_ratio(len(results)),
            degrees_of_freedom=of_value.degrees_of_freedom,
        )
    names = dict.fromkeys(name for each in loads for name in each.extra_metrics)
    return replace(
        loads[-1],
        result=_summary(results).model_copy(
            update={"throughput_tokens_per_second": tokens, "interval_tokens_per_second": interval}
        ),
        extra_metrics={name: _mean_metric(loads, name) for name in names},
        confirmed=confirmed,
    )


def _summary(results: Sequence[Measured]) -> Measured:
    """Return the last result with what all loads say: means of times, and the largest memory and spread of any."""
    last = results[-1]
    if len(results) == 1:
        return last
    return last.model_copy(
        update={
            "spread_ratio": max(each.spread_ratio for each in results),
            "repeats": sum(each.repeats for each in results),
            "generated_tokens": sum(each.generated_tokens for each in results),
            "measured_seconds": sum(each.measured_seconds for each in results),
            "window_seconds": None,
        }
        | {name: _mean(results, name) for name in ("batch_seconds_p50", "batch_seconds_p95")}
        | {name: _largest(results, name) for name in ("gpu_memory_peak_bytes", "concurrency_peak")}
    )


def _known(results: Sequence[Measured], name: str) -> list[float]:
    """Return the numbers of one field; none if the last result lacks it, because that gives the reason."""
    return [number for each in results if (number := getattr(each, name)) is not None]


def _mean(results: Sequence[Measured], name: str) -> float | None:
    return None if getattr(results[-1], name) is None else fmean(_known(results, name))


def _largest(results: Sequence[Measured], name: str) -> float | None:
    return None if getattr(results[-1], name) is None else max(_known(results, name))


def _interval(tokens: float, noise: LoadNoise, loads: int) -> tuple[float, float]:
    half = student_t(noise.degrees_of_freedom) * noise.error_ratio(loads)
    return (tokens * max(1 - half, _SMALLEST_SHARE), tokens * (1 + half))


def _mean_metric(loads: Sequence[Trial], name: str) -> float | Missing:
    """Return the mean of one of the study's own metrics; why it is missing, if any load lacks it."""
    found = [each.extra_metrics.get(name, NO_WINDOW) for each in loads]
    lacking = next((each for each in found if isinstance(each, Missing)), None)
    return lacking if lacking is not None else fmean(each for each in found if not isinstance(each, Missing))
