"""An API server that gives fixed answers, for commands that read a study."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

STUDIES = "/apis/infpop.io/v1alpha1/namespaces/serving/throughputstudies"
Answers = Mapping[str, tuple[int, Any]]
NO_KIND = (404, "404 page not found")


@contextmanager
def api_server(answers: Answers, directory: Path, *, now: datetime | None = None) -> Iterator[str]:
    """Serve fixed answers by path, and yield a kubeconfig whose context uses the namespace `serving`.

    `now` is the time by the server's clock, by default that of this machine.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with (directory / "requests").open("a") as requests:
                requests.write(f"{self.path}\n")
            code, body = answers.get(self.path.partition("?")[0], NO_KIND)
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(timestamp if now is None else now.timestamp())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield kubeconfig(directory, f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig(directory: Path, server: str) -> str:
    """Write a kubeconfig and return its path."""
    path = directory / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "serving"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    path.write_text(json.dumps(document))
    return str(path)
