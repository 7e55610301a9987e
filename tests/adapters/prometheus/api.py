"""A server with the HTTP API of Prometheus over real connections, which misbehaves on demand; and a fake clock."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from factories.studies import START
from infpop_operator.adapters.prometheus import Pace, PrometheusMetrics
from infpop_operator.core.model import WatchedRun
from infpop_operator.settings import PrometheusSettings

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
Pairs = Sequence[tuple[float, str]]
END = START + timedelta(minutes=5)
RUN = WatchedRun(
    namespace="serving", study="study", run="study-1", pod="study-1-x7f", started_at=START, ended_at=END, trials=(0, 1)
)
OWNER = {"__name__": "infpop_trial_throughput_tokens_per_second", "namespace": "serving", "study": "study"}


class PrometheusApi:
    """Answers each query with the next of `answers`, and then always with the last.

    `probe` is the answer to the probe query, which needs no data; None: the same as for other queries. `questions` and
    `headers` record the forms and headers that were received.
    """

    def __init__(self) -> None:
        self.answers: list[Behaviour] = [success("vector", [])]
        self.probe: Behaviour | None = None
        self.questions: list[dict[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.url = ""

    @property
    def queries(self) -> list[str]:
        """Return the recorded queries, without the probes."""
        return [form["query"] for form in self.questions if form["query"] != "vector(1)"]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer, correctly or not."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.questions.append(form)
        self.headers.append(dict(request.headers))
        if form["query"] == "vector(1)" and self.probe is not None:
            return await self.probe(request)
        behaviour = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await behaviour(request)


@asynccontextmanager
async def prometheus_api(tls: ssl.SSLContext | None = None) -> AsyncIterator[PrometheusApi]:
    """Serve on a free port while the block lasts."""
    api = PrometheusApi()
    application = web.Application()
    application.router.add_post("/prefix/api/v1/query", api.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        api.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}/prefix"
        yield api
    finally:
        await runner.cleanup()


class Clock:
    """A clock that advances only while a task waits."""

    def __init__(self, start: datetime = END) -> None:
        self._start = start
        self.seconds = 0.0

    def now(self) -> datetime:
        """Return the time."""
        return self._start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Advance the time, and let other tasks run."""
        self.seconds += seconds
        await asyncio.sleep(0)

    @property
    def pace(self) -> Pace:
        """Return a pace with this clock and no jitter."""
        return Pace(monotonic=self.monotonic, sleep=self.sleep, jitter=lambda: 0.5)


class Scene:
    """A source, its Prometheus server, its clock and its counters."""

    def __init__(self, api: PrometheusApi, source: PrometheusMetrics, clock: Clock, counted: list[str]) -> None:
        self.api = api
        self.source = source
        self.clock = clock
        self.counted = counted


def play(scenario: Callable[[Scene], Awaitable[None]], **settings: object) -> None:
    """Run a scenario with a source of these settings; the time-out of a query is longer than a busy machine takes."""

    async def go() -> None:
        clock, counted = Clock(), list[str]()
        async with prometheus_api() as api:
            usual = PrometheusSettings(url=api.url, timeout_seconds=20.0)
            source = PrometheusMetrics(replace(usual, **settings), now=clock.now, count=counted.append, pace=clock.pace)
            async with source:
                await scenario(Scene(api, source, clock, counted))

    asyncio.run(go())


def success(kind: str, result: object) -> Behaviour:
    """Answer a query successfully."""

    async def behave(_: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"resultType": kind, "result": result}})

    return behave


def failure(status: int, *, error_type: str = "", text: str = "", **headers: str) -> Behaviour:
    """Answer with an error of Prometheus, or of a gateway that sends only text."""

    async def behave(_: web.Request) -> web.Response:
        if not error_type:
            return web.Response(status=status, text=text, headers=headers)
        return web.json_response({"status": "error", "errorType": error_type, "error": text}, status=status)

    return behave


def body(content: bytes, **headers: str) -> Behaviour:
    """Answer with exactly these bytes and status 200."""

    async def behave(_: web.Request) -> web.Response:
        return web.Response(body=content, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return behave


async def hang(request: web.Request) -> web.StreamResponse:
    """Accept the query and never answer."""
    await asyncio.Event().wait()
    return web.Response(text=request.path)


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Start an answer and close the connection in the middle of it."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"status":"success","data":')
    assert request.transport is not None
    request.transport.close()
    return response


async def never_end(request: web.Request) -> web.StreamResponse:
    """Send spaces, with which JSON may begin, without end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


def series(*pairs: tuple[float, str], trial: str = "0", **labels: str) -> dict[str, Any]:
    """Return raw samples of a throughput, at seconds after the start of the run."""
    metric = {**OWNER, "run": "study-1", "trial": trial, **labels}
    return {"metric": metric, "values": [[START.timestamp() + seconds, value] for seconds, value in pairs]}


def throughputs(*found: Mapping[str, Any]) -> Behaviour:
    """Answer a query for throughputs."""
    return success("matrix", list(found))


def number(value: str, *, at: datetime = END) -> dict[str, Any]:
    """Return one element of a vector."""
    return {"metric": {}, "value": [at.timestamp(), value]}
