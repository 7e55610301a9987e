"""Ask Prometheus until there is an answer, and remember when it gives none at all.

A question is asked again, after longer and longer pauses, while its failure may pass. When that was in vain, a question
of our own finds out whether Prometheus is away or the question was at fault: a study's query cannot take Prometheus
away from the others. While Prometheus is away nobody waits for it.
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
from infpop_operator.adapters.prometheus.promql import PROBE, Question

_log = logging.getLogger(__name__)

PROBE_PAUSE_S = 5.0  # between looks whether Prometheus is back
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How time goes by while something is waited for.

    Attributes:
        monotonic: seconds that never go back.
        sleep: wait for so many seconds.
        jitter: a number from 0 to 1, so that many who wait do not ask again at once.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Prometheus gives no answers: since when, and why."""

    since: datetime
    reason: str
    detail: str

    def __str__(self) -> str:
        """Return a sentence that stays the same while the outage does."""
        return f"no answer since {self.since:%Y-%m-%d %H:%M:%S} UTC: {self.reason} ({self.detail})"


class RetryingClient:
    """Asks with patience.

    Args:
        client: asks once.
        patience_seconds: for how long a question is asked again.
        now: the time, aware and UTC.
        pace: of waiting.
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
        """Return until when a question is asked again that is asked first now, on the monotonic clock."""
        return self._pace.monotonic() + self._patience_s

    async def ask(self, question: Question, *, enough: Callable[[Answer], bool], until: float) -> Reply:
        """Return the answer, or why there is none.

        Args:
            question: what is asked.
            enough: whether an answer is worth having; one that is not is waited for to become so, but not when the
                time that is asked about is long past.
            until: the deadline, for all questions that belong together.
        """
        if self.outage is not None and not await self._is_back():
            return Failure(reason=self.outage.reason, detail=self.outage.detail, passing=True)
        if self._pace.monotonic() > until:
            return Failure(reason=TIMED_OUT, detail="earlier questions took all the time", passing=True)
        reply = await self._patiently(question, enough, until)
        if isinstance(reply, Failure) and reply.reason != REJECTED and self.outage is None:
            self._note(await self._try(PROBE))
        return reply

    async def probe(self) -> None:
        """Find out whether Prometheus answers."""
        self._note(await self._patiently(PROBE, lambda _: True, self.deadline()))

    async def _is_back(self) -> bool:
        """Look whether the outage is over, unless somebody has just looked or is looking."""
        if self._pace.monotonic() - self._tried_at >= PROBE_PAUSE_S:
            await self.probe()
        return self.outage is None

    async def _patiently(self, question: Question, enough: Callable[[Answer], bool], until: float) -> Reply:
        for tries in count():
            reply = await self._try(question)
            pause_s = self._pause_s(tries)
            if not self._may_become_better(reply, question, enough) or self._pace.monotonic() + pause_s > until:
                break
            await self._pace.sleep(pause_s)
        return reply

    async def _try(self, question: Question) -> Reply:
        self._tried_at = self._pace.monotonic()
        reply = await self._client.ask(question)
        if isinstance(reply, Answer) or reply.reason == REJECTED:
            self._answered()
        return reply

    def _may_become_better(self, reply: Reply, question: Question, enough: Callable[[Answer], bool]) -> bool:
        if isinstance(reply, Failure):
            return reply.passing and self.outage is None
        if enough(reply) or question.at is None:
            return False
        return self._now() - question.at < timedelta(seconds=self._patience_s)

    def _pause_s(self, tries: int) -> float:
        """Return a pause that doubles, give or take half of it."""
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**tries) * (0.5 + self._pace.jitter())

    def _note(self, reply: Reply) -> None:
        """Remember that a question of our own failed."""
        if isinstance(reply, Answer) or reply.reason == REJECTED:
            return
        before = self.outage
        if before is None or before.reason != reply.reason:
            since = self._now() if before is None else before.since
            self.outage = Outage(since=since, reason=reply.reason, detail=reply.detail)
            _log.warning("Prometheus gives %s", self.outage)

    def _answered(self) -> None:
        if self.outage is not None:
            _log.info("Prometheus answers again; there was %s", self.outage)
            self.outage = None
