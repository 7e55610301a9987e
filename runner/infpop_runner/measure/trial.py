"""Measure one trial in full: warm up, repeat, validate.

Order of events: `warmup_batches` full batches of other prompts, not timed; then `repeats` repeats, each of as many
whole passes as fill `min_repeat_seconds`. A trial gets a number only if every sequence is complete, the batch was never
larger than requested, nothing was computed twice or taken from a cache, no CPU limit throttled the engine of a GPU, and
the repeats agree. If they disagree, each repeat is extended once by another of the same length, and all of them are
validated again: this adds evidence and drops none. (The range over more repeats rarely shrinks, and dropping an outlier
would mean choosing the result.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from infpop_runner.contract import Invalid, Measured, MeasurementSpec, TrialSpec
from infpop_runner.measure.statistics import round_significant, spread_ratio
from infpop_runner.measure.validation import TrialReport, find_flaw, find_instability, find_throttling, numbers_of
from infpop_runner.measure.values import Block, Interval, PassOutcome, Repeat, merge_repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialActions:
    """The actions of the measuring loop.

    `warm_up` runs one batch of other prompts; `run_pass` runs and times one pass; `run_block` does so with some batches
    of one: the number of the first in their order, and how many. `observe` reports what has finished. `clock` returns
    the seconds since the start of the run. `throttled_seconds` returns how long a CPU limit has stopped threads of the
    run so far, summed over the CPUs; None if that is unknown or irrelevant.
    """

    warm_up: Callable[[], None]
    run_pass: Callable[[], PassOutcome]
    run_block: Callable[[int, int], Block]
    observe: Callable[[PassOutcome], None]
    clock: Callable[[], float]
    throttled_seconds: Callable[[], float | None]


def measure_trial(
    trial: TrialSpec, rules: MeasurementSpec, report: TrialReport, actions: TrialActions
) -> Measured | Invalid:
    """Warm up, measure and validate one trial.

    Exceptions of the engine propagate: the caller classifies them.
    """
    for _ in range(rules.warmup_batches):
        actions.warm_up()
    start = actions.clock()
    repeats = _run_repeats(trial, rules, report, actions)
    if isinstance(repeats, tuple) and _spread(repeats) > rules.max_spread_ratio:
        extension = _run_repeats(trial, rules, report, actions)
        if isinstance(extension, Invalid):
            return extension
        repeats = tuple(map(merge_repeats, repeats, extension))
    if isinstance(repeats, Invalid):
        return repeats
    return _validate(trial, rules, report, repeats, (start, actions.clock()))


def _run_repeats(
    trial: TrialSpec, rules: MeasurementSpec, report: TrialReport, actions: TrialActions
) -> tuple[Repeat, ...] | Invalid:
    repeats: tuple[Repeat, ...] = ()
    while len(repeats) < rules.repeats:
        passes: tuple[PassOutcome, ...] = ()
        throttled = actions.throttled_seconds()
        while not passes or Repeat(passes=passes).seconds < rules.min_repeat_seconds:
            outcome = actions.run_pass()
            actions.observe(outcome)
            if flaw := find_flaw(outcome, trial, max_new_tokens=report.max_new_tokens):
                return flaw
            passes += (outcome,)
        repeats += (Repeat(passes=passes, throttled_seconds=_difference(throttled, actions.throttled_seconds())),)
    return repeats


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _spread(repeats: tuple[Repeat, ...]) -> float:
    return spread_ratio([repeat.tokens_per_second for repeat in repeats])


def _validate(
    trial: TrialSpec, rules: MeasurementSpec, report: TrialReport, repeats: tuple[Repeat, ...], window: Interval
) -> Measured | Invalid:
    rates = [repeat.tokens_per_second for repeat in repeats]
    if flaw := find_throttling(trial, report, repeats) or find_instability(trial, rules, rates):
        return flaw
    return Measured(
        index=trial.index,
        batch_size=trial.batch_size,
        throughput_tokens_per_second=round_significant(median(rates)),
        spread_ratio=round_significant(_spread(repeats)),
        **numbers_of(report, repeats, window),
    )
