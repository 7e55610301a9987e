"""The client and its credentials: an expired token is renewed, and a final refusal is reported after one request."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from kubernetes.aio.client import Configuration

from adapters.kube.api_server import ApiServer, api_server
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.connection import Connection, ConnectionConfigError
from infpop_operator.adapters.kube.errors import KubeRefusedError, KubeUnavailableError


class Plugin:
    """A kubeconfig's credential plugin: its token is valid until the server accepts another one."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.calls = 0
        self.is_broken = False
        self.token: str | None = None
        self.counted: Counter[tuple[str, int | None]] = Counter()

    def count(self, method: str, code: int | None) -> None:
        """Count a request of the client."""
        self.counted[method, code] += 1

    async def find(self) -> Connection:
        """Return a connection with the token that is valid now."""
        self.calls += 1
        await asyncio.sleep(0)
        if self.is_broken:
            raise ConnectionConfigError("the plugin does not answer")
        return self._server.connection(self.token)


def played(scenario: Callable[[ApiServer, Plugin, KubeClient], Awaitable[None]]) -> None:
    """Run a scenario with a client whose first token is valid."""

    async def play() -> None:
        async with api_server() as server:
            plugin = Plugin(server)
            async with KubeClient(server.connection(), find=plugin.find, count=plugin.count) as client:
                await scenario(server, plugin, client)

    asyncio.run(play())


async def ask(client: KubeClient) -> None:
    """Make a request."""
    await client.list_config_maps("serving", "a=b")


def test_an_expired_token_is_replaced() -> None:
    """Each time the token expires, requests continue without an error, and the plugin is called once."""

    async def scenario(server: ApiServer, plugin: Plugin, client: KubeClient) -> None:
        await ask(client)
        for number, token in enumerate(["second", "third", "fourth"], start=1):
            server.token = token
            await asyncio.gather(*(ask(client) for _ in range(10)))
            assert plugin.calls == number
        assert plugin.counted[("GET", 200)] == 31

    played(scenario)


@pytest.mark.parametrize("is_broken", [True, False])
def test_an_unknown_user_gets_an_explanation(is_broken: bool) -> None:  # noqa: FBT001 - both ways of it
    """If the new token is refused too, it is not renewed again and again."""

    async def scenario(server: ApiServer, plugin: Plugin, client: KubeClient) -> None:
        plugin.is_broken, plugin.token = is_broken, "first"
        server.token = "second"  # noqa: S105 - of a test
        with pytest.raises(KubeRefusedError, match="401 Unauthorized"):
            await ask(client)
        assert plugin.calls == 1
        assert len(server.requests) == (1 if is_broken else 2)

    played(scenario)


def test_without_a_plugin_a_refusal_is_final() -> None:
    """Commands that make one request do not retry."""

    async def play() -> None:
        async with api_server() as server, KubeClient(server.connection("wrong")) as client:
            with pytest.raises(KubeRefusedError, match="401"):
                await ask(client)
            assert len(server.requests) == 1

    asyncio.run(play())


def test_every_request_is_counted() -> None:
    """Each request is counted by method and status code, refusals included; one without an answer has no code."""

    async def scenario(server: ApiServer, plugin: Plugin, client: KubeClient) -> None:
        await ask(client)
        plugin.is_broken, server.token = True, "second"
        with pytest.raises(KubeRefusedError):
            await ask(client)
        assert plugin.counted == {("GET", 200): 1, ("GET", 401): 1}

    async def unanswered() -> None:
        plugin = Plugin(ApiServer())
        nobody = Connection(configuration=Configuration(host="http://127.0.0.1:9", retries=None), namespace="default")
        async with KubeClient(nobody, count=plugin.count) as client:
            with pytest.raises(KubeUnavailableError):
                await ask(client)
        assert plugin.counted == {("GET", None): 1}

    played(scenario)
    asyncio.run(unanswered())
