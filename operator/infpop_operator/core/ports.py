"""What the core's drivers need from the outside: a store that remembers, an executor that runs, sources of metrics.

Implementations live in `adapters`; each passes the conformance suite of its port.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.history_diff import Entry
from infpop_operator.core.model import (
    History,
    Missing,
    Observation,
    Run,
    Sample,
    StartedRun,
    WatchedRun,
)
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

    def record(self, entry: Entry) -> None:
        """Remember one step, durably, before returning."""
        ...


class MetricsSource(Protocol):
    """Knows throughputs of trials from watching runs, beside what the runs themselves leave as their result.

    An outage is `Missing` with a reason for every trial, never an exception and never a number.
    """

    @property
    def name(self) -> str:
        """Return the name that trial rows give as the source of their number."""
        ...

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return what is known of the trials of a run, by trial index; a trial that is not in it was not seen."""
        ...


class ExtraMetricsSource(Protocol):
    """Knows what other exporters saw of a run's pod. What it does not know is `Missing` with a reason."""

    async def extra_metrics(
        self,
        watched: WatchedRun,
        windows: Mapping[int, tuple[datetime, datetime]],
        metrics: Sequence[ExtraMetric],
    ) -> Mapping[int, Mapping[str, float | Missing]]:
        """Return every metric of every trial, by trial index and name.

        Args:
            watched: the run.
            windows: when each trial was measured, by trial index.
            metrics: what is asked for.
        """
        ...


class Answering(Protocol):
    """A service that may be down."""

    @property
    def outage(self) -> str | None:
        """Return since when and why it does not answer, None while it does."""
        ...

    async def probe(self) -> None:
        """Find out whether it answers now."""
        ...


class PrometheusSource(MetricsSource, ExtraMetricsSource, Answering, Protocol):
    """What Prometheus is to those who gather."""
