"""Which parts of a result are dropped, in which order: each form, down to the byte at which the next one begins."""

from collections.abc import Sequence
from typing import Any

import pytest

from factories.results import MEASURED, make_whole_result
from infpop_runner.contract import (
    Broken,
    Measured,
    RunResult,
    decode_result,
    encode_message,
)

OMITTED: dict[str, Any] = {"engine_args": {"omitted": True}}
WITHOUT_UUIDS: dict[str, Any] = {**OMITTED, "gpu_uuids": ()}
WITHOUT_HOST: dict[str, Any] = {**WITHOUT_UUIDS, "node": None, "driver_version": None, "gpu_model": "G" * 48}
FORMS = (
    make_whole_result(),
    make_whole_result(300),
    make_whole_result(120),
    make_whole_result(120, **OMITTED),
    make_whole_result(40, **OMITTED),
    make_whole_result(0, **OMITTED),
    make_whole_result(0, **WITHOUT_UUIDS),
    make_whole_result(0, **WITHOUT_HOST),
    make_whole_result(0, **WITHOUT_HOST, engine_version=None, torch_version=None),
)


def size(form: RunResult) -> int:
    """Return the size of a form in bytes."""
    return len(form.model_dump_json(exclude_none=True).encode())


@pytest.mark.parametrize("step", range(len(FORMS)))
def test_a_result_is_cut_no_more_than_its_limit_asks_for(step: int) -> None:
    """The first form that fits is written, also if it fits to the byte; every form has all numbers."""
    assert decode_result(encode_message(make_whole_result(), limit_bytes=size(FORMS[step]))) == FORMS[step]


@pytest.mark.parametrize("step", range(1, len(FORMS)))
def test_one_byte_less_takes_the_next_form(step: int) -> None:
    """A message is never a byte too long."""
    limit = size(FORMS[step - 1]) - 1
    assert decode_result(encode_message(make_whole_result(), limit_bytes=limit)) == FORMS[step]


def test_what_is_left_at_the_end_is_never_cut() -> None:
    """Below the last form names get shorter; then an error says how much space the numbers of how many trials need."""
    shortest = encode_message(make_whole_result(), limit_bytes=size(FORMS[-1]) - 1)
    assert decode_result(shortest) == FORMS[-1]
    least = len(shortest.encode())
    with pytest.raises(ValueError, match=f"the numbers of 3 trials need {least} > {least - 1} bytes"):
        encode_message(make_whole_result(), limit_bytes=least - 1)


def test_bytes_count_and_not_characters() -> None:
    """Kubernetes cuts a message by bytes, even in the middle of a character."""
    form = make_whole_result().model_copy(
        update={"trials": (), "broken": Broken(reason="EngineCrash", detail="ü" * 120)}
    )
    characters = len(form.model_dump_json(exclude_none=True))
    back = decode_result(encode_message(form, limit_bytes=characters))
    assert back.broken is not None
    assert len(back.broken.detail) < 120


def test_a_result_without_arguments_claims_no_omission() -> None:
    """Nothing is marked as omitted if there was nothing."""
    back = decode_result(encode_message(make_whole_result(engine_args={}), limit_bytes=size(FORMS[5])))
    assert back.provenance.engine_args == {}


def test_a_result_that_nothing_cut_short_has_no_end_that_is_broken() -> None:
    """If every trial was measured, cutting adds no reason."""
    whole = make_whole_result().model_copy(update={"broken": None})
    assert decode_result(encode_message(whole, limit_bytes=size(whole) - 1)).broken is None


FIELDS: Sequence[str] = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio")


@pytest.mark.parametrize("name", FIELDS)
def test_an_absent_number_needs_its_own_reason(name: str) -> None:
    """A reason for another field, or for a field that is present, does not count."""
    values = MEASURED.model_dump() | dict.fromkeys(FIELDS, 1) | {"missing": {}}
    assert Measured.model_validate(values)
    for wrong in ({name: None}, {"missing": {name: "NoGpu"}}, {name: None, "missing": {"pad_ratios": "NoGpu"}}):
        with pytest.raises(ValueError, match="missing must give a reason"):
            Measured.model_validate(values | wrong)
    assert Measured.model_validate(values | {name: None, "missing": {name: "NoGpu"}})
