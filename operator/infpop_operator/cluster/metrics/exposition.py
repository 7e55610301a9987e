"""The `/metrics` page that Prometheus scrapes.

A separate thread renders it, not the event loop, because a thousand studies take a large part of a second.
"""

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.exposition import choose_encoder

from infpop_operator.adapters.kube.records import Body
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics.study_collector import StudyCollector

_GZIP_LEVEL = 1  # the fastest; every level shrinks the text to a tenth


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The answer to a scrape; `body` is compressed if the client asked for that."""

    body: bytes
    content_type: str


class MetricsPage:
    """Renders all metrics of the operator, one scrape at a time.

    Args:
        metrics: the operator's metrics about itself; the series of the studies join their registry.
        cache: holds the studies.
        queue_depth: returns how many studies wait for a reconcile or are being reconciled.
        clock: returns the time, with a time zone.
    """

    def __init__(
        self,
        metrics: OperatorMetrics,
        cache: Cache,
        *,
        queue_depth: Callable[[], int],
        clock: Callable[[], datetime],
    ) -> None:
        self._metrics = metrics
        self._cache = cache
        self._queue_depth = queue_depth
        self._clock = clock
        self._studies = StudyCollector()
        metrics.registry.register(self._studies)
        self._rendering = asyncio.Lock()

    async def render(self, accept: str, *, compressed: bool) -> Page:
        """Return the page in the format that the request's header `Accept` prefers."""
        async with self._rendering:
            bodies = [body for key in self._cache.studies() if (body := self._cache.study(key)) is not None]
            self._metrics.set_queue_depth(self._queue_depth())
            return await asyncio.to_thread(self._render, bodies, self._clock(), accept, compressed=compressed)

    def _render(self, bodies: list[Body], now: datetime, accept: str, *, compressed: bool) -> Page:
        self._studies.update(bodies, now)
        encode, content_type = choose_encoder(accept)
        body = encode(self._metrics.registry)
        return Page(body=gzip.compress(body, _GZIP_LEVEL) if compressed else body, content_type=content_type)
