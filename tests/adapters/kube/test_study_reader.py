"""Reading one study for a long time: what is refused once is no end."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from infpop_operator.adapters.kube.study_reader import NoAnswerError, ReadError, StudyReader


@contextmanager
def answering(codes: list[int], directory: Path) -> Iterator[tuple[str, list[str]]]:
    """Answer with these codes, one after the other; yield the kubeconfig, and the tokens that came."""
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
    """Give the kubeconfig another token."""
    document = json.loads(path.read_text())
    write(path, document["clusters"][0]["cluster"]["server"], "second")


async def outcomes(config: str, times: int) -> list[str]:
    """Read so many times and return what came of it."""
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


def test_what_was_never_granted_is_refused_at_once(tmp_path: Path) -> None:
    """Somebody without a right is not kept waiting."""
    with answering([403], tmp_path) as (config, _):
        assert asyncio.run(outcomes(config, 1)) == ["refused"]


def test_a_token_that_is_renewed_goes_on(tmp_path: Path) -> None:
    """After a refusal the kubeconfig is read anew."""
    with answering([200, 401, 200], tmp_path) as (config, tokens):
        assert asyncio.run(outcomes(config, 3)) == ["read", "no answer", "read"]
    assert tokens == ["first", "first", "second"]


def test_a_right_that_is_taken_away_ends_the_reading(tmp_path: Path) -> None:
    """Refused again and again is refused."""
    with answering([200, *[403] * 6], tmp_path) as (config, _):
        found = asyncio.run(outcomes(config, 7))
    assert found == ["read", *["no answer"] * 5, "refused"]
