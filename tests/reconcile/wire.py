"""What is between an operator's `KubeClient` and a cluster in memory: every request passes, and can be made to fail."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import dataclass
from email.utils import format_datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
from kubernetes.aio.client import Configuration

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.connection import Connection
from reconcile.memory_cluster import NAMESPACE, PLURALS, Answer, MemoryCluster, Request, refusal

CarryOut = Callable[[], Awaitable[Answer]]
Interference = Callable[[Request, CarryOut], Awaitable[Answer]]


class Killed(BaseException):
    """The operator's process ends at this very moment: nothing in it handles that."""


async def let_pass(_: Request, carry_out: CarryOut) -> Answer:
    """Let every request pass."""
    return await carry_out()


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        return self.body


class Wire:
    """The transport of one client, in place of the library's own.

    Attributes:
        requests: those that the operator made.
        interference: what happens to a request on its way; it may carry it out, or not, or answer otherwise.
    """

    def __init__(self, cluster: MemoryCluster, interference: Interference = let_pass) -> None:
        self.requests: list[Request] = []
        self.interference = interference
        self._cluster = cluster
        self._is_dead = False

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,  # noqa: ANN401 - JSON
        **_: object,
    ) -> _Response:
        """Carry out a request; another operator may act first."""
        await asyncio.sleep(0)
        request = _parse(method, url, json.loads(json.dumps(body)))
        if self._is_dead:
            raise Killed
        self.requests.append(request)
        try:
            code, answer = await self.interference(request, lambda: self._carry_out(request))
        except Killed:
            self._is_dead = True
            raise
        headers = {"Date": format_datetime(self._cluster.clock().replace(microsecond=0), usegmt=True)}
        return _Response(code, json.dumps(answer).encode(), headers)

    async def close(self) -> None:
        """Close nothing."""

    async def _carry_out(self, request: Request) -> Answer:
        return self._cluster.answer(request)


def connect(wire: Wire, clock: ClusterClock | None = None) -> KubeClient:
    """Return a client whose requests go over this wire."""
    client = copy(_template())
    client._clock = clock
    client._api = copy(client._api)
    client._api.rest_client = wire
    return client


@cache
def _template() -> KubeClient:
    """Return a client to copy: each that is made reads the system's certificates, which takes longer than a study."""
    return KubeClient(Connection(configuration=Configuration(host="http://memory", retries=None), namespace=NAMESPACE))


def refusing(code: int, reason: str, message: str, *, said: str) -> Interference:
    """Return what refuses the requests of one kind, for example "POST jobs"."""

    async def interfere(request: Request, carry_out: CarryOut) -> Answer:
        return refusal(code, reason, message) if request.said == said else await carry_out()

    return interfere


async def kill_before(_: CarryOut) -> Answer:
    """End the operator before the request is carried out."""
    raise Killed


async def kill_after(carry_out: CarryOut) -> Answer:
    """End the operator before it has the answer."""
    await carry_out()
    raise Killed


async def lose_request(_: CarryOut) -> Answer:
    """Give no answer, and do nothing."""
    raise aiohttp.ClientConnectionError("reset")


async def lose_answer(carry_out: CarryOut) -> Answer:
    """Do what is asked, and give no answer."""
    await carry_out()
    raise aiohttp.ClientConnectionError("reset")


async def fail(_: CarryOut) -> Answer:
    """Answer that the server is overloaded."""
    return refusal(429, "TooManyRequests", "try again later")


Trouble = Callable[[CarryOut], Awaitable[Answer]]


def at_request(number: int, trouble: Trouble) -> Interference:
    """Return what makes trouble at one request, counted from 0."""
    passed = 0

    async def interfere(_: Request, carry_out: CarryOut) -> Answer:
        nonlocal passed
        passed += 1
        return await (trouble(carry_out) if passed == number + 1 else carry_out())

    return interfere


def _parse(method: str, url: str, body: Any) -> Request:  # noqa: ANN401 - JSON
    parts = urlsplit(url)
    path = [unquote(part) for part in parts.path.strip("/").split("/")]
    namespace = path[path.index("namespaces") + 1] if "namespaces" in path else None
    position = next(number for number, part in enumerate(path) if part in PLURALS)
    name, part = (*path[position + 1 :], None, None)[:2]
    query = dict(parse_qsl(parts.query))
    return Request(
        method=method, plural=path[position], namespace=namespace, name=name, part=part, query=query, body=body or {}
    )
