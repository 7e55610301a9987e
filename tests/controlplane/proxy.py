"""A TCP proxy in front of the API server, with which tests cut connections or simulate a network black hole.

It forwards bytes and does not know TLS, so certificates are checked end to end. It differs from a broken network in one
respect: nothing is lost behind a black hole; it arrives when the black hole ends, as retransmitted data would.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from controlplane.closing import close_server

T = TypeVar("T")
_CHUNK_BYTES = 65536
_CALL_SECONDS = 10.0


class Proxy:
    """Forwards connections to `port` on 127.0.0.1, where it listens inside a `with` block, to `upstream`."""

    def __init__(self, upstream: tuple[str, int], *, port: int) -> None:
        self.port = port
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="controlplane-proxy", daemon=True)
        self._open = asyncio.Event()
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        """Start listening."""
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and drop every connection."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drop_connections(self) -> int:
        """Abort every connection, as a restarting load balancer does, and return their number."""
        return self._call(self._drop())

    def blackhole(self, *, active: bool) -> None:
        """Hold back all data in both directions, or release it; connections are accepted meanwhile."""

        async def switch() -> None:
            self._open.clear() if active else self._open.set()

        self._call(switch())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            await close_server(self._server)
        await self._drop()

    async def _drop(self) -> int:
        connections = dict(self._connections)
        for task, writers in connections.items():
            for writer in writers:
                writer.transport.abort()
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        return len(connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start a task directly: asyncio logs the cancellation of a task that it starts itself as an error."""
        task = self._loop.create_task(self._forward(reader, writer))
        self._connections[task] = (writer,)
        task.add_done_callback(self._connections.pop)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = [writer]
        try:
            await self._open.wait()
            with suppress(OSError):  # the end of a connection needs no report: the other side sees it
                upstream = await asyncio.open_connection(*self._upstream)
                writers.append(upstream[1])
                self._connections[task] = tuple(writers)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, upstream[1]))
                    group.create_task(self._pump(upstream[0], writer))
        finally:
            for each in writers:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._open.wait()
                writer.write(chunk)
                await writer.drain()
            await self._open.wait()
            writer.write_eof()
