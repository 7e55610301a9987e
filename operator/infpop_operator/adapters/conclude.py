"""Classify how a finished run ended: by its result, or by the reason why it left none.

Pure, and the same for a process on this machine and for a Pod. A result counts even if the runner died before it
completed the result, and every measured trial is kept, whatever happened afterwards. What a run wrote enters here: the
contract cleans a result as it reads it, and `last_output` any other text, so that no text behind this module forges a
line of a log or of an Event.
"""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from infpop_operator.core.model import INTERRUPTED as REASON_INTERRUPTED
from infpop_operator.core.model import Finished, Lost, Run
from infpop_runner.contract import Broken, BrokenReason, RunResult, decode_result, one_line

NO_RESULT = "no result was written"
DETAIL_LENGTH = 1000
_LAST_LINES = 5
_OUTPUT_LENGTH = 800  # leaves room for the text before it: its end must not be cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a run ended before it had a complete result.

    `lost` is the reason for a run without any trial, `broken` the contract's reason for the trials that a partial
    result lacks. If `counts`, the run uses up part of the failure budget.
    """

    lost: str
    broken: BrokenReason
    detail: str = ""
    counts: bool = True


INTERRUPTED = Cause(lost=REASON_INTERRUPTED, broken="Stopped", detail="infpop was stopped during the run", counts=False)


def parse_result(text: str, *, run: str, source: str) -> RunResult | str:
    """Return the result of `run` that `text` holds, or a sentence that says why there is none.

    Args:
        text: what the runner wrote; empty if it wrote nothing.
        run: the name of the run that the result must belong to.
        source: the name of the text in the sentence.
    """
    if not text.strip():
        return NO_RESULT
    try:
        result = decode_result(text)
    except ValidationError as error:
        return f"{source} is not a result: {one_line(error.errors(include_url=False)[0]['msg'])}"
    return result if result.run == run else f"{source} belongs to the run {one_line(result.run)!r}"


def conclude(run: Run, result: RunResult | str, cause: Cause, ended_at: datetime) -> Finished | Lost:
    """Return how `run` ended: with its result if it has one, otherwise with `cause`.

    Args:
        run: the run.
        result: the result that it left, or a sentence that says why there is none.
        cause: why it ended, used if the result is incomplete.
        ended_at: when it ended.
    """
    if isinstance(result, str):
        detail = "; ".join(part for part in (cause.detail, result) if part)
        return Lost(reason=cause.lost, detail=detail[:DETAIL_LENGTH], ended_at=ended_at, counts=cause.counts)
    if result.ended_at is not None:
        return Finished(result=result, ended_at=ended_at)
    nothing_to_keep = not result.trials and (result.load_seconds is None or not cause.counts)
    if nothing_to_keep:
        return Lost(reason=cause.lost, detail=cause.detail, ended_at=ended_at, counts=cause.counts)
    reached_all = {trial.index for trial in run.trials} <= {trial.index for trial in result.trials}
    broken = None if reached_all else Broken(reason=cause.broken, detail=cause.detail)
    return Finished(result=result.model_copy(update={"broken": broken, "ended_at": ended_at}), ended_at=ended_at)


def last_output(text: str) -> str:
    """Return the last lines of `text` on one line of printable characters."""
    lines = [line for raw in text.splitlines() if (line := one_line(raw))]
    return " | ".join(lines[-_LAST_LINES:])[-_OUTPUT_LENGTH:]


def cause_of_exit(how: str, text: str) -> Cause:
    """Return the cause for a runner that exited by itself without a complete result.

    Args:
        how: "exit code 3" or "signal 11".
        text: the end of its output, unchanged.
    """
    tail = last_output(text)
    detail = f"the runner ended with {how}" + (f"; its last output: {tail}" if tail else "")
    return Cause(lost="RunnerError", broken="RunnerError", detail=detail)
