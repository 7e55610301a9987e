"""Serve the `/metrics` of many runs, each on its own address, on one event loop without threads."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from controlplane.closing import close_server

SCRAPE_HEADER = "x-prometheus-scrape-timeout-seconds"  # sent by scrapers, and not by other clients
Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class PodAddresses:
    """Loopback addresses, one for each Pod: Linux answers on all of 127.0.0.0/8 without configuration.

    The subnet is chosen at random, because other tests on this machine may do the same.
    """

    def __init__(self) -> None:
        second = random.SystemRandom().randrange(64, 255)
        self._addresses = (
            f"127.{second}.{third}.{fourth}" for third, fourth in itertools.product(range(256), range(1, 255))
        )

    def __next__(self) -> str:
        """Return an address that was not given out yet."""
        return next(self._addresses)


class Scrapes:
    """Records whether a scrape that began after `final` was set was answered in full: then `seen` is set too."""

    def __init__(self) -> None:
        self.final = False
        self.seen = asyncio.Event()


@asynccontextmanager
async def serve_metrics(
    registry: CollectorRegistry, addresses: PodAddresses, scrapes: Scrapes, *, port: int
) -> AsyncIterator[str]:
    """Serve `registry` on `port` of a new address, and yield that address."""
    tasks: set[asyncio.Task[None]] = set()
    over = False

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if over:  # accepted before the end, and told of after it
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(_answer(registry, scrapes, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _task: writer.close())  # also of a request that is cancelled before it starts

    server, address = await _listen(accept, addresses, port)
    try:
        yield address
    finally:
        over = True
        await close_server(server)
        for task in tuple(tasks):
            task.cancel()


async def _listen(accept: Accept, addresses: PodAddresses, port: int) -> tuple[asyncio.Server, str]:
    while True:
        address = next(addresses)
        try:
            return await asyncio.start_server(accept, address, port), address
        except OSError:  # in use by another process
            continue


async def _answer(
    registry: CollectorRegistry, scrapes: Scrapes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one request and close the connection; a scrape counts when the client has closed its end too."""
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.lower().split(": ", 1) for line in request.split("\r\n")[1:] if ": " in line)
        counts = scrapes.final and SCRAPE_HEADER in headers
        encode, content_type = choose_encoder(headers.get("accept", ""))
        known = request.split(" ")[1].partition("?")[0] == "/metrics"
        body = encode(registry) if known else b""
        status = "200 OK" if known else "404 Not Found"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.write_eof()
        if counts and known and not await reader.read():
            scrapes.seen.set()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # the client has gone
