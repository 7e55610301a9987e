"""A proxy in front of Prometheus that answers wrongly on request.

It stands for anything between the operator and the data: a gateway that has lost its backend, a login page, two
replicas whose answers are not merged.
"""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import httpx

Fault = Literal["none", "unavailable", "unauthorized", "html", "half", "hangs", "duplicates", "empty"]
Document = dict[str, Any]
_JSON = "application/json"
_SECONDS = 30.0
_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"


class FaultyProxy:
    """Forwards requests to `upstream` inside a `with` block, unless `fault` says otherwise.

    Set `fault` at any time; it applies to later requests:

    - `unavailable`: 503, as from a gateway;
    - `unauthorized`: 401;
    - `html`: 200 and a login page;
    - `half`: the first half of Prometheus' answer, which is complete for HTTP;
    - `hangs`: accepts the request and does not answer until another fault is set;
    - `duplicates`: every series of the answer twice, the second with another `replica`;
    - `empty`: a valid answer without any series.

    `requests` holds the requested paths, `forwarded` how many requests reached Prometheus.
    """

    def __init__(self, upstream: str) -> None:
        self.requests: list[str] = []
        self.forwarded = 0
        self._fault: Fault = "none"
        self._changed = threading.Condition()
        self._client = httpx.Client(base_url=upstream, trust_env=False, timeout=_SECONDS)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="faulty-proxy", daemon=True)

    def __enter__(self) -> Self:
        """Start listening."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; hanging requests are released."""
        self.fault = "unavailable"
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    @property
    def fault(self) -> Fault:
        """The current fault."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer(self)

            def do_POST(self) -> None:
                answer(self)

            def log_message(self, *_arguments: object) -> None:
                """Keep the tests' output clean."""

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.requests.append(request.path)
        with self._changed:
            self._changed.wait_for(lambda: self._fault != "hangs")
            fault = self._fault
        match fault:
            case "unavailable":
                _send(request, HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no healthy upstream\n")
            case "unauthorized":
                _send(request, HTTPStatus.UNAUTHORIZED, "text/plain", b"Unauthorized\n")
            case "html":
                _send(request, HTTPStatus.OK, "text/html", _PAGE)
            case _:
                self._forward(request, body, _CHANGES.get(fault, _unchanged))

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes, change: Callable[[bytes], bytes]) -> None:
        headers = {name: value for name, value in request.headers.items() if name.lower() in _FORWARDED}
        try:
            answer = self._client.request(request.command, request.path, content=body, headers=headers)
        except httpx.TransportError:
            _send(request, HTTPStatus.BAD_GATEWAY, "text/plain", b"bad gateway\n")
            return
        self.forwarded += 1
        _send(request, answer.status_code, answer.headers.get("Content-Type", _JSON), change(answer.content))


_FORWARDED = frozenset({"accept", "content-type"})


def _send(request: BaseHTTPRequestHandler, status: int, content_type: str, body: bytes) -> None:
    try:
        request.send_response(status)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
    except OSError:
        request.close_connection = True  # the client has gone


def _unchanged(content: bytes) -> bytes:
    return content


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _duplicated(content: bytes) -> bytes:
    document = json.loads(content)
    copies = [{**each, "metric": {**each["metric"], "replica": "b"}} for each in _elements(document)]
    _elements(document).extend(copies)
    return json.dumps(document).encode()


def _emptied(content: bytes) -> bytes:
    document = json.loads(content)
    _elements(document).clear()
    return json.dumps(document).encode()


def _elements(document: Document) -> list[Document]:
    """Return the series of an answer; an answer without series, such as an error, has an empty list."""
    data = document.get("data")
    found: list[Document] = data["result"] if isinstance(data, dict) and isinstance(data.get("result"), list) else []
    return found


_CHANGES: dict[Fault, Callable[[bytes], bytes]] = {"half": _half, "duplicates": _duplicated, "empty": _emptied}
