"""The files of one run, and what they say about how it ended.

`spec.json` goes in; `result.json`, `port` and `log.txt` come from the runner. A result is read whether or not the
runner lived to finish it: what was measured is kept, whatever happened afterwards.
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
        """Write the spec, and remove what an earlier run of the same name may have left."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for stale in (self.result, self.port):
            stale.unlink(missing_ok=True)
        write_atomically(self.spec, spec.model_dump_json(indent=2) + "\n")

    def read_result(self, run: str) -> RunResult | str:
        """Return what the run has found out so far, or a sentence that says why there is nothing."""
        try:
            text = self.result.read_text(encoding="utf-8")
        except FileNotFoundError:
            return NO_RESULT
        except (OSError, UnicodeDecodeError) as error:
            return f"{self.result} cannot be read: {error}"
        return parse_result(text, run=run, source=str(self.result))

    def is_complete(self, run: str) -> bool:
        """Say whether the runner has written all that it had to say."""
        result = self.read_result(run)
        return isinstance(result, RunResult) and result.ended_at is not None

    def log_tail(self) -> str:
        """Return the end of the log as it stands; empty where there is no log."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
                return stream.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def last_sign_of_life(self) -> datetime | None:
        """Return when the run last wrote anything, None when it never did."""
        times = [path.stat().st_mtime for path in (self.result, self.port, self.log, self.spec) if path.exists()]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def conclude(self, run: Run, cause: Cause, ended_at: datetime) -> Finished | Lost:
        """Return how `run`, which lives no more, ended: its result where it has one, `cause` where it has none."""
        return conclude(run, self.read_result(run.name), cause, ended_at)
