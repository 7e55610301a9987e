"""Which parts of a result are cut, in which order: each form, down to the byte at which the next one begins."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from infpop_runner.contract import (
    Broken,
    Infeasible,
    Invalid,
    Measured,
    ModelFacts,
    Provenance,
    RunResult,
    decode_result,
    encode_message,
)

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


def result(length: int | None = None, **provenance: object) -> RunResult:
    """Return the result with its details cut to a length, and with changes of its provenance."""
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


OMITTED: dict[str, Any] = {"engine_args": {"omitted": True}}
WITHOUT_UUIDS: dict[str, Any] = {**OMITTED, "gpu_uuids": ()}
WITHOUT_HOST: dict[str, Any] = {**WITHOUT_UUIDS, "node": None, "driver_version": None, "gpu_model": "G" * 48}
FORMS = (
    result(),
    result(300),
    result(120),
    result(120, **OMITTED),
    result(40, **OMITTED),
    result(0, **OMITTED),
    result(0, **WITHOUT_UUIDS),
    result(0, **WITHOUT_HOST),
    result(0, **WITHOUT_HOST, engine_version=None, torch_version=None),
)


def size(form: RunResult) -> int:
    """Return the bytes of a form."""
    return len(form.model_dump_json(exclude_none=True).encode())


@pytest.mark.parametrize("step", range(len(FORMS)))
def test_a_result_is_cut_no_more_than_its_limit_asks_for(step: int) -> None:
    """The first form that fits is the one that is written, also where it fits to the byte; numbers are in all."""
    assert decode_result(encode_message(result(), limit_bytes=size(FORMS[step]))) == FORMS[step]


@pytest.mark.parametrize("step", range(1, len(FORMS)))
def test_one_byte_less_takes_the_next_form(step: int) -> None:
    """A message is never a byte too long."""
    limit = size(FORMS[step - 1]) - 1
    assert decode_result(encode_message(result(), limit_bytes=limit)) == FORMS[step]


def test_what_is_left_at_the_end_is_never_cut() -> None:
    """Below the last form there is an error: it says how much the numbers of how many trials need."""
    least = size(FORMS[-1])
    with pytest.raises(ValueError, match=f"the numbers of 3 trials need {least} > {least - 1} bytes"):
        encode_message(result(), limit_bytes=least - 1)


def test_bytes_count_and_not_characters() -> None:
    """Kubernetes cuts a message after bytes, in the middle of a letter if need be."""
    form = result().model_copy(update={"trials": (), "broken": Broken(reason="EngineCrash", detail="ü" * 120)})
    characters = len(form.model_dump_json(exclude_none=True))
    back = decode_result(encode_message(form, limit_bytes=characters))
    assert back.broken is not None
    assert len(back.broken.detail) < 120


def test_a_result_without_arguments_claims_no_omission() -> None:
    """Nothing is said to be left out where there was nothing."""
    back = decode_result(encode_message(result(engine_args={}), limit_bytes=size(FORMS[5])))
    assert back.provenance.engine_args == {}


def test_a_result_that_nothing_cut_short_has_no_end_that_is_broken() -> None:
    """Where every trial was measured, cutting adds no reason."""
    whole = result().model_copy(update={"broken": None})
    assert decode_result(encode_message(whole, limit_bytes=size(whole) - 1)).broken is None


FIELDS: Sequence[str] = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio")


@pytest.mark.parametrize("name", FIELDS)
def test_an_absent_number_needs_its_own_reason(name: str) -> None:
    """A reason for another field, or for one that is there, is no reason."""
    values = MEASURED.model_dump() | dict.fromkeys(FIELDS, 1) | {"missing": {}}
    assert Measured.model_validate(values)
    for wrong in ({name: None}, {"missing": {name: "NoGpu"}}, {name: None, "missing": {"pad_ratios": "NoGpu"}}):
        with pytest.raises(ValueError, match="missing must give a reason"):
            Measured.model_validate(values | wrong)
    assert Measured.model_validate(values | {name: None, "missing": {name: "NoGpu"}})
