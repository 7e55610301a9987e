"""The files of one run on this machine, and how the run ended according to them.

The executor writes `spec.json`; the runner writes `result.json`, `port` and `log.txt`. A result counts even if the
runner died before it completed the result: every measured trial is kept, whatever happened afterwards.
"""

from datetime import UTC, datetime
from pathlib import Path

from infpop_operator.adapters.conclude import NO_RESULT, Cause, conclude, parse_result
from infpop_operator.adapters.files import write_atomically
from infpop_operator.core.model import Finished, Lost, Run
from infpop_runner.contract import RunResult, RunSpec

_LOG_TAIL_BYTES = 4096


class RunFiles:
    """The files of one run in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spec = directory / "spec.json"
        self.result = directory / "result.json"
        self.port = directory / "port"
        self.log = directory / "log.txt"

    def prepare(self, spec: RunSpec) -> None:
        """Write the spec, and remove files that an earlier run of the same name may have left."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for stale in (self.result, self.port):
            stale.unlink(missing_ok=True)
        write_atomically(self.spec, spec.model_dump_json(indent=2) + "\n")

    def read_result(self, run: str) -> RunResult | str:
        """Return the run's result so far, or a sentence that says why there is none."""
        try:
            text = self.result.read_text(encoding="utf-8")
        except FileNotFoundError:
            return NO_RESULT
        except (OSError, UnicodeDecodeError) as error:
            return f"{self.result} cannot be read: {error}"
        return parse_result(text, run=run, source=str(self.result))

    def is_complete(self, run: str) -> bool:
        """Return whether the runner has written a complete result."""
        result = self.read_result(run)
        return isinstance(result, RunResult) and result.ended_at is not None

    def log_tail(self) -> str:
        """Return the current end of the log; empty if there is no log."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
                return stream.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def last_written_at(self) -> datetime | None:
        """Return when the run last wrote a file, None if it never did."""
        times = [path.stat().st_mtime for path in (self.result, self.port, self.log, self.spec) if path.exists()]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def conclude(self, run: Run, cause: Cause, ended_at: datetime) -> Finished | Lost:
        """Return how `run`, whose process has ended, ended: with its result if it has one, otherwise with `cause`."""
        return conclude(run, self.read_result(run.name), cause, ended_at)
