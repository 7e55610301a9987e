"""Serve a registry over HTTP on a thread."""

from prometheus_client import CollectorRegistry, start_http_server


def serve(registry: CollectorRegistry, *, address: str, port: int) -> int:
    """Serve `/metrics` until the process ends and return the port, a free one if `port` is 0.

    Raises:
        OSError: the address or port cannot be had.
    """
    server, _ = start_http_server(port, addr=address, registry=registry)
    return int(server.server_port)
