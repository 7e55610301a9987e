"""Read the throughputs and extra metrics of trials from Prometheus."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Self

from infpop_operator.adapters.prometheus.answers import REJECTED, Answer, Failure
from infpop_operator.adapters.prometheus.client import PrometheusClient
from infpop_operator.adapters.prometheus.promql import Query, metric_query, throughput_query
from infpop_operator.adapters.prometheus.retrying import Pace, RetryingClient
from infpop_operator.adapters.prometheus.validation import NOT_YET, to_metric_value, to_samples
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Missing, Sample, WatchedRun
from infpop_operator.settings import PrometheusSettings

_log = logging.getLogger(__name__)

_MAX_CONCURRENT_QUERIES = 4  # queries may be heavy, and Prometheus runs 20 at a time for all its clients
_USUAL_PACE = Pace()

Window = tuple[datetime, datetime]


class PrometheusMetrics:
    """A `PrometheusSource` over the HTTP API; an async context manager.

    During an outage every value is `Missing` immediately, until `probe`, or a query some seconds later, finds that the
    outage is over.

    Args:
        settings: the address of Prometheus, the access to it, and how long to wait.
        now: returns the current time, timezone-aware and in UTC.
        count: called once per request, with "ok" or the reason why there is no answer.
        pace: the clock and the pauses of retries.
    """

    def __init__(
        self,
        settings: PrometheusSettings,
        *,
        now: Callable[[], datetime],
        count: Callable[[str], None],
        pace: Pace = _USUAL_PACE,
    ) -> None:
        self._client = PrometheusClient(settings, count)
        self._retrying = RetryingClient(self._client, patience_seconds=settings.patience_seconds, now=now, pace=pace)
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT_QUERIES)

    async def __aenter__(self) -> Self:
        """Do nothing: the first query opens the connections."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._client.aclose()

    @property
    def name(self) -> str:
        """Return the name of this source in trial rows."""
        return "Prometheus"

    @property
    def outage(self) -> str | None:
        """Return since when and why Prometheus does not answer, None if it does."""
        return None if self._retrying.outage is None else str(self._retrying.outage)

    async def probe(self) -> None:
        """Check whether Prometheus answers now, and update `outage`."""
        await self._retrying.probe()

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return the throughput of each trial in `watched.trials`, or why it is missing."""
        if not watched.trials:
            return {}

        def enough(answer: Answer) -> bool:
            found = to_samples(answer, watched).values()
            return not any(isinstance(sample, Missing) and sample.reason in NOT_YET for sample in found)

        until = self._retrying.deadline()
        reply = await self._retrying.ask(throughput_query(watched), enough=enough, until=until)
        if isinstance(reply, Failure):
            return dict.fromkeys(watched.trials, Missing(reason=reply.reason))
        return to_samples(reply, watched)

    async def extra_metrics(
        self, watched: WatchedRun, windows: Mapping[int, Window], metrics: Sequence[ExtraMetric]
    ) -> Mapping[int, Mapping[str, float | Missing]]:
        """Return the value of every metric for every trial, by trial index and metric name."""
        until = self._retrying.deadline()
        queries = [(index, metric) for index in windows for metric in metrics]
        found = await asyncio.gather(
            *(self._value(metric, watched, windows[index], until) for index, metric in queries)
        )
        extra_metrics: dict[int, dict[str, float | Missing]] = {index: {} for index in windows}
        for (index, metric), value in zip(queries, found, strict=True):
            extra_metrics[index][metric.name] = value
        return extra_metrics

    async def _value(self, metric: ExtraMetric, watched: WatchedRun, window: Window, until: float) -> float | Missing:
        query = metric_query(metric, watched, window)
        if query is None:
            return Missing(reason="NoPod")
        async with self._slots:
            reply = await self._retrying.ask(query, enough=lambda answer: bool(answer.series), until=until)
        if isinstance(reply, Answer):
            gpus = watched.gpu_count
            return to_metric_value(reply, metric.unit, window, across_gpus=metric.across_gpus, gpu_count=gpus)
        if reply.reason == REJECTED:
            self._log_rejection(metric, watched, query, reply)
        return Missing(reason=reply.reason)

    def _log_rejection(self, metric: ExtraMetric, watched: WatchedRun, query: Query, failure: Failure) -> None:
        """Log why Prometheus rejected a query; a trial row has room only for the reason."""
        _log.warning(
            "metric %s of study %s/%s: Prometheus rejected the query %r: %s",
            metric.name,
            watched.namespace,
            watched.study,
            query.promql,
            failure.detail,
        )
