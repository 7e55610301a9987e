"""A Prometheus answer is read completely or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_operator.adapters.prometheus.answers import Answer, Failure, Series, parse_answer, parse_refusal


def answer(kind: str, result: object, **more: object) -> bytes:
    """Return the body of a successful answer."""
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result, **more}}).encode()


def test_raw_samples_are_read() -> None:
    """They keep all labels, times and values, including values that are not numbers."""
    values = [[1, "5"], [2.5, "1e-3"], [3, "NaN"], [4, "+Inf"], [5, "-.5"]]
    reply = parse_answer(answer("matrix", [{"metric": {"a": "b"}, "values": values}], stats={}))
    assert isinstance(reply, Answer)
    (series,) = reply.series
    assert (reply.kind, series.labels) == ("matrix", {"a": "b"})
    assert [str(value) for _, value in series.samples] == ["5.0", "0.001", "nan", "inf", "-0.5"]
    assert [time for time, _ in series.samples] == [1.0, 2.5, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("content", "series"),
    [
        (answer("vector", []), ()),
        (answer("matrix", []), ()),
        (answer("vector", [{"metric": {}, "value": [1, "5"]}]), (Series(labels={}, samples=((1.0, 5.0),)),)),
        (answer("scalar", [1, "5"]), (Series(labels={}, samples=((1.0, 5.0),)),)),
        (answer("string", [1, "text"]), ()),
        (answer("matrix", [{"metric": {}, "histograms": [[1, {"count": "1"}]]}]), (Series(labels={}, samples=()),)),
    ],
)
def test_every_kind_of_answer_is_read(content: bytes, series: tuple[Series, ...]) -> None:
    """Strings and native histograms contain no usable samples."""
    reply = parse_answer(content)
    assert isinstance(reply, Answer)
    assert reply.series == series


def test_each_series_keeps_its_own_samples() -> None:
    """Several series of an answer are kept apart, in either form."""
    series = (
        Series(labels={"gpu": "0", "pod": "a"}, samples=((1.0, 5.0), (2.0, 6.0))),
        Series(labels={"gpu": "1", "pod": "a"}, samples=((3.0, 7.0),)),
    )
    raw = [
        {"metric": {"gpu": "0", "pod": "a"}, "values": [[1, "5"], [2, "6"]]},
        {"metric": {"gpu": "1", "pod": "a"}, "values": [[3, "7"]]},
    ]
    assert parse_answer(answer("matrix", raw)) == Answer(kind="matrix", series=series)
    computed = [{"metric": {"gpu": "0"}, "value": [1.5, "5"]}, {"metric": {"gpu": "1"}, "value": [2.5, "6"]}]
    assert parse_answer(answer("vector", computed)) == Answer(
        kind="vector",
        series=(
            Series(labels={"gpu": "0"}, samples=((1.5, 5.0),)),
            Series(labels={"gpu": "1"}, samples=((2.5, 6.0),)),
        ),
    )


WHOLE = answer("matrix", [{"metric": {"a": "b"}, "values": [[1, "5"]]}])


@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_part_of_an_answer_is_none(length: int) -> None:
    """This holds wherever the answer was cut."""
    assert isinstance(parse_answer(WHOLE[:length]), Failure)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"<html><body>Sign in</body></html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        WHOLE + WHOLE,
        WHOLE.replace(b"success", b"error"),
        answer("tensor", []),
        answer("vector", {}),
        answer("vector", [{"metric": {}, "value": [1, "5", "6"]}]),
        answer("vector", [{"metric": {}, "value": [1]}]),
        answer("vector", [{"metric": {}, "value": [1, 5]}]),
        answer("vector", [{"metric": {}, "value": [None, "5"]}]),
        answer("vector", [{"metric": {"a": 1}, "value": [1, "5"]}]),
        answer("vector", [{"metric": {}, "histogram": [1, {"count": "1"}]}]),
        answer("vector", [{"metric": {}, "value": [1, "5"]}]).replace(b"[1,", b"[NaN,"),
        answer("vector", [{"metric": {}, "value": [1, ""]}]),
        answer("vector", [{"metric": {}, "value": [1, "five"]}]),
        answer("vector", [{"metric": {}, "value": [1, "1_0"]}]),
        answer("vector", [{"metric": {}, "value": [1, " 5"]}]),
        answer("vector", [{"metric": {}, "value": [1, "nan"]}]),
        answer("vector", [{"metric": {}, "value": [1, "0x10"]}]),
        answer("vector", [{"metric": {}, "value": [1, "1e"]}]),
        answer("vector", [{"metric": {}, "value": [1, "."]}]),
        json.dumps({"status": "success"}).encode(),
    ],
)
def test_what_is_no_answer_is_no_number(content: bytes) -> None:
    """HTML pages, truncated or deeply nested JSON and other number types give a reason immediately."""
    reply = parse_answer(content)
    assert isinstance(reply, Failure)
    assert (reply.reason, reply.passing) == ("BadAnswer", True)


@pytest.mark.parametrize(
    "said",
    [
        {"warnings": ["receive series from store-1:10901: connection refused"]},
        {"warnings": ["PromQL warning: odd", "receive series from store-1:10901: connection refused"]},
        {"isPartial": True},
        {"isPartial": True, "warnings": ["PromQL warning: odd"]},
    ],
)
def test_an_answer_that_lacks_a_store_is_none(said: dict[str, object]) -> None:
    """The sum over the GPUs of one store is not the sum over all of them."""
    reply = parse_answer(json.dumps(json.loads(WHOLE) | said).encode())
    assert isinstance(reply, Failure)
    assert (reply.reason, reply.passing) == ("BadAnswer", True)


@pytest.mark.parametrize(
    "said",
    [
        {"warnings": ['PromQL warning: bucket label "le" is missing'], "isPartial": False},
        {"warnings": [], "infos": ['PromQL info: metric might not be a counter: "power"']},
        {"warnings": None},
    ],
)
def test_a_remark_about_the_query_takes_no_answer(said: dict[str, object]) -> None:
    """A remark about the query's form says nothing about missing data."""
    assert isinstance(parse_answer(json.dumps(json.loads(WHOLE) | said).encode()), Answer)


@given(content=st.binary())
def test_no_bytes_raise(content: bytes) -> None:
    """Any bytes give a result or a reason."""
    assert isinstance(parse_answer(content), Failure)
    assert parse_refusal(500, content).reason == "PrometheusUnreachable"


def complaint(kind: str) -> bytes:
    """Return the body of a Prometheus error."""
    return json.dumps({"status": "error", "errorType": kind, "error": "because"}).encode()


@pytest.mark.parametrize(
    ("status", "content", "reason", "passing"),
    [
        (401, b"no org id", "PrometheusRefused", False),
        (403, complaint("forbidden"), "PrometheusRefused", False),
        (400, complaint("bad_data"), "QueryRejected", False),
        (422, complaint("execution"), "QueryRejected", False),
        (400, b"<html>", "BadAnswer", True),
        (503, complaint("timeout"), "TimedOut", True),
        (503, complaint("unavailable"), "PrometheusUnreachable", True),
        (503, b"no healthy upstream", "PrometheusUnreachable", True),
        (500, complaint("internal"), "PrometheusUnreachable", True),
        (502, b"", "PrometheusUnreachable", True),
        (429, b"", "PrometheusUnreachable", True),
        (404, b"404 page not found", "BadAnswer", True),
        (302, b"", "BadAnswer", True),
        (204, b"", "BadAnswer", True),
    ],
)
def test_a_refusal_has_a_reason(status: int, content: bytes, reason: str, passing: bool) -> None:  # noqa: FBT001
    """The error says whether the query or Prometheus is at fault, and whether a retry is useful."""
    failure = parse_refusal(status, content)
    assert (failure.reason, failure.passing) == (reason, passing)
    assert failure.detail.startswith(f"HTTP {status}")


@pytest.mark.parametrize(
    ("status", "content", "detail"),
    [
        (401, complaint("unauthorized"), "HTTP 401"),
        (400, complaint("bad_data"), "HTTP 400, because"),
        (503, complaint("timeout"), "HTTP 503"),
        (500, complaint("internal"), "HTTP 500"),
        (404, complaint("not_found"), "HTTP 404"),
    ],
)
def test_only_a_fault_of_the_query_is_reported_with_prometheus_own_message(
    status: int, content: bytes, detail: str
) -> None:
    """Other messages may contain what the study's user should not see."""
    assert parse_refusal(status, content).detail == detail


def test_a_long_complaint_is_cut() -> None:
    """Prometheus repeats the study's query in its message, which is too long for a log line."""
    content = json.dumps({"status": "error", "errorType": "bad_data", "error": "x" * 10_000}).encode()
    assert parse_refusal(400, content).detail == "HTTP 400, " + "x" * 300
