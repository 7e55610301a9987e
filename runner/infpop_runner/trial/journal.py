"""The growing result of a run, written after every step, so that measured trials survive any later failure."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from infpop_runner.contract import Broken, Provenance, RunResult, RunSpec, TrialResult, encode_message


class JournalError(Exception):
    """The result cannot be written, so the run cannot report anything."""


class Journal:
    """Holds one `RunResult`; both the main thread and the guard thread may call it.

    Once closed, the result never changes, except for how long the run was held afterwards: the first thread that ends
    the run determines the final result. Every change raises `JournalError` if it cannot be written.
    """

    def __init__(self, spec: RunSpec, *, write: Callable[[str], None], now: Callable[[], datetime]) -> None:
        self._lock = threading.Lock()
        self._write = write
        self._now = now
        self._closed = False
        self._order = [trial.index for trial in spec.trials]
        self._result = RunResult(
            run=spec.run,
            simulated=spec.engine.name == "simulated",
            provenance=Provenance(engine=spec.engine.name, seed=spec.seed),
            started_at=now(),
        )

    @property
    def result(self) -> RunResult:
        """The result so far."""
        return self._result

    def note(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the result
        """Set fields of the result."""
        with self._lock:
            self._replace(**changes)

    def note_provenance(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the provenance
        """Set fields of the result's provenance."""
        with self._lock:
            self._replace(provenance=self._result.provenance.model_copy(update=changes))

    def add(self, trial: TrialResult) -> None:
        """Add the outcome of a trial; outcomes stay in the order of the run's trials."""
        with self._lock:
            trials = sorted((*self._result.trials, trial), key=lambda result: self._order.index(result.index))
            self._replace(trials=tuple(trials))

    def close(self, broken: Broken | None = None) -> None:
        """Complete the result; later calls of any method but `note_held` change nothing."""
        with self._lock:
            try:
                self._replace(broken=broken, ended_at=self._now())
            finally:
                self._closed = True

    def note_held(self, seconds: float) -> None:
        """Add to the complete result how long the run was held for a scrape."""
        with self._lock:
            self._change(held_seconds=round(seconds, 3))

    def _replace(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the result
        if not self._closed:
            self._change(**changes)

    def _change(self, **changes: Any) -> None:  # noqa: ANN401 - as above
        self._result = RunResult.model_validate(self._result.model_copy(update=changes).model_dump())
        try:
            self._write(encode_message(self._result))
        except OSError as error:
            raise JournalError(f"the result cannot be written: {error}") from error
