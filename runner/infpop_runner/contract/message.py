"""Encode a `RunResult` as JSON that fits a container's termination message and is still valid JSON.

Kubernetes keeps 4,096 bytes of a termination message and cuts the rest blindly (kubernetes.io, "Customizing the
termination message"). Numbers and reasons are never cut; prose and host facts are dropped first.
"""

import json
from collections.abc import Iterator
from typing import Any

from infpop_runner.contract.result import SHORT_NAMES, Measured, RacedOut, RunResult, TrialResult

MESSAGE_LIMIT_BYTES = 4096
SHORTENED_NAME = 48  # "NVIDIA RTX PRO 6000 Blackwell Server Edition" has 44 characters


def decode_result(text: str) -> RunResult:
    """Return the result that `text` holds.

    Raises:
        pydantic.ValidationError: the text is not JSON, or not a result of a known contract version.
    """
    return RunResult.model_validate_json(text)


def encode_message(result: RunResult, *, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> str:
    """Return `result` as JSON of at most `limit_bytes` bytes, with as much detail as fits.

    Raises:
        ValueError: the numbers alone, without any detail, exceed the limit.
    """
    smallest = ""
    for candidate in _shorter_and_shorter(result):
        smallest = candidate.model_dump_json(exclude_none=True)
        if len(smallest.encode()) <= limit_bytes:
            return smallest
    smallest = _with_short_names(smallest)
    if len(smallest.encode()) <= limit_bytes:
        return smallest
    raise ValueError(f"the numbers of {len(result.trials)} trials need {len(smallest.encode())} > {limit_bytes} bytes")


def _shorter_and_shorter(result: RunResult) -> Iterator[RunResult]:
    yield result
    for length in (300, 120):
        yield _with_details(result, length)
    # A cause is worth more than the arguments, which the writer of the spec can build again.
    result = _with_provenance(result, engine_args={"omitted": True} if result.provenance.engine_args else {})
    for length in (120, 40, 0):
        yield _with_details(result, length)
    bare = _with_provenance(_with_details(result, 0), gpu_uuids=())
    yield bare
    bare = _with_provenance(bare, node=None, driver_version=None, gpu_model=_start_of(bare.provenance.gpu_model))
    yield bare
    yield _with_provenance(bare, engine_version=None, torch_version=None)


def _start_of(name: str | None) -> str | None:
    return name and name[:SHORTENED_NAME]


def _with_provenance(result: RunResult, **changes: object) -> RunResult:
    return result.model_copy(update={"provenance": result.provenance.model_copy(update=changes)})


def _with_details(result: RunResult, length: int) -> RunResult:
    def shorten(trial: TrialResult) -> TrialResult:
        return (
            trial
            if isinstance(trial, Measured | RacedOut)
            else trial.model_copy(update={"detail": trial.detail[:length]})
        )

    broken = result.broken and result.broken.model_copy(update={"detail": result.broken.detail[:length]})
    return result.model_copy(update={"trials": tuple(shorten(trial) for trial in result.trials), "broken": broken})


def _with_short_names(message: str) -> str:
    """Return the message with the short names of numbers, as eight measurements of the longest kind need them."""
    content: dict[str, Any] = json.loads(message)
    content["trials"] = [
        _shorten_names(trial) if trial["outcome"] == "measured" else trial for trial in content["trials"]
    ]
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def _shorten_names(trial: dict[str, Any]) -> dict[str, Any]:
    shortened = {SHORT_NAMES.get(name, name): value for name, value in trial.items()}
    missing = {SHORT_NAMES.get(name, name): reason for name, reason in trial.get("missing", {}).items()}
    return shortened | {"missing": missing} if missing else {k: v for k, v in shortened.items() if k != "missing"}
