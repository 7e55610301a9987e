"""The client's requests, compared as a whole, and how it interprets each answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.kube.recording_server import EMPTY_LIST, TOKEN, RecordingServer, Request, recording_server
from factories.kube_objects import job_body, pod_body
from infpop_operator import __version__
from infpop_operator.adapters.kube import client as module
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import (
    KubeConflictError,
    KubeError,
    KubeExistsError,
    KubeForbiddenError,
    KubeNamespaceTerminatingError,
    KubeNotFoundError,
    KubeQuotaError,
    KubeRefusedError,
    KubeUnavailableError,
)
from infpop_operator.adapters.kube.record_parsing import parse_job, parse_pod
from infpop_operator.adapters.kube.records import NodeRecord

Call = Callable[[KubeClient], Awaitable[Any]]
JSON, MERGE = "application/json", "application/merge-patch+json"
CONFIG_MAP = {"metadata": {"name": "map", "namespace": "serving"}, "data": {"a": "b"}}
EVENT = {"metadata": {"name": "event", "namespace": "serving"}, "reason": "Started"}
JOB = {"metadata": {"name": "run-1", "namespace": "serving"}, "spec": {"suspend": True}}
STUDY = {
    "apiVersion": "infpop.io/v1alpha1",
    "kind": "ThroughputStudy",
    "metadata": {
        "name": "study",
        "namespace": "serving",
        "resourceVersion": "17",
        "uid": "study-uid",
        "generation": 3,
        "labels": {"team": "a"},
    },
    "spec": {"suspend": False},
    "status": {"progress": "1/9"},
}
WRITTEN_STATUS = {
    "apiVersion": "infpop.io/v1alpha1",
    "kind": "ThroughputStudy",
    "metadata": {"name": "study", "namespace": "serving", "resourceVersion": "17", "uid": "study-uid"},
    "status": {"progress": "2/9"},
}
STUDIES = "/apis/infpop.io/v1alpha1"


def played(
    call: Call, *answers: tuple[int, object], namespace: str | None = None
) -> tuple[list[Request], Any, RecordingServer]:
    """Make a call on a client of a server with these answers; return the requests and the result of the call."""

    async def play() -> tuple[list[Request], Any, RecordingServer]:
        async with (
            recording_server() as server,
            KubeClient(server.connection(), namespace=namespace) as client,
        ):
            server.answers = list(answers)
            result = await call(client)
            return server.requests, result, server

    return asyncio.run(play())


def listing(path: str, **query: str) -> Request:
    """Return the request for the first page of a list."""
    return Request(method="GET", path=path, query={"limit": "100", **query})


def deleting(name: str, uid: str) -> Request:
    """Return the request that deletes exactly one Job, and only after its Pods are gone."""
    body = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
    path = f"/apis/batch/v1/namespaces/serving/jobs/{name}"
    return Request(method="DELETE", path=path, query={}, body=body, kind=JSON)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda client: client.list_studies(), listing(f"{STUDIES}/throughputstudies")),
        (
            lambda client: client.get_study("serving", "study"),
            Request(method="GET", path=f"{STUDIES}/namespaces/serving/throughputstudies/study", query={}),
        ),
        (lambda client: client.list_jobs("a=b"), listing("/apis/batch/v1/jobs", labelSelector="a=b")),
        (lambda client: client.list_pods("a=b"), listing("/api/v1/pods", labelSelector="a=b")),
        (
            lambda client: client.list_pods_of_run("serving", "run-1"),
            listing("/api/v1/namespaces/serving/pods", labelSelector="infpop.io/run=run-1"),
        ),
        (lambda client: client.list_pods_in("serving"), listing("/api/v1/namespaces/serving/pods")),
        (
            lambda client: client.find_pod("serving", "run-1-abcde"),
            listing("/api/v1/namespaces/serving/pods", fieldSelector="metadata.name=run-1-abcde"),
        ),
        (
            lambda client: client.find_study("serving", "study"),
            listing(f"{STUDIES}/namespaces/serving/throughputstudies", fieldSelector="metadata.name=study"),
        ),
        (
            lambda client: client.delete_pod("serving", "run-1-abcde", uid="pod-uid"),
            Request(
                method="DELETE",
                path="/api/v1/namespaces/serving/pods/run-1-abcde",
                query={},
                body={"preconditions": {"uid": "pod-uid"}},
                kind=JSON,
            ),
        ),
        (
            lambda client: client.restore_job("serving", "run-1", {"uid": "job-uid", "labels": {"a": "b"}}),
            Request(
                method="PATCH",
                path="/apis/batch/v1/namespaces/serving/jobs/run-1",
                query={},
                body={"metadata": {"uid": "job-uid", "labels": {"a": "b"}}},
                kind="application/strategic-merge-patch+json",
            ),
        ),
        (
            lambda client: client.list_config_maps("serving", "a=b"),
            listing("/api/v1/namespaces/serving/configmaps", labelSelector="a=b"),
        ),
        (lambda client: client.list_nodes(None), listing("/api/v1/nodes")),
        (lambda client: client.list_nodes("a=b"), listing("/api/v1/nodes", labelSelector="a=b")),
        (
            lambda client: client.list_workloads("serving", "uid-1"),
            listing(
                "/apis/kueue.x-k8s.io/v1beta1/namespaces/serving/workloads",
                labelSelector="kueue.x-k8s.io/job-uid=uid-1",
            ),
        ),
        (
            lambda client: client.list_events_about("serving", "uid-1"),
            listing("/api/v1/namespaces/serving/events", fieldSelector="involvedObject.uid=uid-1"),
        ),
        (
            lambda client: client.create_job(JOB),
            Request(method="POST", path="/apis/batch/v1/namespaces/serving/jobs", query={}, body=JOB, kind=JSON),
        ),
        (
            lambda client: client.get_job("serving", "run-1"),
            Request(method="GET", path="/apis/batch/v1/namespaces/serving/jobs/run-1", query={}),
        ),
        (lambda client: client.delete_job("serving", "run-1", uid="job-uid"), deleting("run-1", "job-uid")),
        (
            lambda client: client.set_job_ttl("serving", "run-1", 61),
            Request(
                method="PATCH",
                path="/apis/batch/v1/namespaces/serving/jobs/run-1",
                query={},
                body={"spec": {"ttlSecondsAfterFinished": 61}},
                kind=MERGE,
            ),
        ),
        (
            lambda client: client.create_config_map(CONFIG_MAP),
            Request(method="POST", path="/api/v1/namespaces/serving/configmaps", query={}, body=CONFIG_MAP, kind=JSON),
        ),
        (
            lambda client: client.get_config_map("serving", "map"),
            Request(method="GET", path="/api/v1/namespaces/serving/configmaps/map", query={}),
        ),
        (
            lambda client: client.patch_config_map("serving", "map", {"data": {"c": "d"}}),
            Request(
                method="PATCH",
                path="/api/v1/namespaces/serving/configmaps/map",
                query={},
                body={"data": {"c": "d"}},
                kind=MERGE,
            ),
        ),
        (
            lambda client: client.replace_study_status(STUDY, {"progress": "2/9"}),
            Request(
                method="PUT",
                path=f"{STUDIES}/namespaces/serving/throughputstudies/study/status",
                query={},
                body=WRITTEN_STATUS,
                kind=JSON,
            ),
        ),
        (
            lambda client: client.create_event(EVENT),
            Request(method="POST", path="/api/v1/namespaces/serving/events", query={}, body=EVENT, kind=JSON),
        ),
        (
            lambda client: client.get_config_map("a/b", "c?d e"),
            Request(method="GET", path="/api/v1/namespaces/a%2Fb/configmaps/c%3Fd%20e", query={}),
        ),
    ],
)
def test_each_call_is_one_request(call: Call, expected: Request) -> None:
    """Method, path, query, body and content type are exactly these."""
    requests, _, server = played(call)
    assert requests == [expected]
    (headers,) = server.headers
    assert (headers["Authorization"], headers["Accept"]) == (f"Bearer {TOKEN}", JSON)
    assert headers["User-Agent"] == f"infpop/{__version__}"


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda client: client.list_studies(), f"{STUDIES}/namespaces/mine/throughputstudies"),
        (lambda client: client.list_jobs("a=b"), "/apis/batch/v1/namespaces/mine/jobs"),
        (lambda client: client.list_pods("a=b"), "/api/v1/namespaces/mine/pods"),
        (lambda client: client.list_pods_of_run("serving", "run-1"), "/api/v1/namespaces/serving/pods"),
        (lambda client: client.list_config_maps("serving", "a=b"), "/api/v1/namespaces/serving/configmaps"),
        (lambda client: client.list_nodes(None), "/api/v1/nodes"),
    ],
)
def test_a_client_of_one_namespace_lists_that_one(call: Call, path: str) -> None:
    """Nodes belong to no namespace; an explicit other namespace is used as given."""
    requests, _, _ = played(call, namespace="mine")
    assert [request.path for request in requests] == [path]


def test_a_long_list_comes_page_by_page() -> None:
    """Each page continues the previous one with the same selector; the newest version counts."""
    job = job_body()
    page = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [job]}
    last = {"metadata": {"resourceVersion": "8"}, "items": [job]}
    requests, (jobs, version), _ = played(lambda client: client.list_jobs("a=b"), (200, page), (200, last))
    first = listing("/apis/batch/v1/jobs", labelSelector="a=b")
    second = listing("/apis/batch/v1/jobs", labelSelector="a=b", **{"continue": "more"})
    assert requests == [first, second]
    assert (jobs, version) == ([parse_job(job)] * 2, "8")


def test_an_object_that_cannot_be_read_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is left out of the listing, and the log names it."""
    good = pod_body(job_body())
    bad = {"metadata": {**good["metadata"], "name": "bad", "creationTimestamp": "never"}}
    pages = {"metadata": {"resourceVersion": "8"}, "items": [bad, good]}
    _, (pods, _), _ = played(lambda client: client.list_pods("a=b"), (200, pages))
    assert [pod.name for pod in pods] == [good["metadata"]["name"]]
    assert "serving/bad cannot be read" in caplog.text


def test_what_is_listed_is_parsed() -> None:
    """Pods and Nodes become records, studies and ConfigMaps stay JSON; a list may have no items."""
    pod, node = pod_body(job_body()), {"metadata": {"name": "n", "uid": "u"}}
    assert played(lambda client: client.list_pods("a"), (200, EMPTY_LIST | {"items": [pod]}))[1] == (
        [parse_pod(pod)],
        "41",
    )
    (nodes, _) = played(lambda client: client.list_nodes(None), (200, EMPTY_LIST | {"items": [node]}))[1]
    assert [type(each) for each in nodes] == [NodeRecord]
    assert played(lambda client: client.list_studies(), (200, EMPTY_LIST | {"items": [STUDY]}))[1] == ([STUDY], "41")
    assert played(lambda client: client.list_config_maps("n", "a"), (200, {"metadata": {}, "items": None}))[1] == []
    assert played(lambda client: client.list_events_about("n", "u"), (200, EMPTY_LIST | {"items": [EVENT]}))[1] == [
        EVENT
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_study("n", "a"),
        lambda client: client.create_job(JOB),
        lambda client: client.get_job("n", "a"),
        lambda client: client.create_config_map(CONFIG_MAP),
        lambda client: client.get_config_map("n", "a"),
        lambda client: client.patch_config_map("n", "a", {}),
        lambda client: client.replace_study_status(STUDY, {}),
    ],
)
def test_the_object_that_was_written_or_read_comes_back(call: Call) -> None:
    """The caller continues with the version that the server has now."""
    assert played(call, (201, {"metadata": {"resourceVersion": "9"}}))[1] == {"metadata": {"resourceVersion": "9"}}


def refusal(code: int, reason: str, message: str = "no") -> tuple[int, object]:
    """Return an answer of a server that refuses."""
    return code, {"kind": "Status", "reason": reason, "message": message, "code": code}


@pytest.mark.parametrize(
    ("call", "answer", "result"),
    [
        (lambda client: client.delete_job("n", "a", uid="u"), refusal(404, "NotFound"), False),
        (lambda client: client.delete_job("n", "a", uid="u"), refusal(409, "Conflict"), True),
        (lambda client: client.set_job_ttl("n", "a", 1), refusal(404, "NotFound"), None),
        (lambda client: client.create_event(EVENT), refusal(409, "AlreadyExists"), None),
    ],
)
def test_what_is_done_already_is_not_an_error(call: Call, answer: tuple[int, object], *, result: bool | None) -> None:
    """A Job that is gone counts as deleted, and an Event that exists counts as created."""
    assert played(call, answer)[1] is result


@pytest.mark.parametrize(
    ("call", "answer", "error"),
    [
        (lambda client: client.delete_job("n", "a", uid="u"), refusal(403, "Forbidden"), KubeRefusedError),
        (lambda client: client.set_job_ttl("n", "a", 1), refusal(409, "Conflict"), KubeConflictError),
        (lambda client: client.create_event(EVENT), refusal(404, "NotFound"), KubeNotFoundError),
        (lambda client: client.create_job(JOB), refusal(409, "AlreadyExists"), KubeExistsError),
    ],
)
def test_what_is_not_done_is_an_error(call: Call, answer: tuple[int, object], error: type[KubeError]) -> None:
    """A call that tolerates one status code tolerates no other."""
    with pytest.raises(KubeError) as caught:
        played(call, answer)
    assert type(caught.value) is error


QUOTA = 'pods "run-1" is forbidden: exceeded quota: gpus, requested: cpu=8, used: cpu=1, limited: cpu=8'
DENIED = 'jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot create resource "jobs"'
ENDING = "unable to create new content in namespace serving because it is being terminated"


@pytest.mark.parametrize(
    ("code", "reason", "message", "error"),
    [
        (400, "BadRequest", "no", KubeRefusedError),
        (401, "Unauthorized", "no", KubeForbiddenError),
        (403, "Forbidden", "no", KubeRefusedError),
        (403, "Forbidden", DENIED, KubeForbiddenError),
        (403, "Forbidden", ENDING, KubeNamespaceTerminatingError),
        (403, "Forbidden", QUOTA, KubeQuotaError),
        (404, "NotFound", "no", KubeNotFoundError),
        (405, "MethodNotAllowed", "no", KubeRefusedError),
        (409, "AlreadyExists", "no", KubeExistsError),
        (409, "Conflict", "no", KubeConflictError),
        (413, "RequestEntityTooLarge", "no", KubeRefusedError),
        (422, "Invalid", "no", KubeRefusedError),
        (429, "TooManyRequests", "no", KubeUnavailableError),
        (500, "InternalError", "no", KubeUnavailableError),
        (503, "ServiceUnavailable", "no", KubeUnavailableError),
        (300, "Odd", "no", KubeUnavailableError),
    ],
)
def test_each_refusal_is_its_own_error(code: int, reason: str, message: str, error: type[KubeError]) -> None:
    """Temporary failures and lasting refusals have different types; the text has the request and the server's words."""
    with pytest.raises(KubeError) as caught:
        played(lambda client: client.get_job("serving", "run-1"), refusal(code, reason, message))
    assert type(caught.value) is error
    request = "GET /apis/batch/v1/namespaces/serving/jobs/run-1"
    expected = "exceeded quota: gpus" if error is KubeQuotaError else f"{code} {reason}: {message}"
    assert str(caught.value).startswith(f"{request}: {expected}")


def test_an_answer_that_is_not_a_status_is_reported_in_its_own_words() -> None:
    """A proxy answers in HTML of any length."""
    with pytest.raises(KubeUnavailableError) as caught:
        played(lambda client: client.list_nodes(None), (502, "<html>" + "x" * 900))
    assert str(caught.value) == ("GET /api/v1/nodes: 502 : <html>" + "x" * 900)[:600]


def test_a_server_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request waits forever."""
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.05)

    async def play() -> None:
        async with recording_server() as server, KubeClient(server.connection()) as client:
            server.speaks.clear()
            with pytest.raises(KubeUnavailableError, match=r"GET /api/v1/nodes: no answer \(TimeoutError"):
                await client.list_nodes(None)

    asyncio.run(play())
