"""Retry queries to Prometheus, and detect outages.

A query with a temporary failure is retried after increasing pauses. If it still fails, a probe query finds out whether
Prometheus is down or the query is at fault: so a bad query of one study does not count as an outage for the others.
During an outage no query waits for Prometheus.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from infpop_operator.adapters.prometheus.answers import REJECTED, TIMED_OUT, Answer, Failure, Reply
from infpop_operator.adapters.prometheus.client import PrometheusClient
from infpop_operator.adapters.prometheus.promql import PROBE, Query

_log = logging.getLogger(__name__)

PROBE_PAUSE_S = 5.0  # between probes during an outage
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The clock, sleep and jitter of retries; tests replace them.

    Attributes:
        monotonic: a clock in seconds that never goes back.
        sleep: waits for a number of seconds.
        jitter: returns a number from 0 to 1, so that concurrent retries spread out.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """An outage of Prometheus: since when, and why."""

    since: datetime
    reason: str
    detail: str

    def __str__(self) -> str:
        """Return a sentence that stays the same while the outage does."""
        return f"no answer since {self.since:%Y-%m-%d %H:%M:%S} UTC: {self.reason} ({self.detail})"


class RetryingClient:
    """Sends queries to Prometheus and retries temporary failures.

    Args:
        client: sends single requests.
        patience_seconds: for how long a query is retried.
        now: returns the current time, timezone-aware and in UTC.
        pace: the clock and the pauses of retries.
    """

    def __init__(
        self, client: PrometheusClient, *, patience_seconds: float, now: Callable[[], datetime], pace: Pace
    ) -> None:
        self._client = client
        self._patience_s = patience_seconds
        self._now = now
        self._pace = pace
        self._tried_at = -PROBE_PAUSE_S
        self.outage: Outage | None = None

    def deadline(self) -> float:
        """Return until when a query that starts now is retried, on the monotonic clock."""
        return self._pace.monotonic() + self._patience_s

    async def ask(self, query: Query, *, enough: Callable[[Answer], bool], until: float) -> Reply:
        """Return the answer, or why there is none.

        Args:
            query: the query.
            enough: returns whether an answer is sufficient. An insufficient one is queried again, unless the evaluation
                time of the query is long past.
            until: the deadline, shared by all queries that belong together.
        """
        if self.outage is not None and not await self._is_back():
            return Failure(reason=self.outage.reason, detail=self.outage.detail, passing=True)
        if self._pace.monotonic() > until:
            return Failure(reason=TIMED_OUT, detail="earlier queries took all the time", passing=True)
        reply = await self._retry(query, enough, until)
        if isinstance(reply, Failure) and reply.reason != REJECTED and self.outage is None:
            self._note(await self._try(PROBE))
        return reply

    async def probe(self) -> None:
        """Send the probe query, and update `outage` by its outcome."""
        self._note(await self._retry(PROBE, lambda _: True, self.deadline()))

    async def _is_back(self) -> bool:
        """Return whether the outage is over; probe first, unless another call has just probed or is probing."""
        if self._pace.monotonic() - self._tried_at >= PROBE_PAUSE_S:
            await self.probe()
        return self.outage is None

    async def _retry(self, query: Query, enough: Callable[[Answer], bool], until: float) -> Reply:
        for tries in count():
            reply = await self._try(query)
            pause_s = self._pause_s(tries)
            if not self._is_worth_retrying(reply, query, enough) or self._pace.monotonic() + pause_s > until:
                break
            await self._pace.sleep(pause_s)
        return reply

    async def _try(self, query: Query) -> Reply:
        self._tried_at = self._pace.monotonic()
        reply = await self._client.ask(query)
        if isinstance(reply, Answer) or reply.reason == REJECTED:
            self._answered()
        return reply

    def _is_worth_retrying(self, reply: Reply, query: Query, enough: Callable[[Answer], bool]) -> bool:
        if isinstance(reply, Failure):
            return reply.passing and self.outage is None
        if enough(reply) or query.at is None:
            return False
        return self._now() - query.at < timedelta(seconds=self._patience_s)

    def _pause_s(self, tries: int) -> float:
        """Return a pause that doubles with each try, plus or minus up to half of it."""
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**tries) * (0.5 + self._pace.jitter())

    def _note(self, reply: Reply) -> None:
        """Record an outage if the probe query failed."""
        if isinstance(reply, Answer) or reply.reason == REJECTED:
            return
        before = self.outage
        if before is None or before.reason != reply.reason:
            since = self._now() if before is None else before.since
            self.outage = Outage(since=since, reason=reply.reason, detail=reply.detail)
            _log.warning("Prometheus outage: %s", self.outage)

    def _answered(self) -> None:
        if self.outage is not None:
            _log.info("Prometheus answers again after this outage: %s", self.outage)
            self.outage = None
