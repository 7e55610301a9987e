"""The rules by which a timed part of a trial is comparable with others, and the numbers that a trial reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infpop_runner.contract import Invalid, InvalidReason, MeasurementSpec, TrialSpec
from infpop_runner.measure.statistics import peak_concurrency, percentile, round_significant, spread_ratio
from infpop_runner.measure.values import Interval, PassOutcome, Repeat

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


def find_throttling(trial: TrialSpec, report: TrialReport, repeats: Sequence[Repeat]) -> Invalid | None:
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


def find_instability(trial: TrialSpec, rules: MeasurementSpec, rates: Sequence[float]) -> Invalid | None:
    """Return why repeats with these tokens/s are no number, None if they agree."""
    spread = spread_ratio(rates)
    if spread <= rules.max_spread_ratio:
        return None
    shown = ", ".join(f"{rate:.6g}" for rate in rates)
    return Invalid(
        index=trial.index,
        batch_size=trial.batch_size,
        reason="UnstableRepeats",
        detail=f"spread {spread:.3g} > {rules.max_spread_ratio:.3g}, tokens/s of the repeats: {shown}"[:1000],
    )


def numbers_of(report: TrialReport, repeats: Sequence[Repeat], window: Interval) -> dict[str, Any]:
    """Return the numbers of a measured trial that do not depend on how its throughput was estimated."""
    optional = _batch_seconds(repeats) | {
        "gpu_memory_peak_bytes": report.memory_peak_bytes(),
        "pad_ratio": _pad_ratio(repeats),
        "concurrency_peak": _concurrency_peak(repeats),
    }
    return {
        "repeats": len(repeats),
        "generated_tokens": sum(repeat.generated_tokens for repeat in repeats),
        "measured_seconds": round_significant(sum(repeat.seconds for repeat in repeats)),
        "window_seconds": (round(window[0], 3), round(window[1], 3)),
        "missing": {name: report.missing_reasons[name] for name, value in optional.items() if value is None},
        **optional,
    }


def _batch_seconds(repeats: Sequence[Repeat]) -> dict[str, float | None]:
    seconds = [end - start for repeat in repeats for outcome in repeat.passes for start, end in outcome.intervals or ()]
    if not seconds:
        return {"batch_seconds_p50": None, "batch_seconds_p95": None}
    return {
        "batch_seconds_p50": round_significant(percentile(seconds, 0.50)),
        "batch_seconds_p95": round_significant(percentile(seconds, 0.95)),
    }


def _concurrency_peak(repeats: Sequence[Repeat]) -> int | None:
    """Return the peak number of concurrent sequences: short outputs can finish before a large batch has filled."""
    known = [outcome.intervals for repeat in repeats for outcome in repeat.passes if outcome.intervals]
    return max(map(peak_concurrency, known)) if known else None


def _pad_ratio(repeats: Sequence[Repeat]) -> float | None:
    outcomes = [outcome for repeat in repeats for outcome in repeat.passes]
    positions = sum(outcome.input_positions for outcome in outcomes)
    return round_significant(sum(outcome.pad_positions for outcome in outcomes) / positions) if positions else None
