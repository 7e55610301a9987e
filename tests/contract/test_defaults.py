"""What omitted fields of a spec and a result mean: the contract's defaults, which no version may change."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from infpop_runner.contract import (
    BuiltinSource,
    EngineSpec,
    FileSource,
    FormulaLandscape,
    HuggingFaceSource,
    MeasurementSpec,
    ModelFacts,
    ModelSpec,
    Provenance,
    RunResult,
    SimulationSpec,
    SyntheticSource,
)

FORMULA = {
    "kind": "formula",
    "peak_tokens_per_second": 1000.0,
    "best_gpu_count": 4,
    "best_batch_size": 64,
    "falloff_ratio": 0.25,
    "largest_batch_per_gpu": 64,
}


def test_the_defaults_of_a_spec_are_these() -> None:
    """The operator writes every value; a handwritten or older spec means the same on every runner."""
    assert ModelSpec(name="m").model_dump() == {
        "name": "m",
        "revision": None,
        "dtype": "auto",
        "load_format": "auto",
    }
    assert FormulaLandscape().model_dump() == FORMULA
    assert SimulationSpec().model_dump() == {
        "landscape": FORMULA,
        "noise_ratio": 0.0,
        "load_seconds": 0.0,
        "repeat_seconds": 0.0,
    }
    assert EngineSpec(name="vllm").model_dump() == {
        "name": "vllm",
        "gpu_memory_utilization": 0.85,
        "max_num_batched_tokens": 8192,
        "enforce_eager": False,
        "args": {},
        "simulation": None,
    }
    assert MeasurementSpec().model_dump() == {
        "warmup_batches": 1,
        "repeats": 3,
        "min_repeat_seconds": 10.0,
        "max_spread_ratio": 0.25,
        "load_timeout_seconds": 1800.0,
        "measure_timeout_seconds": 1800.0,
    }


def test_the_defaults_of_a_source_are_these() -> None:
    """One word identifies each kind."""
    assert BuiltinSource().model_dump() == {"kind": "builtin", "name": "code-infilling-v1"}
    assert FileSource(path="p").model_dump() == {"kind": "file", "path": "p", "field": "prompt"}
    assert SyntheticSource(prompt_tokens=1).model_dump() == {"kind": "synthetic", "prompt_tokens": 1}
    assert HuggingFaceSource(dataset="d").model_dump() == {
        "kind": "huggingface",
        "dataset": "d",
        "config": None,
        "split": "test",
        "field": "prompt",
        "revision": None,
    }


def test_the_defaults_of_a_result_are_these() -> None:
    """Unknown values are absent, and nothing counts as measured or replayed unless the result says so."""
    started = datetime(2026, 1, 1, tzinfo=UTC)
    provenance = Provenance(engine="vllm")
    assert RunResult(run="r", provenance=provenance, started_at=started).model_dump() == {
        "contract_version": 1,
        "run": "r",
        "simulated": False,
        "trials": (),
        "model": None,
        "load_seconds": None,
        "provenance": {
            "engine": "vllm",
            "engine_version": None,
            "torch_version": None,
            "engine_args": {},
            "device_mode": "",
            "gpu_model": None,
            "gpu_uuids": (),
            "driver_version": None,
            "node": None,
            "workload_hash": None,
            "prompt_tokens_mean": None,
            "seed": 0,
        },
        "broken": None,
        "started_at": started,
        "ended_at": None,
        "held_seconds": None,
    }
    assert ModelFacts().model_dump() == {
        "attention_heads": None,
        "key_value_heads": None,
        "parameters": None,
        "weight_bytes": None,
    }


@pytest.mark.parametrize(
    ("field", "longest"),
    [
        ("engine", 64),
        ("engine_version", 64),
        ("torch_version", 64),
        ("device_mode", 64),
        ("gpu_model", 128),
        ("driver_version", 64),
        ("node", 253),
        ("workload_hash", 64),
    ],
)
def test_what_is_reported_of_a_host_is_of_bounded_length(field: str, longest: int) -> None:
    """Eight trials and these fields have to fit into a termination message."""
    assert getattr(Provenance.model_validate({"engine": "e"} | {field: "x" * longest}), field) == "x" * longest
    with pytest.raises(ValidationError):
        Provenance.model_validate({"engine": "e"} | {field: "x" * (longest + 1)})
