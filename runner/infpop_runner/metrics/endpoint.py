"""Serve a registry over HTTP on a thread, and detect when a scrape has read the final values.

Only a request with the scrape header of Prometheus counts as a scrape. The response declares its length, so that a
client cannot mistake a part for the whole, and it counts once the client has read it to the end.
"""

import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from infpop_runner.metrics.scrape_watch import ScrapeWatch

# Sent by Prometheus, its agent mode, Alloy, vmagent and the OpenTelemetry collector, but not by browsers or curl.
SCRAPE_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
EVERY_ADDRESS = "::"  # of both families: depending on the cluster, Pods have IPv4, IPv6 or both
_EVERY_IPV4_ADDRESS = "0.0.0.0"  # noqa: S104 - requested
IDLE_SECONDS = 10.0  # Prometheus's default time-out; the server drops a peer that is silent for longer


def serve(registry: CollectorRegistry, scrapes: ScrapeWatch, *, address: str, port: int) -> int:
    """Serve `/metrics` until the process ends and return the port, a free one if `port` is 0.

    Args:
        registry: the metrics to serve.
        scrapes: is notified of scrapes.
        address: to listen at; `EVERY_ADDRESS` also serves IPv4, and only IPv4 if the kernel has no IPv6.
        port: to listen at.

    Raises:
        OSError: the address or port is not available.
    """
    server = _Server(registry, scrapes, address=address, port=port)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_port)


class _Server(ThreadingHTTPServer):
    """The HTTP server: one thread per request, none of which keeps the process alive."""

    daemon_threads = True

    def __init__(self, registry: CollectorRegistry, scrapes: ScrapeWatch, *, address: str, port: int) -> None:
        self.registry = registry
        self.scrapes = scrapes
        if address == EVERY_ADDRESS and not socket.has_dualstack_ipv6():
            address = _EVERY_IPV4_ADDRESS
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, place = found[0]
        super().__init__((str(place[0]), port), _Handler)

    def server_bind(self) -> None:
        """Bind the socket; an IPv6 socket also accepts IPv4, whatever the kernel's default is."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the standard library
        """Ignore a peer that went away or fell silent: only its own request ends."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request and closes the connection."""

    server: _Server
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Respond with the current metrics."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, explain="the metrics are at /metrics")
            return
        counts = SCRAPE_HEADER in self.headers and self.server.scrapes.final
        encode, content_type = choose_encoder(self.headers.get("Accept") or "")
        body = encode(self.server.registry)
        if counts and self._peer_has_gone():
            return
        self._send(body, content_type)
        if counts and self._peer_read_all():
            self.server.scrapes.saw_final_values()

    def _send(self, body: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _peer_has_gone(self) -> bool:
        """Return whether the peer closed the connection before it got a response."""
        self.connection.setblocking(False)  # noqa: FBT003 - positional-only in the standard library
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(IDLE_SECONDS)

    def _peer_read_all(self) -> bool:
        """Signal the end of the response, and return whether the peer closes its end after it has read everything.

        A peer that closes with unread data resets the connection, which raises an error here.
        """
        self.connection.shutdown(socket.SHUT_WR)
        while self.connection.recv(1024):
            pass
        return True

    def log_message(self, *_: object) -> None:
        """Log nothing: the log belongs to the run."""
