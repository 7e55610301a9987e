"""The ports of the core's drivers: protocols for the study store, the executor and the metrics sources.

The implementations are in `adapters`; each passes the conformance suite of its port.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.history_diff import Entry
from infpop_operator.core.model import History, Missing, Observation, Run, Sample, StartedRun, WatchedRun
from infpop_runner.contract import RunSpec


class Executor(Protocol):
    """Starts, stops and observes runs. Every call is safe to repeat."""

    def start(self, run: Run, spec: RunSpec) -> None:
        """Start `run`; do nothing if a run with this name is already live.

        Raises:
            ExecutorError: this executor cannot start the run.
        """
        ...

    def stop(self, name: str) -> None:
        """Stop the run and everything that it started, immediately; do nothing if it is unknown or has ended."""
        ...

    def observe(self, runs: tuple[StartedRun, ...], now: datetime) -> Mapping[str, Observation]:
        """Return the observation of each run, by name. A run that vanished is `Lost`, never absent."""
        ...


class StudyStore(Protocol):
    """Stores the history of one study. A recorded entry survives a crash at any later time."""

    def load(self, now: datetime) -> History:
        """Return the recorded history; for a new study an empty one that started at `now`."""
        ...

    def record(self, entry: Entry) -> None:
        """Record one entry durably before returning."""
        ...


class MetricsSource(Protocol):
    """Provides throughputs of trials from metrics of live runs, in addition to the results that the runs leave.

    During an outage it returns `Missing` with a reason for every trial, never an exception and never a number.
    """

    @property
    def name(self) -> str:
        """Return the name that trial rows show as the source of their value."""
        ...

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return the samples of a run's trials, by trial index; a trial that is absent was not observed."""
        ...


class ExtraMetricsSource(Protocol):
    """Provides other exporters' metrics of a run's Pod; a value that it does not have is `Missing` with a reason."""

    async def extra_metrics(
        self,
        watched: WatchedRun,
        windows: Mapping[int, tuple[datetime, datetime]],
        metrics: Sequence[ExtraMetric],
    ) -> Mapping[int, Mapping[str, float | Missing]]:
        """Return every metric of every trial, by trial index and name.

        Args:
            watched: the run.
            windows: the time window of each trial, by trial index.
            metrics: the metrics to query.
        """
        ...


class PrometheusSource(MetricsSource, ExtraMetricsSource, Protocol):
    """Prometheus as the metrics gatherer uses it: throughputs, extra metrics and an outage check."""

    @property
    def outage(self) -> str | None:
        """Return since when and why Prometheus does not answer, None while it does."""
        ...

    async def probe(self) -> None:
        """Check whether Prometheus answers now."""
        ...
