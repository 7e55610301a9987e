"""The requests that InfPop makes to the API server, over the official client.

Plain JSON goes in and comes out. The client's model classes are not used, because everything read here is parsed
immediately into InfPop's own records. Every request has a time-out, names its user agent, and fails with a `KubeError`.
Nothing is retried here: the work queue owns retries.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient

from infpop_operator import __version__
from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.connection import Connection, ConnectionConfigError, FindConnection
from infpop_operator.adapters.kube.error_answers import UNAUTHORIZED, error_of
from infpop_operator.adapters.kube.errors import (
    KubeConflictError,
    KubeExistsError,
    KubeNotFoundError,
    KubeUnavailableError,
)
from infpop_operator.adapters.kube.labels import JOB_UID, RUN
from infpop_operator.adapters.kube.record_parsing import parse_job, parse_node, parse_pod
from infpop_operator.adapters.kube.records import Body, JobRecord, NodeRecord, PodRecord
from infpop_operator.api.resource import API_PATH, API_VERSION, KIND, PLURAL

_log = logging.getLogger(__name__)

USER_AGENT = f"infpop/{__version__}"
REQUEST_TIMEOUT_S = 30.0
_PAGE = 100  # 500 Jobs per page add 50 MiB to the peak of a listing, which Python rarely returns to the system
_JSON, _MERGE = "application/json", "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"  # merges owner references by uid
_SUCCESS = range(200, 300)
_KUEUE_VERSIONS = (
    "v1beta1",
    "v1beta2",
)  # Kueue 0.15 serves both, earlier ones the first; the names read here are equal

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)

T = TypeVar("T")
Count = Callable[[str, int | None], None]


class KubeClient:
    """One connection pool to one API server; an async context manager.

    `namespace` limits every listing; None lists all namespaces. `find` finds the connection again when the API server
    no longer accepts the credentials: those of a kubeconfig's exec plugin are valid for minutes. `count` is called
    after each request with its method and the status code of the response, None if there was no response.
    `clock` learns the API server's time from each response.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str | None = None,
        find: FindConnection | None = None,
        count: Count = lambda _method, _code: None,
        clock: ClusterClock | None = None,
    ) -> None:
        self._namespace = namespace
        self._find = find
        self._finding = asyncio.Lock()
        self._api = _open(connection)
        self._before: ApiClient | None = None
        self._count = count
        self._clock = clock

    async def __aenter__(self) -> Self:
        """Do nothing: the first request opens the connections."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        for api in (self._api, self._before):
            if api is not None:
                await api.close()

    async def list_studies(self) -> tuple[list[Body], str]:
        """Return the studies and the resource version of the list."""
        return await self._list(API_PATH, PLURAL, parse=_unparsed)

    async def list_one_study(self) -> None:
        """Ask for one study, whichever it is.

        Raises:
            KubeNotFoundError: the API server does not know studies.
        """
        await self._request("GET", _path(API_PATH, self._namespace, PLURAL), query={"limit": "1"})

    async def get_study(self, namespace: str, name: str) -> Body:
        """Return one study as the API server has it now."""
        return await self._request("GET", _path(API_PATH, namespace, PLURAL, name))

    async def find_study(self, namespace: str, name: str) -> Body | None:
        """Return one study as it is now, None if there is none; only the right to list studies is needed."""
        named = f"metadata.name={name}"
        found, _ = await self._list(API_PATH, PLURAL, parse=_unparsed, within=namespace, fieldSelector=named)
        return found[0] if found else None

    async def list_jobs(self, selector: str) -> tuple[list[JobRecord], str]:
        """Return the Jobs that match the label selector, and the resource version of the list."""
        return await self._list("apis/batch/v1", "jobs", parse=parse_job, labelSelector=selector)

    async def list_pods(self, selector: str) -> tuple[list[PodRecord], str]:
        """Return the Pods that match the label selector, and the resource version of the list."""
        return await self._list("api/v1", "pods", parse=parse_pod, labelSelector=selector)

    async def list_pods_of_run(self, namespace: str, run: str) -> tuple[list[PodRecord], str]:
        """Return the Pods of a run as they are now, and the resource version of the list."""
        return await self._list("api/v1", "pods", parse=parse_pod, within=namespace, labelSelector=f"{RUN}={run}")

    async def list_pods_in(self, namespace: str) -> tuple[list[PodRecord], str]:
        """Return all Pods of a namespace, whatever their labels, and the resource version of the list."""
        return await self._list("api/v1", "pods", parse=parse_pod, within=namespace)

    async def find_pod(self, namespace: str, name: str) -> PodRecord | None:
        """Return one Pod as it is now, None if there is none of that name; only the right to list Pods is needed."""
        named = f"metadata.name={name}"
        found, _ = await self._list("api/v1", "pods", parse=_unparsed, within=namespace, fieldSelector=named)
        return parse_pod(found[0]) if found else None

    async def delete_pod(self, namespace: str, name: str, *, uid: str) -> None:
        """Delete the Pod with this uid, with its own grace period; do nothing if it no longer exists."""
        await self._delete(_path("api/v1", namespace, "pods", name), {"preconditions": {"uid": uid}})

    async def list_config_maps(self, namespace: str, selector: str) -> list[Body]:
        """Return the ConfigMaps of a namespace that match the label selector."""
        found, _ = await self._list("api/v1", "configmaps", parse=_unparsed, within=namespace, labelSelector=selector)
        return found

    async def list_nodes(self, selector: str | None) -> tuple[list[NodeRecord], str]:
        """Return the Nodes that match the label selector (None: all Nodes), and the resource version of the list."""
        query = {} if selector is None else {"labelSelector": selector}
        return await self._list("api/v1", "nodes", parse=parse_node, namespaced=False, **query)

    async def list_events_about(self, namespace: str, uid: str) -> list[Body]:
        """Return the Events about the object with this uid."""
        about = f"involvedObject.uid={uid}"
        return (await self._list("api/v1", "events", parse=_unparsed, within=namespace, fieldSelector=about))[0]

    async def read_published_schema(self) -> Body:
        """Return what the API server publishes of InfPop's API as OpenAPI v3, which every account may read."""
        return await self._request("GET", f"/openapi/v3/{API_PATH}")

    async def list_workloads(self, namespace: str, job_uid: str) -> list[Body]:
        """Return Kueue's Workloads of the Job with this uid.

        Raises:
            KubeNotFoundError: the cluster has no Workloads: Kueue is not installed.
        """
        selector = f"{JOB_UID}={job_uid}"
        for version in _KUEUE_VERSIONS[:-1]:
            try:
                return await self._list_workloads(version, namespace, selector)
            except KubeNotFoundError:
                continue
        return await self._list_workloads(_KUEUE_VERSIONS[-1], namespace, selector)

    async def _list_workloads(self, version: str, namespace: str, selector: str) -> list[Body]:
        prefix = f"apis/kueue.x-k8s.io/{version}"
        found = await self._list(prefix, "workloads", parse=_unparsed, within=namespace, labelSelector=selector)
        return found[0]

    async def create_job(self, job: Body) -> Body:
        """Create a Job.

        Raises:
            KubeExistsError: a Job of that name exists.
        """
        return await self._create("apis/batch/v1", "jobs", job)

    async def get_job(self, namespace: str, name: str) -> Body:
        """Return one Job as the API server has it now."""
        return await self._request("GET", _path("apis/batch/v1", namespace, "jobs", name))

    async def delete_job(self, namespace: str, name: str, *, uid: str) -> bool:
        """Delete the Job with this uid; return whether it still existed.

        The deletion is in the foreground: the Job stays until its Pods are gone, so that the operator sees their
        final result.
        """
        body = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        return await self._delete(_path("apis/batch/v1", namespace, "jobs", name), body)

    async def restore_job(self, namespace: str, name: str, metadata: Body) -> Body:
        """Write labels and owner references back to a Job, and return it; those of other clients are kept.

        Raises:
            KubeConflictError: the Job of that name has another uid than `metadata`.
            KubeNotFoundError: there is no Job of that name.
        """
        path = _path("apis/batch/v1", namespace, "jobs", name)
        return await self._request("PATCH", path, body={"metadata": metadata}, kind=_STRATEGIC)

    async def set_job_ttl(self, namespace: str, name: str, seconds: int) -> None:
        """Have the cluster delete a finished Job `seconds` after its end; do nothing if the Job no longer exists."""
        body = {"spec": {"ttlSecondsAfterFinished": seconds}}
        try:
            await self._request("PATCH", _path("apis/batch/v1", namespace, "jobs", name), body=body, kind=_MERGE)
        except KubeNotFoundError:
            return

    async def create_config_map(self, config_map: Body) -> Body:
        """Create a ConfigMap.

        Raises:
            KubeExistsError: a ConfigMap of that name exists.
        """
        return await self._create("api/v1", "configmaps", config_map)

    async def get_config_map(self, namespace: str, name: str) -> Body:
        """Return one ConfigMap."""
        return await self._request("GET", _path("api/v1", namespace, "configmaps", name))

    async def patch_config_map(self, namespace: str, name: str, changes: Body) -> Body:
        """Merge `changes` into a ConfigMap; if they contain metadata.resourceVersion, into that version only.

        Raises:
            KubeConflictError: the ConfigMap has another version by now.
        """
        path = _path("api/v1", namespace, "configmaps", name)
        return await self._request("PATCH", path, body=changes, kind=_MERGE)

    async def replace_study_status(self, study: Body, status: Body) -> Body:
        """Replace the whole status of the study, at the version that was read.

        Raises:
            KubeConflictError: the study changed after it was read.
        """
        metadata = {key: study["metadata"][key] for key in ("name", "namespace", "resourceVersion", "uid")}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}
        path = _path(API_PATH, metadata["namespace"], PLURAL, metadata["name"])
        return await self._request("PUT", f"{path}/status", body=body)

    async def create_event(self, event: Body) -> None:
        """Create an Event; do nothing if it exists: an Event of that name says the same."""
        try:
            await self._create("api/v1", "events", event)
        except KubeExistsError:
            return

    async def _delete(self, path: str, options: Body) -> bool:
        """Delete an object; return whether it still existed."""
        try:
            await self._request("DELETE", path, body=options)
        except KubeNotFoundError:
            return False
        except KubeConflictError:  # another object has its name by now, or the deletion is refused: the next read tells
            return True
        return True

    async def _create(self, prefix: str, plural: str, body: Body) -> Body:
        return await self._request("POST", _path(prefix, body["metadata"]["namespace"], plural), body=body)

    async def _list(
        self,
        prefix: str,
        plural: str,
        *,
        parse: Callable[[Body], T],
        within: str | None = None,
        namespaced: bool = True,
        **query: str,
    ) -> tuple[list[T], str]:
        """List page by page; a parsed record takes a hundredth of the 40 kB of a Pod's JSON.

        An object that cannot be parsed is logged and left out: it must not hide all others from the operator.
        """
        items: list[T] = []
        version = ""
        namespace = (within or self._namespace) if namespaced else None
        async for page in self._pages(_path(prefix, namespace, plural), query):
            items.extend(_parse_each(page.get("items") or (), parse))
            version = page["metadata"].get("resourceVersion", "")
        return items, version

    async def _pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Body]:
        page = await self._request("GET", path, query={**query, "limit": str(_PAGE)})
        yield page
        while following := page["metadata"].get("continue"):
            page = await self._request("GET", path, query={**query, "limit": str(_PAGE), "continue": following})
            yield page

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        kind: str = _JSON,
    ) -> Body:
        """Make one request and return the JSON of its response."""
        parameters = {
            "method": method,
            "resource_path": path,
            "query_params": list((query or {}).items()),
            "header_params": {"Accept": _JSON, "Content-Type": kind},
            "body": body,
            "auth_settings": ["BearerToken"],
        }
        api = self._api
        status, answer = await self._ask(api, parameters)
        if status == UNAUTHORIZED and await self._log_in(api):
            status, answer = await self._ask(self._api, parameters)
        if status not in _SUCCESS:
            raise error_of(f"{method} {path}", status, answer)
        parsed: Body = json.loads(answer)
        return parsed

    async def _ask(self, api: ApiClient, parameters: Mapping[str, Any]) -> tuple[int, bytes]:
        request = await api.param_serialize(**parameters)
        sent_s = 0.0 if self._clock is None else self._clock.monotonic()
        try:
            response = await api.call_api(*request, _request_timeout=REQUEST_TIMEOUT_S)
            answer = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._count(parameters["method"], None)
            what = f"{parameters['method']} {parameters['resource_path']}"
            raise KubeUnavailableError(f"{what}: no answer ({type(error).__name__}: {error})") from error
        if self._clock is not None:
            self._clock.see(response.headers.get("Date"), sent_s=sent_s)
        self._count(parameters["method"], response.status)
        return response.status, answer

    async def _log_in(self, refused: ApiClient) -> bool:
        """Find a new connection, unless another request already has; return whether there is one."""
        async with self._finding:
            if self._api is not refused:
                return True
            if self._find is None:
                return False
            try:
                found = _open(await self._find())
            except ConnectionConfigError as error:
                _log.warning("the API server no longer accepts the credentials, and there are no others: %s", error)
                return False
            if self._before is not None:
                await self._before.close()
            self._before, self._api = refused, found  # requests in flight still use the old one
            return True


def _open(connection: Connection) -> ApiClient:
    try:
        api = ApiClient(connection.configuration)
    except OSError as error:  # from the TLS library: not a certificate
        raise ConnectionConfigError(f"the certificates of the connection cannot be read: {error}") from error
    api.user_agent = USER_AGENT
    return api


def _parse_each(bodies: Sequence[Body], parse: Callable[[Body], T]) -> Iterator[T]:
    for body in bodies:
        try:
            yield parse(body)
        except _UNREADABLE as error:
            named = body.get("metadata") or {}
            words = (named.get("namespace"), named.get("name"), type(error).__name__, error)
            _log.warning("left out of a listing, %s/%s cannot be read: %s: %s", *words)


def _unparsed(body: Body) -> Body:
    return body


def _path(prefix: str, namespace: str | None, *parts: str) -> str:
    middle: Sequence[str] = () if namespace is None else ("namespaces", namespace)
    return "/" + "/".join((prefix, *(quote(part, safe="") for part in (*middle, *parts))))
