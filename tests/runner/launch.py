"""Start real runner processes and observe what they leave: a result, an exit status, and no process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import httpx
import psutil

from infpop_runner.contract import RunResult, RunSpec, decode_result

DEADLINE_SECONDS = 480.0  # patience for shared cores; an engine loads in half a minute


@dataclass(kw_only=True)
class Launched:
    """A runner process with a result file, a port file, a log and a lifeline."""

    process: subprocess.Popen[bytes]
    directory: Path
    lifeline: int

    def result(self) -> RunResult | None:
        """Return the current result, None before the first."""
        with suppress(FileNotFoundError):
            return decode_result((self.directory / "result.json").read_text())
        return None

    def log(self) -> str:
        """Return everything that the runner and its children wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; an end of the process before that is a failure."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"still waiting:\n{self.log()[-2000:]}"
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.05)
                assert condition(), f"ended before it happened:\n{self.log()[-2000:]}"

    def finish(self) -> RunResult:
        """Wait for the end, expect exit status 0 and a complete result, and return it."""
        assert self.process.wait(timeout=DEADLINE_SECONDS) == 0, self.log()[-4000:]
        result = self.result()
        assert result is not None, self.log()[-4000:]
        assert result.ended_at is not None
        return result

    def cut_lifeline(self) -> None:
        """Do what the kernel does when the process that started the runner dies."""
        os.close(self.lifeline)
        self.lifeline = -1

    def port(self) -> int | None:
        """Return the port of the metrics, None before it is known."""
        with suppress(FileNotFoundError):
            return int((self.directory / "port").read_text())
        return None

    def metrics(self) -> str:
        """Return the current content of /metrics."""
        with urlopen(f"http://127.0.0.1:{self.port()}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def scrape(self) -> str:
        """Return what Prometheus reads now; once the values are final this releases a held run."""
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}
        return httpx.get(f"http://127.0.0.1:{self.port()}/metrics", headers=headers, timeout=10).text

    def is_complete(self) -> bool:
        """Return whether the result is complete; a run may be held after that."""
        return bool((result := self.result()) and result.ended_at)

    def living(self, name: str = "") -> list[psutil.Process]:
        """Return the other processes of the runner's session whose command line holds `name`.

        The session identifies them: it is inherited, survives the death of a parent, and no engine changes it.
        """
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                ours = process.pid != self.process.pid and os.getsid(process.pid) == self.process.pid
                if ours and name in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@contextmanager
def launch(spec: RunSpec, directory: Path, **environment: str) -> Iterator[Launched]:
    """Start a runner; no process outlives the block, whatever the test does."""
    (directory / "spec.json").write_text(spec.model_dump_json())
    alive, lifeline = os.pipe()
    files = ["--spec", "spec.json", "--result", "result.json", "--port-file", "port", "--lifeline-fd", str(alive)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "infpop_runner.main", *files],
            cwd=directory,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},  # noqa: TID251 - a test is an edge
            stdout=log,
            stderr=log,
            pass_fds=[alive],
            start_new_session=True,
        )
    os.close(alive)
    launched = Launched(process=process, directory=directory, lifeline=lifeline)
    try:
        yield launched
    finally:
        for survivor in [*launched.living(), process]:
            with suppress(psutil.NoSuchProcess):
                survivor.kill()
        process.wait()
        if launched.lifeline >= 0:
            launched.cut_lifeline()
