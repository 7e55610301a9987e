"""Reading one study for a long time: a single refusal does not end the reading."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from adapters.kube.recording_server import RecordingServer, recording_server
from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.study_reader import ReadError, StudyReader
from infpop_operator.core.errors import NoAnswerError


@contextmanager
def answering(codes: list[int], directory: Path) -> Iterator[tuple[str, list[str]]]:
    """Answer with these codes, one after another; yield the kubeconfig and the received tokens."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"].split()[-1])
            self.send_response(codes.pop(0))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    config = directory / "kubeconfig"
    write(config, f"http://127.0.0.1:{server.server_address[1]}", "first")
    try:
        yield str(config), tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write(path: Path, server: str, token: str) -> None:
    """Write a kubeconfig with this token."""
    document = {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(json.dumps(document))


def renew(path: Path) -> None:
    """Write another token into the kubeconfig."""
    document = json.loads(path.read_text())
    write(path, document["clusters"][0]["cluster"]["server"], "second")


async def outcomes(config: str, times: int) -> list[str]:
    """Read this many times and return the results."""
    found: list[str] = []
    async with StudyReader("study", namespace="serving", context=None, kubeconfig=config) as reader:
        for number in range(times):
            if number == 1:
                renew(Path(config))
            try:
                await reader.read()
                found.append("read")
            except NoAnswerError:
                found.append("no answer")
            except ReadError:
                found.append("refused")
    return found


def test_what_was_never_granted_is_refused_immediately(tmp_path: Path) -> None:
    """A user without the permission is not kept waiting."""
    with answering([403], tmp_path) as (config, _):
        assert asyncio.run(outcomes(config, 1)) == ["refused"]


def test_reading_continues_with_a_renewed_token(tmp_path: Path) -> None:
    """After a refusal the kubeconfig is read again."""
    with answering([200, 401, 200], tmp_path) as (config, tokens):
        assert asyncio.run(outcomes(config, 3)) == ["read", "no answer", "read"]
    assert tokens == ["first", "first", "second"]


def test_a_right_that_is_taken_away_ends_the_reading(tmp_path: Path) -> None:
    """Repeated refusals end the reading."""
    with answering([200, *[403] * 6], tmp_path) as (config, _):
        found = asyncio.run(outcomes(config, 7))
    assert found == ["read", *["no answer"] * 5, "refused"]


async def read_from(server: RecordingServer, directory: Path, *, namespace: str | None = "serving") -> object:
    """Return the study `study` as read by a reader that finds the server in a kubeconfig."""
    config = directory / "kubeconfig"
    write(config, server.url, "first")
    async with StudyReader("study", namespace=namespace, context=None, kubeconfig=str(config)) as reader:
        return await reader.read()


def played(
    directory: Path, *answers: tuple[int, object], namespace: str | None = "serving"
) -> tuple[object, list[tuple[str, str]]]:
    """Return the study or the error message, and the method and path of each request."""

    async def play() -> tuple[object, list[tuple[str, str]]]:
        async with recording_server() as server:
            server.answers = list(answers)
            try:
                result: object = await read_from(server, directory, namespace=namespace)
            except (ReadError, NoAnswerError) as error:
                result = str(error)
            return result, [(request.method, request.path) for request in server.requests]

    return asyncio.run(play())


STUDIES = "/apis/infpop.io/v1alpha1/namespaces/{}/throughputstudies"
MISSING: tuple[int, object] = (404, {"reason": "NotFound", "message": "no"})


@pytest.mark.parametrize(("given", "asked"), [("serving", "serving"), (None, "default")])
def test_a_study_is_read_with_one_request(tmp_path: Path, given: str | None, asked: str) -> None:
    """The namespace is the given one, else that of the kubeconfig."""
    body = {"metadata": {"name": "study"}}
    path = f"{STUDIES.format(asked)}/study"
    assert played(tmp_path, (200, body), namespace=given) == (body, [("GET", path)])


def listed(*names: str) -> tuple[int, object]:
    """Return the answer that lists these studies."""
    return 200, {"metadata": {}, "items": [{"metadata": {"name": name}} for name in names]}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (listed("studi", "other"), "namespace serving has no study study. Did you mean studi?"),
        (listed("studi", "stud"), "namespace serving has no study study. Did you mean stud or studi?"),
        (
            listed(),
            "It has no studies; name another with --namespace (to list all studies: kubectl get tstudy -A).",
        ),
        (listed("e", "d", "c", "b", "a"), "It has a, b, c, d, e; name another namespace with --namespace."),
        (listed("f", "e", "d", "c", "b", "a"), "It has a, b, c, d, e and 1 more; name another namespace"),
        (MISSING, "the cluster does not know the kind throughputstudies.infpop.io. Install it: infpop crds | kubectl"),
        ((403, {}), "namespace serving has no study study. Name another namespace with --namespace."),
    ],
)
def test_a_missing_study_is_reported_with_what_exists(tmp_path: Path, answer: tuple[int, object], words: str) -> None:
    """The message names existing studies, or says that the cluster lacks the CRD."""
    message, requests = played(tmp_path, MISSING, answer)
    assert words in str(message)
    path = STUDIES.format("serving")
    assert requests == [("GET", f"{path}/study"), ("GET", path)]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (403, "kubectl auth can-i get throughputstudies.infpop.io --namespace serving"),
        (503, "Check that the cluster is up"),
    ],
)
def test_a_study_that_cannot_be_read_has_a_remedy(tmp_path: Path, code: int, remedy: str) -> None:
    """A refusal and a missing answer have different remedies, each after one request."""
    message, requests = played(tmp_path, (code, {}))
    assert remedy in str(message)
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("name", "namespace", "words"),
    [
        ("Study", "serving", "'Study' is not a valid study name"),
        ("study", "a/b", "'a/b' is not a valid namespace name"),
    ],
)
def test_an_invalid_name_is_not_requested(name: str, namespace: str, words: str) -> None:
    """It would be another path of the API server."""
    with pytest.raises(ReadError, match=words):
        StudyReader(name, namespace=namespace, context=None, kubeconfig=None)


def test_each_read_shows_the_api_servers_time(tmp_path: Path) -> None:
    """`infpop status` subtracts times of the study from it: a wrong clock of the user's machine does not count."""

    def now() -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - of this machine, where the API server is too

    async def read(config: str, clock: ClusterClock) -> None:
        async with StudyReader("study", namespace="serving", context=None, kubeconfig=config, clock=clock) as reader:
            await reader.read()

    clock = ClusterClock(lambda: now() - timedelta(hours=1), time.monotonic)
    with answering([200], tmp_path) as (config, _):
        asyncio.run(read(config, clock))
    assert abs((clock() - now()).total_seconds()) < 10
