"""A result in which every field has a distinct, non-default value."""

from datetime import UTC, datetime

from infpop_runner.contract import Broken, Infeasible, Invalid, Measured, ModelFacts, Provenance, RunResult

MEASURED = Measured(
    index=4,
    batch_size=11,
    throughput_tokens_per_second=812.5,
    spread_ratio=0.03,
    repeats=5,
    generated_tokens=7001,
    measured_seconds=31.5,
    batch_seconds_p50=0.7,
    batch_seconds_p95=0.9,
    gpu_memory_peak_bytes=123_456_789,
    concurrency_peak=10,
    missing={"pad_ratio": "NoPadding"},
    window_seconds=(12.25, 44.5),
)
PROVENANCE = Provenance(
    engine="vllm",
    engine_version="0.32.0",
    torch_version="2.13.0",
    engine_args={"max_num_seqs": 11, "enforce_eager": True},
    device_mode="tensor-parallel",
    gpu_model="G" * 60,
    gpu_uuids=("GPU-one", "GPU-two"),
    driver_version="570.1",
    node="node-1",
    workload_hash="hash-of-the-workload",
    prompt_tokens_mean=17.5,
    seed=99,
)


def make_whole_result(length: int | None = None, **provenance: object) -> RunResult:
    """Return the result with its details truncated to a length and with changes of its provenance."""
    return RunResult(
        run="study-0123456789",
        simulated=True,
        trials=(
            MEASURED,
            Infeasible(index=5, batch_size=22, reason="GpuOutOfMemory", detail=("i" * 1000)[:length]),
            Invalid(index=6, batch_size=33, reason="UnstableRepeats", detail=("u" * 1000)[:length]),
        ),
        model=ModelFacts(attention_heads=40, key_value_heads=8, parameters=7_000_000, weight_bytes=14_000_000),
        load_seconds=77.5,
        provenance=PROVENANCE.model_copy(update=provenance),
        broken=Broken(reason="MeasureTimeout", detail=("b" * 2000)[:length]),
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        ended_at=datetime(2026, 1, 2, 4, 5, 6, tzinfo=UTC),
        held_seconds=3.25,
    )
