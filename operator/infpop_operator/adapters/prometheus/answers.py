"""Parse the answers of Prometheus: series with their samples, or why there are none. Pure.

A partial answer is a failure, also if only one of several stores did not answer (Thanos, Mimir and remote reads then
add a warning, VictoriaMetrics marks the answer as partial).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

UNREACHABLE = "PrometheusUnreachable"
REFUSED = "PrometheusRefused"
REJECTED = "QueryRejected"
BAD_ANSWER = "BadAnswer"
TIMED_OUT = "TimedOut"

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|NaN|[-+]?Inf")
_LONGEST_ERROR = 300
_ABOUT_THE_QUERY = "PromQL "  # such a warning is about the text of the query; the answer is complete
_ACCESS_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_BAD_QUERY = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series: its labels, and its samples as (unix seconds, value); a value may be NaN or infinite."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of a query: `matrix` holds raw samples, `vector` or `scalar` values computed from them."""

    kind: Literal["matrix", "vector", "scalar", "string"]
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no answer. A `passing` failure is temporary: a retry may succeed."""

    reason: str
    detail: str
    passing: bool


Reply = Answer | Failure
_Sample = tuple[Annotated[float, Field(allow_inf_nan=False)], str]


class _RawSeries(BaseModel):
    metric: dict[str, str]
    values: list[_Sample] = []


class _Element(BaseModel):
    metric: dict[str, str]
    value: _Sample


class _Matrix(BaseModel):
    kind: Literal["matrix"] = Field(alias="resultType")
    result: list[_RawSeries]


class _Vector(BaseModel):
    kind: Literal["vector"] = Field(alias="resultType")
    result: list[_Element]


class _Scalar(BaseModel):
    kind: Literal["scalar"] = Field(alias="resultType")
    result: _Sample


class _Text(BaseModel):
    kind: Literal["string"] = Field(alias="resultType")


class _Success(BaseModel):
    status: Literal["success"]
    data: Annotated[_Matrix | _Vector | _Scalar | _Text, Field(discriminator="kind")]
    warnings: list[str] | None = None
    is_partial: bool | None = Field(default=None, alias="isPartial")

    @property
    def is_complete(self) -> bool:
        """Return whether every store that holds a part of the data answered."""
        return not self.is_partial and all(text.startswith(_ABOUT_THE_QUERY) for text in self.warnings or ())


class _Error(BaseModel):
    status: Literal["error"]
    error_type: str = Field(alias="errorType")
    error: str


def parse_answer(content: bytes) -> Reply:
    """Return the answer in the body of a successful response, or why it is not one."""
    try:
        success = _Success.model_validate_json(content)
        if not success.is_complete:
            return Failure(reason=BAD_ANSWER, detail="the answer is incomplete", passing=True)
        return _to_answer(success.data)
    except ValueError:  # from pydantic, or from `_to_number`
        return Failure(reason=BAD_ANSWER, detail="the response is not an answer of Prometheus", passing=True)


def parse_refusal(status: int, content: bytes) -> Failure:
    """Return why there is no answer, from the HTTP status and the body of an error response."""
    error = _parse_error(content)
    detail = f"HTTP {status}" if error is None else f"HTTP {status}, {error.error[:_LONGEST_ERROR]}"
    if status in _ACCESS_DENIED:
        return Failure(reason=REFUSED, detail=f"HTTP {status}", passing=False)
    if status in _BAD_QUERY and error is not None:
        return Failure(reason=REJECTED, detail=detail, passing=False)
    if error is not None and error.error_type == "timeout":
        return Failure(reason=TIMED_OUT, detail=f"HTTP {status}", passing=True)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failure(reason=UNREACHABLE, detail=f"HTTP {status}", passing=True)
    return Failure(reason=BAD_ANSWER, detail=f"HTTP {status}", passing=True)


def _to_answer(data: _Matrix | _Vector | _Scalar | _Text) -> Answer:
    match data:
        case _Matrix():
            series = tuple(Series(labels=raw.metric, samples=_to_samples(raw.values)) for raw in data.result)
        case _Vector():
            series = tuple(Series(labels=each.metric, samples=_to_samples([each.value])) for each in data.result)
        case _Scalar():
            series = (Series(labels={}, samples=_to_samples([data.result])),)
        case _Text():
            series = ()
    return Answer(kind=data.kind, series=series)


def _to_samples(pairs: list[_Sample]) -> tuple[tuple[float, float], ...]:
    return tuple((time, _to_number(text)) for time, text in pairs)


def _to_number(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return float(text)


def _parse_error(content: bytes) -> _Error | None:
    try:
        return _Error.model_validate_json(content)
    except ValidationError:
        return None
