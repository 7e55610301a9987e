"""The termination message: always valid, never too long, never without its numbers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infpop_runner.contract import (
    MESSAGE_LIMIT_BYTES,
    Broken,
    Infeasible,
    Invalid,
    Measured,
    ModelFacts,
    Provenance,
    RacedOut,
    RunResult,
    Skipped,
    decode_result,
    encode_message,
)

NOW = datetime(2026, 11, 21, 23, 59, 59, 999_999, tzinfo=UTC)
OPTIONAL = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio", "concurrency_peak")
WHY_MISSING = {  # what vLLM reports on a CPU: the longest of all engines
    "batch_seconds_p50": "NoRequestTimes",
    "batch_seconds_p95": "NoRequestTimes",
    "gpu_memory_peak_bytes": "NoGpu",
    "pad_ratio": "NoPadding",
    "concurrency_peak": "NoTimes",
}


def make_result(trials: tuple[Any, ...] = (), **changes: object) -> RunResult:
    """Return a complete result."""
    fields = {"run": "run-1", "provenance": Provenance(engine="vllm"), "started_at": NOW, "ended_at": NOW}
    return RunResult.model_validate({**fields, "trials": trials, **changes})


def largest_measured(index: int, *, missing: bool, adaptive: bool = False) -> Measured:
    """Return a measured trial whose numbers have as many digits as the runner ever writes."""
    numbers = (
        dict.fromkeys(OPTIONAL)
        if missing
        else dict.fromkeys(OPTIONAL, 1.23456e-05) | {"gpu_memory_peak_bytes": 10**12, "concurrency_peak": 65_536}
    )
    return Measured(
        index=index,
        batch_size=65_536,
        throughput_tokens_per_second=1.23456e-05,
        spread_ratio=1.23456e-05,
        repeats=100,
        generated_tokens=10**12,
        measured_seconds=1.23456e-05,
        missing=WHY_MISSING if missing else {},
        window_seconds=(1_000_000.123, 1_003_600.123),
        mode="adaptive" if adaptive else "full",
        interval_tokens_per_second=(1.23456e-05, 1.23456e-05) if adaptive else None,
        **numbers,
    )


def largest_after_larger(index: int) -> Measured:
    """Return a trial of vLLM on GPUs whose memory is not known, because a larger batch ran before it."""
    reasons = {"gpu_memory_peak_bytes": "AfterLargerBatch", "pad_ratio": "NoPadding"}
    changes = {"gpu_memory_peak_bytes": None, "pad_ratio": None, "missing": reasons}
    return largest_measured(index, missing=False, adaptive=True).model_copy(update=changes)


def largest_raced_out(index: int) -> RacedOut:
    """Return a raced-out trial whose numbers have as many digits as the runner ever writes."""
    return RacedOut(
        index=index,
        batch_size=65_536,
        throughput_tokens_per_second=1.23456e-05,
        at_most_tokens_per_second=1.23456e-05,
        to_beat_tokens_per_second=1.23456789012345e-05,
        generated_tokens=10**12,
        measured_seconds=1.23456e-05,
    )


def longest_provenance() -> Provenance:
    """Return a provenance with each field at its limit."""
    return Provenance(
        engine="hf-pipeline",
        engine_version="9" * 64,
        torch_version="9" * 64,
        engine_args={f"argument_{number}": "x" * 200 for number in range(32)},
        device_mode="device-map-auto",
        gpu_model="N" * 128,
        gpu_uuids=tuple(f"GPU-{number:036d}" for number in range(8)),
        driver_version="5" * 64,
        node="n" * 253,
        workload_hash="f" * 64,
        prompt_tokens_mean=1.23456e-05,
        seed=2**32 - 1,
    )


@pytest.mark.parametrize(
    "kind",
    [
        "measured",
        "adaptive",
        "unknown-numbers",
        "adaptive-unknown",
        "after-larger",
        "infeasible",
        "invalid",
        "raced-out",
        "skipped",
    ],
)
def test_the_largest_possible_run_fits(kind: str) -> None:
    """Eight trials with all fields at their limits fit into a termination message without losing a number."""
    trials = tuple(
        {
            "measured": largest_measured(500 + index, missing=False),
            "adaptive": largest_measured(500 + index, missing=False, adaptive=True),
            "unknown-numbers": largest_measured(500 + index, missing=True),
            "adaptive-unknown": largest_measured(500 + index, missing=True, adaptive=True),
            "after-larger": largest_after_larger(500 + index),
            "raced-out": largest_raced_out(500 + index),
            "skipped": Skipped(index=index, batch_size=65_536, detail="ü" * 1000),
            "infeasible": Infeasible(index=index, batch_size=65_536, reason="UnsupportedGpuCount", detail="ü" * 1000),
            "invalid": Invalid(index=index, batch_size=65_536, reason="UnstableRepeats", detail="\n" * 1000),
        }[kind]
        for index in range(8)
    )
    result = make_result(
        trials,
        run="r" * 63,
        model=ModelFacts(attention_heads=512, key_value_heads=512, parameters=10**13, weight_bytes=10**13),
        load_seconds=1.23456e-05,
        provenance=longest_provenance(),
        broken=Broken(reason="WorkloadUnavailable", detail="ü" * 2000),
        held_seconds=599.999,
    )
    message = encode_message(result)
    assert len(message.encode()) <= MESSAGE_LIMIT_BYTES
    back = decode_result(message)
    assert [trial.outcome for trial in back.trials] == [trial.outcome for trial in trials]
    for before, after in zip(trials, back.trials, strict=True):
        if isinstance(before, Measured | RacedOut):
            assert after == before
        else:
            assert (after.index, getattr(after, "reason", None)) == (before.index, getattr(before, "reason", None))
    assert back.held_seconds == 599.999
    assert back.broken is not None
    assert back.broken.reason == "WorkloadUnavailable"


def test_a_small_result_loses_nothing() -> None:
    """A result that fits is written completely."""
    result = make_result(
        (Infeasible(index=0, batch_size=8, reason="GpuOutOfMemory", detail="CUDA out of memory"),),
        broken=Broken(reason="Stopped", detail="received SIGTERM"),
    )
    assert decode_result(encode_message(result)) == result


def test_details_are_shortened_before_they_are_dropped() -> None:
    """As much of the text is kept as fits."""
    trials = tuple(
        Infeasible(index=index, batch_size=index + 1, reason="RejectedArguments", detail="d" * 1000)
        for index in range(8)
    )
    back = decode_result(encode_message(make_result(trials)))
    assert {len(trial.detail) for trial in back.trials} == {300}  # type: ignore[union-attr]


def test_arguments_go_before_a_cause_is_unreadable() -> None:
    """Engine arguments are omitted, and marked as such, before a detail falls below 120 characters."""
    trials = tuple(
        Infeasible(index=index, batch_size=index + 1, reason="RejectedArguments", detail="d" * 1000)
        for index in range(8)
    )
    back = decode_result(encode_message(make_result(trials, provenance=longest_provenance())))
    assert {len(trial.detail) for trial in back.trials} == {120}  # type: ignore[union-attr]
    assert back.provenance.engine_args == {"omitted": True}
    assert back.provenance.gpu_uuids == longest_provenance().gpu_uuids


def test_numbers_are_never_cut_to_fit() -> None:
    """A limit too small even for the numbers is an error, not a wrong result."""
    with pytest.raises(ValueError, match="100 bytes"):
        encode_message(make_result((largest_measured(0, missing=False),)), limit_bytes=100)
