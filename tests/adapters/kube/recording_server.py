"""A server that gives prepared answers and records whole requests, so that tests compare what a client really sends."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from infpop_operator.adapters.kube.connection import Connection

TOKEN = "token-of-a-test"  # noqa: S105
EMPTY_LIST: Mapping[str, Any] = {"metadata": {"resourceVersion": "41"}, "items": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request from a client; `kind` is the content type of its body."""

    method: str
    path: str
    query: Mapping[str, str]
    body: object = None
    kind: str | None = None


class RecordingServer:
    """Answers each request with the next of `answers`, and with an empty list after the last.

    While `speaks` is not set, it does not answer.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.headers: list[Mapping[str, str]] = []
        self.answers: list[tuple[int, object]] = []
        self.url = ""
        self.speaks = asyncio.Event()
        self.speaks.set()

    def connection(self) -> Connection:
        """Return a connection to it."""
        configuration = Configuration(host=self.url, retries=None)
        configuration.api_key = {"BearerToken": f"Bearer {TOKEN}"}
        return Connection(configuration=configuration, namespace="default")

    async def answer(self, request: web.Request) -> web.Response:
        """Keep a request and answer it."""
        text = await request.text()
        self.requests.append(
            Request(
                method=request.method,
                path=request.raw_path.partition("?")[0],
                query=dict(request.query),
                body=json.loads(text) if text else None,
                kind=request.headers.get("Content-Type") if text else None,
            )
        )
        self.headers.append(dict(request.headers))
        await self.speaks.wait()
        status, body = self.answers.pop(0) if self.answers else (200, EMPTY_LIST)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")


@asynccontextmanager
async def recording_server() -> AsyncIterator[RecordingServer]:
    """Serve on a free port while the block lasts."""
    server = RecordingServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        server.speaks.set()
        await runner.cleanup()
