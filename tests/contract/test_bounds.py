"""The limits of the contract: each bound of a spec and of a result, at it and beyond it."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from infpop_runner.contract import (
    EngineSpec,
    FileSource,
    FormulaLandscape,
    Infeasible,
    Measured,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    SimulationSpec,
    SyntheticSource,
    TrialSpec,
    WorkloadSpec,
)

SOURCE = SyntheticSource(prompt_tokens=1)
MEASURED = {
    "index": 0, "batch_size": 1, "throughput_tokens_per_second": 1.0, "spread_ratio": 0.0, "repeats": 1,
    "generated_tokens": 1, "measured_seconds": 1.0, "batch_seconds_p50": 1.0, "batch_seconds_p95": 1.0,
    "gpu_memory_peak_bytes": 1, "pad_ratio": 0.0,
}  # fmt: skip
RUN: dict[str, Any] = {
    "study": "study",
    "pool": "pool",
    "round": 1,
    "run": "run",
    "model": ModelSpec(name="model"),
    "engine": EngineSpec(name="vllm"),
    "workload": WorkloadSpec(source=SOURCE, samples=1, max_new_tokens=1),
    "device": "cuda",
    "gpu_count": 1,
    "trials": (TrialSpec(index=0, batch_size=1),),
    "measurement": MeasurementSpec(),
}
SIMULATED = {"name": "simulated", "simulation": SimulationSpec()}


def trials(*batch_sizes: int) -> tuple[TrialSpec, ...]:
    """Return trials of these batch sizes."""
    return tuple(TrialSpec(index=index, batch_size=size) for index, size in enumerate(batch_sizes))


BOUNDS: tuple[tuple[type[BaseModel], dict[str, Any], str, tuple[object, ...], tuple[object, ...]], ...] = (
    (ModelSpec, {}, "name", ("m", "m" * 4096), ("", "m" * 4097)),
    (ModelSpec, {"name": "m"}, "revision", (None, "r" * 128), ("r" * 129,)),
    (ModelSpec, {"name": "m"}, "dtype", ("auto", "float32", "float16", "bfloat16"), ("int8",)),
    (ModelSpec, {"name": "m"}, "load_format", ("auto", "dummy"), ("npz",)),
    (FormulaLandscape, {}, "falloff_ratio", (0.001, 0.999), (0.0, 1.0)),
    (FormulaLandscape, {}, "peak_tokens_per_second", (0.001,), (0.0,)),
    (FormulaLandscape, {}, "best_gpu_count", (1,), (0,)),
    (SimulationSpec, {}, "noise_ratio", (0.0, 0.5), (-0.001, 0.501)),
    (SimulationSpec, {}, "load_seconds", (0.0, 3600.0), (-0.001, 3600.001)),
    (SimulationSpec, {}, "repeat_seconds", (0.0, 3600.0), (-0.001, 3600.001)),
    (EngineSpec, {"name": "vllm"}, "gpu_memory_utilization", (0.001, 1.0), (0.0, 1.001)),
    (EngineSpec, {"name": "vllm"}, "max_num_batched_tokens", (1,), (0,)),
    (EngineSpec, {"name": "vllm"}, "args", ({f"a{n}": 1 for n in range(32)},), ({f"a{n}": 1 for n in range(33)},)),
    (EngineSpec, {"name": "vllm"}, "simulation", (None,), (SimulationSpec(),)),
    (EngineSpec, {"name": "hf-pipeline"}, "simulation", (None,), (SimulationSpec(),)),
    (EngineSpec, {"name": "simulated"}, "simulation", (SimulationSpec(),), (None,)),
    (FileSource, {}, "path", ("p", "p" * 4096), ("", "p" * 4097)),
    (FileSource, {"path": "p"}, "field", ("f", "f" * 128), ("", "f" * 129)),
    (SyntheticSource, {}, "prompt_tokens", (1, 1_000_000), (0, 1_000_001)),
    (WorkloadSpec, {"source": SOURCE, "max_new_tokens": 1}, "samples", (1, 100_000), (0, 100_001)),
    (WorkloadSpec, {"source": SOURCE, "samples": 1}, "max_new_tokens", (1, 131_072), (0, 131_073)),
    (TrialSpec, {"batch_size": 1}, "index", (0,), (-1,)),
    (TrialSpec, {"index": 0}, "batch_size", (1, 65_536), (0, 65_537)),
    (MeasurementSpec, {}, "warmup_batches", (1, 100), (0, 101)),
    (MeasurementSpec, {}, "repeats", (3, 100), (2, 101)),
    (MeasurementSpec, {}, "min_repeat_seconds", (0.0, 3600.0), (-0.001, 3600.001)),
    (MeasurementSpec, {}, "max_spread_ratio", (0.001, 100.0), (0.0,)),
    (MeasurementSpec, {}, "load_timeout_seconds", (0.001,), (0.0,)),
    (MeasurementSpec, {}, "measure_timeout_seconds", (0.001,), (0.0,)),
    (RunSpec, RUN, "contract_version", (1,), (2,)),
    (RunSpec, RUN, "namespace", ("", "n" * 63), ("n" * 64,)),
    (RunSpec, RUN, "study", ("s", "s" * 253), ("", "s" * 254)),
    (RunSpec, RUN, "pool", ("p", "p" * 63), ("", "p" * 64)),
    (RunSpec, RUN, "run", ("r", "r" * 63), ("", "r" * 64)),
    (RunSpec, RUN, "round", (1,), (0,)),
    (RunSpec, RUN, "gpu_count", (1, 1024), (0, 1025)),
    (RunSpec, RUN, "trials", (trials(1), trials(1, 2), trials(*range(1, 9))), ((), trials(*range(1, 10)))),
    (RunSpec, RUN, "trials", (trials(2, 8), trials(8, 2)), (trials(2, 2),)),
    (RunSpec, RUN, "seed", (0, 2**32 - 1), (-1, 2**32)),
    (RunSpec, RUN, "scrape_grace_seconds", (0, 600.0), (-0.001, 600.001)),
    (Measured, MEASURED, "throughput_tokens_per_second", (0.001,), (0.0, float("inf"), float("nan"))),
    (Measured, MEASURED, "spread_ratio", (0.0,), (-0.001, float("inf"))),
    (Measured, MEASURED, "measured_seconds", (0.001,), (0.0,)),
    (Measured, MEASURED, "window_seconds", (None, (0.0, 0.0), (1.0, 1.5)), ((1.5, 1.0), (-1.0, 1.0))),
    (Measured, MEASURED, "concurrency_peak", (None, 1), (0,)),
    (Measured, MEASURED, "missing", ({}, {"concurrency_peak": "NoTimes"}), ({"pad_ratio": "NoTimes"},)),
    (Infeasible, {"index": 0, "batch_size": 1, "reason": "NotRecorded"}, "detail", ("d" * 1000,), ("d" * 1001,)),
    (Infeasible, {"index": 0, "batch_size": 1}, "reason", ("GpuOutOfMemory",), ("UnstableRepeats",)),
)


@pytest.mark.parametrize(("model", "rest", "field", "taken", "refused"), BOUNDS)
def test_a_bound_is_the_last_value_that_is_taken(
    model: type[BaseModel], rest: dict[str, Any], field: str, taken: tuple[object, ...], refused: tuple[object, ...]
) -> None:
    """A runner accepts whatever the operator may send, and neither side accepts impossible values."""
    for value in taken:
        assert getattr(model.model_validate(rest | {field: value}), field) == value
    for value in refused:
        with pytest.raises(ValidationError):
            model.model_validate(rest | {field: value})


def test_a_spec_with_an_unknown_key_is_refused() -> None:
    """A runner does not run a spec of a newer operator that it only partly understands."""
    with pytest.raises(ValidationError, match="extra"):
        TrialSpec.model_validate({"index": 0, "batch_size": 1, "priority": 2})
