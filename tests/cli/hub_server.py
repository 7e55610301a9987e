"""A hub on this machine: for each model's name, the status and headers with which the real hub answers."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What huggingface.co says of a file of such a model to a user without access.
ANSWERS: dict[str, tuple[int, dict[str, str]]] = {
    "org/gated": (401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/gated is restricted."}),
    "org/missing": (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "org/private": (401, {"X-Error-Message": "Invalid username or password."}),
    "org/token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "org/scope": (403, {"X-Error-Message": "You have read access but not the required permissions"}),
    "org/branch": (404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id: none"}),
    "org/adapter": (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}),
    "org/busy": (429, {}),
    "org/down": (503, {}),
}


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub that listens on this machine; `asked` counts the requests about each model."""

    url: str
    asked: Counter[str] = field(default_factory=Counter)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Serve a hub inside the `with` block."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            name = "/".join(self.path.split("/")[1:3])
            asked[name] += 1
            status, headers = ANSWERS.get(name, (404, {}))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(key, value)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Hub(url=f"http://127.0.0.1:{server.server_port}", asked=asked)
        finally:
            server.shutdown()
            thread.join()
