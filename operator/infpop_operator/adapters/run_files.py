"""The files of one run, and what they say about how it ended.

`spec.json` goes in; `result.json`, `port` and `log.txt` come from the runner. A result is read whether or not the
runner lived to finish it: what was measured is kept, whatever happened afterwards.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from infpop_operator.adapters.files import write_atomically
from infpop_operator.core.model import Finished, Lost, Run
from infpop_runner.contract import Broken, BrokenReason, RunResult, RunSpec, decode_result

_LOG_TAIL_BYTES = 4096
_LOG_TAIL_LINES = 5
_DETAIL_LENGTH = 1000
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x20-\x7e\u00a0-\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a run ended before it had a complete result.

    `lost` is the reason of a run without any trial, `broken` the contract's word for the trials that a partial result
    lacks. `counts`: the failure budget pays.
    """

    lost: str
    broken: BrokenReason
    detail: str = ""
    counts: bool = True


INTERRUPTED = Cause(lost="Interrupted", broken="Stopped", detail="infpop was stopped meanwhile", counts=False)


class RunFiles:
    """The files of one run in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spec = directory / "spec.json"
        self.result = directory / "result.json"
        self.port = directory / "port"
        self.log = directory / "log.txt"

    def prepare(self, spec: RunSpec) -> None:
        """Write the spec, and remove what an earlier run of the same name may have left."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for stale in (self.result, self.port):
            stale.unlink(missing_ok=True)
        write_atomically(self.spec, spec.model_dump_json(indent=2) + "\n")

    def read_result(self, run: str) -> RunResult | str:
        """Return what the run has found out so far, or a sentence that says why there is nothing."""
        try:
            result = decode_result(self.result.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return "no result was written"
        except (OSError, UnicodeDecodeError) as error:
            return f"{self.result} cannot be read: {error}"
        except ValidationError as error:
            return f"{self.result} is not a result: {error.errors(include_url=False)[0]['msg']}"
        return result if result.run == run else f"{self.result} belongs to the run {result.run!r}"

    def is_complete(self, run: str) -> bool:
        """Say whether the runner has written all that it had to say."""
        result = self.read_result(run)
        return isinstance(result, RunResult) and result.ended_at is not None

    def log_tail(self) -> str:
        """Return the last lines of the log on one line, without control characters; empty where there is no log."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
                text = stream.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line for raw in text.splitlines() if (line := _CONTROL.sub("", raw).strip())]
        return " | ".join(lines[-_LOG_TAIL_LINES:])[-_DETAIL_LENGTH:]

    def last_sign_of_life(self) -> datetime | None:
        """Return when the run last wrote anything, None when it never did."""
        times = [path.stat().st_mtime for path in (self.result, self.port, self.log, self.spec) if path.exists()]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def conclude(self, run: Run, cause: Cause, ended_at: datetime) -> Finished | Lost:
        """Return how `run`, which lives no more, ended: its result where it has one, `cause` where it has none."""
        result = self.read_result(run.name)
        if isinstance(result, str):
            detail = "; ".join(part for part in (cause.detail, result) if part)
            return Lost(reason=cause.lost, detail=detail[:_DETAIL_LENGTH], ended_at=ended_at, counts=cause.counts)
        if result.ended_at is not None:
            return Finished(result=result, ended_at=ended_at)
        nothing_to_keep = not result.trials and (result.load_seconds is None or not cause.counts)
        if nothing_to_keep:
            return Lost(reason=cause.lost, detail=cause.detail, ended_at=ended_at, counts=cause.counts)
        reached_all = {trial.index for trial in run.trials} <= {trial.index for trial in result.trials}
        broken = None if reached_all else Broken(reason=cause.broken, detail=cause.detail)
        return Finished(result=result.model_copy(update={"broken": broken, "ended_at": ended_at}), ended_at=ended_at)
