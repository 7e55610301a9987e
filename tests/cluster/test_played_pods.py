"""The played Pods close every connection that they accepted."""

import asyncio
import gc
import socket

import pytest
from prometheus_client import CollectorRegistry

from controlplane.metrics_server import PodAddresses, Scrapes, serve_metrics

PORT = 24317


@pytest.mark.parametrize("rounds", range(4))
def test_a_connection_that_comes_as_the_pod_ends_is_closed(rounds: int) -> None:
    """Whichever round of the loop accepts a connection, the end of the Pod leaves none open."""

    async def play() -> bytes:
        async with serve_metrics(CollectorRegistry(), PodAddresses(), Scrapes(), port=PORT) as address:
            client = socket.create_connection((address, PORT))
            for _ in range(rounds):
                await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        gc.collect()  # a transport that is left open warns, and a warning is an error
        with client:
            client.settimeout(5)
            try:
                return client.recv(1)
            except ConnectionResetError:
                return b""

    assert asyncio.run(play()) == b""
