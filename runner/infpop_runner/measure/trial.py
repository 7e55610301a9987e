"""Measure one trial: warm up, repeat, validate.

Order of events: `warmup_batches` full batches of other prompts, not timed; then `repeats` repeats, each of as many
whole passes as fill `min_repeat_seconds`. A trial gets a number only if every sequence is complete, the batch was never
larger than requested, nothing was computed twice or taken from a cache, no CPU limit throttled the engine of a GPU, and
the repeats agree. If they disagree, each repeat is extended once by another of the same length, and all of them are
validated again: this adds evidence and drops none. (The range over more repeats rarely shrinks, and dropping an outlier
would mean choosing the result.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from infpop_runner.contract import Invalid, InvalidReason, Measured, MeasurementSpec, TrialSpec
from infpop_runner.measure.statistics import peak_concurrency, percentile, round_significant, spread_ratio
from infpop_runner.measure.values import Interval, PassOutcome, Repeat, merge_repeats

# Maximum share of measured time that may be CPU-throttled. Less than 1 % cannot decide which configuration is the best:
# a difference below 1 % is a tie. The kernel sums throttled time over the CPUs, so the engine itself was stopped for at
# most this long.
MAX_THROTTLED_RATIO = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """The facts about engine and device that complete the numbers of a trial.

    `missing_reasons` gives, for each optional field of `Measured`, the reason why it is None for this engine and
    device. `cpu_limit` is the CPU limit of the run, None if it has none.
    """

    max_new_tokens: int
    memory_peak_bytes: Callable[[], int | None]
    missing_reasons: Mapping[str, str]
    cpu_limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialActions:
    """The actions of the measuring loop.

    `warm_up` runs one batch of other prompts, `run_pass` runs and times one pass, `observe` reports a finished pass.
    `clock` returns the seconds since the start of the run. `throttled_seconds` returns how long a CPU limit has stopped
    threads of the run so far, summed over the CPUs; None if that is unknown or irrelevant.
    """

    warm_up: Callable[[], None]
    run_pass: Callable[[], PassOutcome]
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


def find_flaw(outcome: PassOutcome, trial: TrialSpec, *, max_new_tokens: int) -> Invalid | None:
    """Return why the pass is not comparable with others, None if it is."""

    def invalid(reason: InvalidReason, detail: str) -> Invalid:
        return Invalid(index=trial.index, batch_size=trial.batch_size, reason=reason, detail=detail)

    wrong = [count for count in outcome.generated if count != max_new_tokens]
    if wrong:
        return invalid("ShortOutput", f"{len(wrong)} sequences, one with {wrong[0]} ids instead of {max_new_tokens}")
    if outcome.preemptions:
        return invalid("Preempted", f"{outcome.preemptions} sequences evicted: the KV cache is too small for the batch")
    if outcome.cache_hits:
        return invalid("PrefixCacheHit", f"{outcome.cache_hits} prompt tokens came from the prefix cache")
    peak = 0 if outcome.intervals is None else peak_concurrency(outcome.intervals)
    if peak > trial.batch_size:
        return invalid("BatchExceeded", f"{peak} sequences ran at the same time, batch size {trial.batch_size}")
    return None


def _spread(repeats: tuple[Repeat, ...]) -> float:
    return spread_ratio([repeat.tokens_per_second for repeat in repeats])


def _validate(
    trial: TrialSpec, rules: MeasurementSpec, report: TrialReport, repeats: tuple[Repeat, ...], window: Interval
) -> Measured | Invalid:
    if throttled := _find_throttling(trial, report, repeats):
        return throttled
    spread = _spread(repeats)
    if spread > rules.max_spread_ratio:
        rates = ", ".join(f"{repeat.tokens_per_second:.6g}" for repeat in repeats)
        return Invalid(
            index=trial.index,
            batch_size=trial.batch_size,
            reason="UnstableRepeats",
            detail=f"spread {spread:.3g} > {rules.max_spread_ratio:.3g}, tokens/s of the repeats: {rates}"[:1000],
        )
    return _measured(trial, report, repeats, window)


def _find_throttling(trial: TrialSpec, report: TrialReport, repeats: tuple[Repeat, ...]) -> Invalid | None:
    """Return why the number would be too low because of a CPU limit, None if it is not."""
    stopped = sum(repeat.throttled_seconds for repeat in repeats if repeat.throttled_seconds is not None)
    seconds = sum(repeat.seconds for repeat in repeats)
    if stopped <= MAX_THROTTLED_RATIO * seconds:
        return None
    limit = "a CPU limit" if report.cpu_limit is None else f"the limit of {report.cpu_limit:.3g} CPUs"
    detail = (
        f"{limit} stopped threads of the run for {stopped:.3g} s, summed over the CPUs, in {seconds:.3g} timed s; a "
        "run on GPUs needs no limit: check whether a LimitRange of the namespace sets it"
    )
    return Invalid(index=trial.index, batch_size=trial.batch_size, reason="CpuThrottled", detail=detail)


def _measured(trial: TrialSpec, report: TrialReport, repeats: tuple[Repeat, ...], window: Interval) -> Measured:
    optional = _batch_seconds(repeats) | {
        "gpu_memory_peak_bytes": report.memory_peak_bytes(),
        "pad_ratio": _pad_ratio(repeats),
        "concurrency_peak": _concurrency_peak(repeats),
    }
    return Measured(
        index=trial.index,
        batch_size=trial.batch_size,
        throughput_tokens_per_second=round_significant(median([repeat.tokens_per_second for repeat in repeats])),
        spread_ratio=round_significant(_spread(repeats)),
        repeats=len(repeats),
        generated_tokens=sum(repeat.generated_tokens for repeat in repeats),
        measured_seconds=round_significant(sum(repeat.seconds for repeat in repeats)),
        window_seconds=(round(window[0], 3), round(window[1], 3)),
        missing={name: report.missing_reasons[name] for name, value in optional.items() if value is None},
        **optional,
    )


def _batch_seconds(repeats: tuple[Repeat, ...]) -> dict[str, float | None]:
    seconds = [end - start for repeat in repeats for outcome in repeat.passes for start, end in outcome.intervals or ()]
    if not seconds:
        return {"batch_seconds_p50": None, "batch_seconds_p95": None}
    return {
        "batch_seconds_p50": round_significant(percentile(seconds, 0.50)),
        "batch_seconds_p95": round_significant(percentile(seconds, 0.95)),
    }


def _concurrency_peak(repeats: tuple[Repeat, ...]) -> int | None:
    """Return the peak number of concurrent sequences: short outputs can finish before a large batch has filled."""
    known = [outcome.intervals for repeat in repeats for outcome in repeat.passes if outcome.intervals]
    return max(map(peak_concurrency, known)) if known else None


def _pad_ratio(repeats: tuple[Repeat, ...]) -> float | None:
    outcomes = [outcome for repeat in repeats for outcome in repeat.passes]
    positions = sum(outcome.input_positions for outcome in outcomes)
    return round_significant(sum(outcome.pad_positions for outcome in outcomes) / positions) if positions else None
