"""What Prometheus answers: series with their samples, or why there are none. Pure.

An answer is believed as a whole or not at all; half of one is none, also where the other half is that of a store which
did not answer (Thanos, Mimir and remote reads warn of it, VictoriaMetrics calls the answer partial).
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
_LONGEST_COMPLAINT = 300
_ABOUT_THE_QUERY = "PromQL "  # such a warning is about how the query is written: the answer is whole all the same
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_AT_FAULT = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series: its labels, and its samples as pairs of unix seconds and a value that may be NaN or infinite."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave: `matrix` for raw samples, `vector` or `scalar` for what was computed from them."""

    kind: Literal["matrix", "vector", "scalar", "string"]
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """There is no answer, and why. `passing` failures may be gone a moment later."""

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
    def is_whole(self) -> bool:
        """Say whether everybody answered who has a part of the data."""
        return not self.is_partial and all(text.startswith(_ABOUT_THE_QUERY) for text in self.warnings or ())


class _Complaint(BaseModel):
    status: Literal["error"]
    error_type: str = Field(alias="errorType")
    error: str


def parse_answer(content: bytes) -> Reply:
    """Return what the body of a successful answer says."""
    try:
        success = _Success.model_validate_json(content)
        if not success.is_whole:
            return Failure(reason=BAD_ANSWER, detail="the answer is a part of the whole", passing=True)
        return _to_answer(success.data)
    except ValueError:  # pydantic's own, and ours for a number that is none
        return Failure(reason=BAD_ANSWER, detail="what came is no answer of Prometheus", passing=True)


def parse_refusal(status: int, content: bytes) -> Failure:
    """Return why there is no answer, from the status and the body of what came instead."""
    complaint = _complaint(content)
    detail = f"HTTP {status}" if complaint is None else f"HTTP {status}, {complaint.error[:_LONGEST_COMPLAINT]}"
    if status in _DENIED:
        return Failure(reason=REFUSED, detail=f"HTTP {status}", passing=False)
    if status in _AT_FAULT and complaint is not None:
        return Failure(reason=REJECTED, detail=detail, passing=False)
    if complaint is not None and complaint.error_type == "timeout":
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


def _complaint(content: bytes) -> _Complaint | None:
    try:
        return _Complaint.model_validate_json(content)
    except ValidationError:
        return None
