"""The few API requests of the simulated kubelet, with plain dictionaries.

The official client builds an object of every Pod in every event; with two hundred Pods on two cores that alone would
slow a test down.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import aiohttp
import yaml

Document = dict[str, Any]
_CLOSE_SECONDS = 0.01  # between looks at connections that are closing
_CALL_TIMEOUT = aiohttp.ClientTimeout(total=10)
WATCH_SECONDS = 30  # the longest duration of a watch, so that a dead connection is noticed soon
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SECONDS + 10)


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 429 or self.status >= 500


class Rest:
    """Requests with the permissions of a kubeconfig; to be entered on the event loop that uses it."""

    def __init__(self, kubeconfig: Path, *, user_agent: str) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = cluster["server"]
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        if "client-certificate" in user:
            self._context.load_cert_chain(user["client-certificate"], user["client-key"])
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        if "token" in user:
            self._headers["Authorization"] = f"Bearer {user['token']}"
        self._session: aiohttp.ClientSession | None = None
        self._sockets: WeakSet[socket.socket] = WeakSet()

    async def __aenter__(self) -> Self:
        """Open the session."""
        connector = aiohttp.TCPConnector(ssl=self._context, limit=32, socket_factory=self._make_socket)
        self._session = aiohttp.ClientSession(self._server, connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session, and return when all its connections are closed.

        The session forgets the connections of requests that were cancelled: their TLS still says goodbye to the server,
        which may take a busy machine longer than the event loop lives.
        """
        if self._session is not None:
            await self._session.close()
            for left in self._open_sockets():
                with suppress(OSError):  # not connected yet, or the server was faster
                    left.shutdown(socket.SHUT_RDWR)
            while self._open_sockets():  # noqa: ASYNC110 - no event tells when a socket has closed
                await asyncio.sleep(_CLOSE_SECONDS)

    def _make_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    def _open_sockets(self) -> list[socket.socket]:
        return [each for each in self._sockets if each.fileno() >= 0]

    async def get(self, path: str, parameters: Mapping[str, str]) -> Document:
        """Return the document at `path`."""
        return await self._request("GET", path, params=dict(parameters))

    async def patch(self, path: str, body: Document) -> Document:
        """Apply a strategic merge patch."""
        headers = {"Content-Type": "application/strategic-merge-patch+json"}
        return await self._request("PATCH", path, data=json.dumps(body), headers=headers)

    async def delete(self, path: str, options: Document) -> Document:
        """Delete the object at `path`."""
        return await self._request("DELETE", path, json={"apiVersion": "v1", "kind": "DeleteOptions", **options})

    async def watch(self, path: str, parameters: Mapping[str, str]) -> AsyncIterator[Document]:
        """Yield the events at `path` until the server or the network ends the watch."""
        query = {**parameters, "watch": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        async with self._opened().get(path, params=query, timeout=_WATCH_TIMEOUT) as answer:
            await _check(answer)
            rest = b""
            async for chunk in answer.content.iter_any():  # not by lines: aiohttp refuses long ones
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    async def _request(self, method: str, path: str, **keywords: Any) -> Document:  # noqa: ANN401 - passed on
        async with self._opened().request(method, path, timeout=_CALL_TIMEOUT, **keywords) as answer:
            await _check(answer)
            document: Document = await answer.json()
            return document

    def _opened(self) -> aiohttp.ClientSession:
        assert self._session is not None, "enter it first"
        return self._session


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 400:
        raise ApiError(answer.status, (await answer.text())[:500])
