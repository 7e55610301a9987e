"""What an adaptive measurement finds in place of a full one: a number with an interval, or that it is not the best."""

from infpop_runner.contract import Measured, RacedOut, RunSpec

HALF_INTERVAL_RATIO = 0.005  # of a finished measurement
EARLY_RATIO = 1.02  # the upper end of an early interval over the throughput


def as_asked(measured: Measured, spec: RunSpec) -> Measured | RacedOut:
    """Return the result of a full measurement as a run with this spec would have found it."""
    if spec.measurement.mode == "full":
        return measured
    return adaptive(measured, spec.to_beat_tokens_per_second)


def adaptive(measured: Measured, to_beat: float | None) -> Measured | RacedOut:
    """Return what an adaptive measurement finds, in a quarter of the time or less."""
    rate, seconds = measured.throughput_tokens_per_second, measured.measured_seconds
    if to_beat is not None and rate * EARLY_RATIO < to_beat:
        return RacedOut(
            index=measured.index,
            batch_size=measured.batch_size,
            throughput_tokens_per_second=rate,
            at_most_tokens_per_second=float(f"{rate * EARLY_RATIO:.6g}"),
            to_beat_tokens_per_second=to_beat,
            generated_tokens=measured.generated_tokens,
            measured_seconds=seconds / 16,
        )
    interval = (rate * (1 - HALF_INTERVAL_RATIO), rate * (1 + HALF_INTERVAL_RATIO))
    changes = {"mode": "adaptive", "interval_tokens_per_second": interval, "measured_seconds": seconds / 4}
    return measured.model_copy(update=changes)
