"""What the core's driver needs from the outside: a store that remembers and an executor that runs.

Implementations live in `adapters`; each passes the conformance suite of its port.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from infpop_operator.core.model import EndedRun, History, Observation, Round, Run, StartedRun
from infpop_runner.contract import RunSpec


class Executor(Protocol):
    """Starts and stops runs, and says how they are. Every call is safe to repeat."""

    def start(self, run: Run, spec: RunSpec) -> None:
        """Start `run`; a run of that name that already lives is left alone.

        Raises:
            ExecutorError: it cannot be started here at all.
        """
        ...

    def stop(self, name: str) -> None:
        """End the run and everything that it started, now; unknown or ended runs are left alone."""
        ...

    def observe(self, runs: tuple[StartedRun, ...], now: datetime) -> Mapping[str, Observation]:
        """Return what is known of each run, by name. A run that vanished is `Lost`, never missing."""
        ...


class StudyStore(Protocol):
    """Remembers one study. What was recorded is there after a crash at any later instant."""

    def load(self, now: datetime) -> History:
        """Return all that is remembered; an empty history that started at `now` for a new study."""
        ...

    def record(self, entry: Round | StartedRun | EndedRun) -> None:
        """Remember one step, durably, before returning."""
        ...
