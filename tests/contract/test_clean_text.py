"""What a run says is one line of printable characters wherever a result is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_runner.contract import decode_result, one_line

RESULT = {
    "run": "run",
    "provenance": {"engine": "vllm"},
    "started_at": "2026-01-01T00:00:00Z",
    "ended_at": "2026-01-01T00:01:00Z",
}


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("grün 日本 🙂", "grün 日本 🙂"),
        ("broke\n2026-01-01 INFO study deleted", "broke 2026-01-01 INFO study deleted"),
        ("a\r\nb\x0bc\u2028d\x85e", "a b c d e"),
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        ("\x1bcreset \x9b31mred", "reset red"),
        ("abc\u202ecba\u200b", "abc cba"),
        ("\ud800 lone", "lone"),
        ("  many   gaps\t", "many gaps"),
    ],
)
def test_a_text_is_one_line_of_printable_characters(text: str, cleaned: str) -> None:
    """Line breaks, escape sequences, marks of direction and surrogates are gone; letters of all scripts stay."""
    assert one_line(text) == cleaned


@given(st.text())
def test_no_text_forges_a_line(text: str) -> None:
    """Whatever a text contains, what is shown of it is printable, and cleaning it again changes nothing."""
    assert one_line(text).isprintable()
    assert one_line(one_line(text)) == one_line(text)


HOSTILE = "x\n2026-01-01 INFO forged\x1b[2J\u202e"


@pytest.mark.parametrize("field", ["engine_version", "torch_version", "gpu_model", "driver_version", "node"])
def test_a_name_of_a_result_is_printable(field: str) -> None:
    """A machine or an image may have any name; a plain one is kept as it is."""
    hostile = decode_result(json.dumps(RESULT | {"provenance": {"engine": "vllm", field: HOSTILE}}))
    assert getattr(hostile.provenance, field).isprintable()
    plain = decode_result(json.dumps(RESULT | {"provenance": {"engine": "vllm", field: "A100  x "}}))
    assert getattr(plain.provenance, field) == "A100  x "


@pytest.mark.parametrize(
    "part",
    [
        {"broken": {"reason": "EngineCrash", "detail": HOSTILE}},
        {
            "trials": [
                {"outcome": "infeasible", "index": 0, "batch_size": 1, "reason": "NotRecorded", "detail": HOSTILE}
            ]
        },
        {"trials": [{"outcome": "invalid", "index": 0, "batch_size": 1, "reason": "Preempted", "detail": HOSTILE}]},
    ],
)
def test_a_detail_of_a_result_is_one_line(part: dict[str, object]) -> None:
    """A detail reaches the operator's log, Events and status only as one line."""
    result = decode_result(json.dumps(RESULT | part))
    (said,) = [*([result.broken.detail] if result.broken else []), *(trial.detail for trial in result.trials)]
    assert said == "x 2026-01-01 INFO forged"
