"""An in-memory API server for client tests: ConfigMaps, Events and a bearer token; no Jobs or Pods."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from infpop_operator.adapters.kube.connection import Connection
from reconcile.memory_cluster import merge

Body = dict[str, Any]


class ApiServer:
    """Keeps ConfigMaps of all namespaces by name, and Events; it has no Jobs or Pods.

    Requests with another token than `token` are refused.
    """

    def __init__(self) -> None:
        self.config_maps: dict[str, Body] = {}
        self.events: list[Body] = []
        self.events_refused: str | None = None  # if set, the reason why no Event may be created
        self.before_create: Callable[[], None] = lambda: None  # called between a client's read and its write
        self.before_patch: Callable[[], None] = lambda: None
        self.token = "first"  # noqa: S105 - of a test
        self.requests: list[str] = []
        self.url = ""
        self.listed_at = "1"  # the resourceVersion of a list of Pods
        self.kueue = ""  # the version of Kueue's API that is served
        self.workloads: list[Body] = []
        self.workloads_refused = False
        self._version = 100

    def connection(self, token: str | None = None) -> Connection:
        """Return a connection with a token, by default a valid one."""
        configuration = Configuration(host=self.url, retries=None)
        configuration.api_key = {"BearerToken": f"Bearer {token or self.token}"}
        return Connection(configuration=configuration, namespace="default")

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as an API server does."""
        self.requests.append(request.method)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refused(401, "Unauthorized")
        if request.path.endswith("/events"):
            return await self._answer_events(request)
        name = request.match_info.get("name")
        match request.method:
            case "GET" if name is not None:
                known = self.config_maps.get(name)
                return _refused(404, "NotFound") if known is None else web.json_response(known)
            case "GET":
                return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [*self.config_maps.values()]})
            case "POST":
                self.before_create()
                return self._write(await request.json(), is_new=True)
            case _:
                assert name is not None
                self.before_patch()
                return self._patch(self.config_maps[name], await request.json())

    async def answer_pods(self, _: web.Request) -> web.Response:
        """Return an empty list of Pods."""
        return web.json_response({"metadata": {"resourceVersion": self.listed_at}, "items": []})

    async def answer_workloads(self, request: web.Request) -> web.Response:
        """Return Kueue's Workloads of the version that is served, by default none."""
        if self.workloads_refused:
            return _refused(403, "Forbidden", 'User "infpop" cannot list resource "workloads"')
        if request.match_info["version"] != self.kueue:
            return _refused(404, "NotFound")
        assert request.query["labelSelector"] == "kueue.x-k8s.io/job-uid=job-uid"
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": self.workloads})

    async def answer_job(self, request: web.Request) -> web.Response:
        """Return that the Job does not exist."""
        self.requests.append(request.method)
        return _refused(404, "NotFound")

    async def _answer_events(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": self._about(request)})
        if self.events_refused is not None:
            return _refused(403, "Forbidden", self.events_refused)
        event: Body = await request.json()
        if any(known["metadata"]["name"] == event["metadata"]["name"] for known in self.events):
            return _refused(409, "AlreadyExists")
        self.events.append(event)
        return web.json_response(event)

    def _about(self, request: web.Request) -> list[Body]:
        field, _, uid = request.query["fieldSelector"].partition("=")
        assert field == "involvedObject.uid"
        return [event for event in self.events if event["involvedObject"]["uid"] == uid]

    def _patch(self, known: Body, changes: Body) -> web.Response:
        if changes["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            return _refused(409, "Conflict")
        return self._write(dict(merge(known, changes)), is_new=False)

    def _write(self, body: Body, *, is_new: bool) -> web.Response:
        name = body["metadata"]["name"]
        if is_new and name in self.config_maps:
            return _refused(409, "AlreadyExists")
        if sum(len(text.encode()) for text in body["data"].values()) > 1024 * 1024:
            return _refused(422, "Invalid")
        self._version += 1
        written = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        self.config_maps[name] = written
        return web.json_response(written)


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """Serve on a free port while the block lasts."""
    server = ApiServer()
    application = web.Application(client_max_size=4 * 1024 * 1024)
    application.router.add_route("*", "/api/v1/namespaces/{namespace}/events", server.answer)
    application.router.add_get("/api/v1/namespaces/{namespace}/pods", server.answer_pods)
    application.router.add_route("*", "/apis/batch/v1/namespaces/{namespace}/jobs/{name}", server.answer_job)
    kueue = "/apis/kueue.x-k8s.io/{version}/namespaces/{namespace}/workloads"
    application.router.add_get(kueue, server.answer_workloads)
    path = "/api/v1/namespaces/{namespace}/configmaps"
    application.router.add_route("*", path, server.answer)
    application.router.add_route("*", f"{path}/{{name}}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def _refused(code: int, reason: str, message: str = "refused") -> web.Response:
    return web.json_response({"reason": reason, "message": message, "code": code}, status=code)
