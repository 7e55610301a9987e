"""Which scrapes have read the final values, tested over real connections."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.registry import Collector

from controlplane.processes import has_ipv6_loopback
from infpop_runner.metrics import EVERY_ADDRESS, ScrapeWatch, serve

AS_PROMETHEUS = "X-Prometheus-Scrape-Timeout-Seconds: 10\r\nAccept: text/plain;version=0.0.4\r\n"


class SlowCollector(Collector):
    """A collector that lets a test control when a scrape starts and ends."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def collect(self) -> Iterator[Metric]:
        """Yield nothing, slowly."""
        self.begun.set()
        self.may_end.wait()
        return iter(())


@dataclass
class Endpoint:
    """A served registry with one gauge."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    scrapes: ScrapeWatch = field(default_factory=ScrapeWatch)
    slow: SlowCollector = field(default_factory=SlowCollector)

    def __post_init__(self) -> None:
        self.gauge = Gauge("speed_tokens_per_second", "A gauge", registry=self.registry)
        self.registry.register(self.slow)
        self.slow.begun.clear()
        self.port = serve(self.registry, self.scrapes, address="127.0.0.1", port=0)

    def ask(self, *, headers: str = AS_PROMETHEUS, path: str = "/metrics") -> socket.socket:
        """Send a request and return its connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: runner\r\n{headers}\r\n".encode())
        return connection

    def read(self, **request: str) -> tuple[str, str]:
        """Return head and body of a complete answer."""
        with self.ask(**request) as connection:
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        head, _, body = answer.decode().partition("\r\n\r\n")
        return head, body

    def seen(self) -> bool:
        """Return, after all requests have ended, whether one of them has read the final values."""
        for thread in threading.enumerate():
            if "process_request_thread" in thread.name:
                thread.join(timeout=60)
        return self.scrapes.hold(0)


@pytest.fixture
def endpoint() -> Endpoint:
    """Return an endpoint without any requests yet."""
    return Endpoint()


def test_a_scrape_after_the_last_value_counts(endpoint: Endpoint) -> None:
    """A scrape that began when the values were final has read them."""
    endpoint.gauge.set(12.5)
    endpoint.scrapes.values_are_final()
    _, body = endpoint.read()
    assert "speed_tokens_per_second 12.5\n" in body
    assert endpoint.seen()


def test_a_scrape_before_the_last_value_does_not_count(endpoint: Endpoint) -> None:
    """A scrape that was answered before the values were final has not read them."""
    endpoint.read()
    endpoint.scrapes.values_are_final()
    assert not endpoint.seen()


def test_a_scrape_that_began_too_early_does_not_count(endpoint: Endpoint) -> None:
    """A scrape that began before the values were final and was answered afterwards may have read older ones."""
    endpoint.slow.may_end.clear()
    with endpoint.ask() as connection:
        endpoint.slow.begun.wait()
        endpoint.scrapes.values_are_final()
        endpoint.slow.may_end.set()
        while connection.recv(65_536):
            pass
    assert not endpoint.seen()


def test_a_request_that_is_not_a_scrape_does_not_count(endpoint: Endpoint) -> None:
    """The operator's own probe does not release a run that Prometheus has not scraped."""
    endpoint.scrapes.values_are_final()
    head, _ = endpoint.read(headers="Accept: */*\r\n")
    assert head.startswith("HTTP/1.0 200")
    assert not endpoint.seen()


def test_a_scraper_that_gave_up_before_the_answer_has_seen_nothing(endpoint: Endpoint) -> None:
    """A scrape that timed out on the client's side does not count, although the answer could be sent."""
    endpoint.scrapes.values_are_final()
    endpoint.slow.may_end.clear()
    endpoint.ask().close()
    endpoint.slow.begun.wait()
    endpoint.slow.may_end.set()
    assert not endpoint.seen()


def test_a_scraper_that_left_before_the_end_has_seen_nothing(endpoint: Endpoint) -> None:
    """An answer of which the client has read only the beginning does not count."""
    endpoint.scrapes.values_are_final()
    with endpoint.ask() as connection:
        connection.recv(10)
    assert not endpoint.seen()


def test_after_failed_scrapes_a_good_one_counts(endpoint: Endpoint) -> None:
    """Earlier failures do not keep a later scrape from counting."""
    endpoint.scrapes.values_are_final()
    endpoint.ask().close()
    endpoint.read(headers="")
    endpoint.read()
    assert endpoint.seen()


def test_an_answer_has_a_content_length(endpoint: Endpoint) -> None:
    """A truncated answer cannot be taken for a complete one."""
    head, body = endpoint.read()
    assert f"content-length: {len(body)}" in head.lower()


def test_other_paths_are_not_there(endpoint: Endpoint) -> None:
    """Only /metrics is served, and nothing else counts as a scrape."""
    endpoint.scrapes.values_are_final()
    head, _ = endpoint.read(path="/favicon.ico")
    assert head.startswith("HTTP/1.0 404")
    assert not endpoint.seen()


def test_a_wait_can_be_ended_only_where_there_is_one() -> None:
    """The caller that ends the run learns whether it is only held, and can release it."""
    scrapes = ScrapeWatch()
    assert not scrapes.release()
    waiting = threading.Thread(target=scrapes.hold, args=(600,))
    waiting.start()
    while not scrapes.release():
        pass
    waiting.join(timeout=60)
    assert not waiting.is_alive()
    assert scrapes.release()


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_every_address_means_both_families(peer: str) -> None:
    """A Pod is scraped at the IPv4 or IPv6 address that its cluster gave it."""
    if peer == "::1" and not has_ipv6_loopback():
        pytest.skip("this machine has no address of IPv6")
    port = serve(CollectorRegistry(), ScrapeWatch(), address=EVERY_ADDRESS, port=0)
    with socket.create_connection((peer, port), timeout=30) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: runner\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.0 200"


def test_every_address_is_served_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run works on a kernel without IPv6."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    port = serve(CollectorRegistry(), ScrapeWatch(), address=EVERY_ADDRESS, port=0)
    socket.create_connection(("127.0.0.1", port), timeout=30).close()
    with pytest.raises(OSError):  # noqa: PT011 - refused, or no such address
        socket.create_connection(("::1", port), timeout=30)
