"""Throughputs and further figures of trials, from Prometheus."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Self

from infpop_operator.adapters.prometheus.answers import REJECTED, Answer, Failure
from infpop_operator.adapters.prometheus.client import PrometheusClient
from infpop_operator.adapters.prometheus.promql import Question, metric_question, throughput_question
from infpop_operator.adapters.prometheus.retrying import Pace, RetryingClient
from infpop_operator.adapters.prometheus.validation import NOT_YET, to_figure, to_samples
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Missing, Sample, WatchedRun
from infpop_operator.settings import PrometheusSettings

_log = logging.getLogger(__name__)

_FIGURES_AT_ONCE = 4  # queries of studies may be heavy, and Prometheus works on 20 at a time for everybody
_USUAL_PACE = Pace()

Window = tuple[datetime, datetime]


class PrometheusMetrics:
    """A `PrometheusSource` over the HTTP API; an async context manager.

    An outage is remembered: until `probe`, or a question after some seconds, finds that it is over, every number is
    `Missing` at once.

    Args:
        settings: where Prometheus is, how to be let in, and how long to wait.
        now: the time, aware and UTC.
        count: called once a request with "ok" or the reason why there is no answer.
        pace: how time goes by while an answer is waited for.
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
        self._asker = RetryingClient(self._client, patience_seconds=settings.patience_seconds, now=now, pace=pace)
        self._slots = asyncio.Semaphore(_FIGURES_AT_ONCE)

    async def __aenter__(self) -> Self:
        """Connect when something is asked."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._client.aclose()

    @property
    def name(self) -> str:
        """Return the name that trial rows give as the source of their number."""
        return "Prometheus"

    @property
    def outage(self) -> str | None:
        """Return since when and why Prometheus does not answer, None while it does."""
        return None if self._asker.outage is None else str(self._asker.outage)

    async def probe(self) -> None:
        """Find out whether Prometheus answers now."""
        await self._asker.probe()

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return the throughput of each trial in `watched.trials`, or why it is missing."""
        if not watched.trials:
            return {}

        def enough(answer: Answer) -> bool:
            found = to_samples(answer, watched).values()
            return not any(isinstance(sample, Missing) and sample.reason in NOT_YET for sample in found)

        until = self._asker.deadline()
        reply = await self._asker.ask(throughput_question(watched), enough=enough, until=until)
        if isinstance(reply, Failure):
            return dict.fromkeys(watched.trials, Missing(reason=reply.reason))
        return to_samples(reply, watched)

    async def extra_metrics(
        self, watched: WatchedRun, windows: Mapping[int, Window], metrics: Sequence[ExtraMetric]
    ) -> Mapping[int, Mapping[str, float | Missing]]:
        """Return every metric of every trial, by trial index and name."""
        until = self._asker.deadline()
        asked = [(index, metric) for index in windows for metric in metrics]
        found = await asyncio.gather(*(self._figure(metric, watched, windows[index], until) for index, metric in asked))
        extra_metrics: dict[int, dict[str, float | Missing]] = {index: {} for index in windows}
        for (index, metric), figure in zip(asked, found, strict=True):
            extra_metrics[index][metric.name] = figure
        return extra_metrics

    async def _figure(self, metric: ExtraMetric, watched: WatchedRun, window: Window, until: float) -> float | Missing:
        question = metric_question(metric, watched, window)
        if question is None:
            return Missing(reason="NoPod")
        async with self._slots:
            reply = await self._asker.ask(question, enough=lambda answer: bool(answer.series), until=until)
        if isinstance(reply, Answer):
            return to_figure(reply, metric.unit, window)
        if reply.reason == REJECTED:
            self._tell(metric, watched, question, reply)
        return Missing(reason=reply.reason)

    def _tell(self, metric: ExtraMetric, watched: WatchedRun, question: Question, failure: Failure) -> None:
        """Say what Prometheus has against a query; a row has room for the reason alone."""
        _log.warning(
            "metric %s of study %s/%s: %r is refused: %s",
            metric.name,
            watched.namespace,
            watched.study,
            question.query,
            failure.detail,
        )
