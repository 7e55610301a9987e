"""The Prometheus of the tests behaves as the tests of sources and dashboards assume."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from prometheus.discovery import static_targets
from prometheus.server import PrometheusServer

pytestmark = pytest.mark.prometheus


@pytest.fixture
def target() -> Iterator[str]:
    """Return the address of a scrape target with one gauge of 42.5."""
    registry = CollectorRegistry()
    Gauge("answer", "Of everything", registry=registry).set(42.5)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_scraped_metric_can_be_queried(target: str, tmp_path: Path) -> None:
    """A value has the labels of its job, at one time and over a range."""
    with PrometheusServer(tmp_path, [static_targets("static", target, labels={"zone": "a"})]) as prometheus:
        (element,) = prometheus.wait_for("answer")
        time, value = element["value"]
        assert element["metric"] == {"__name__": "answer", "job": "static", "instance": target, "zone": "a"}
        assert value == "42.5"
        (series,) = prometheus.query_range("answer", start=time - 1, end=time, step_seconds=1)
        assert series["values"][-1] == [pytest.approx(time), "42.5"]
        assert prometheus.query("answer", at=time - 3600) == []
        assert [each["health"] for each in prometheus.targets()] == ["up"]


def test_an_outage_loses_no_data(target: str, tmp_path: Path) -> None:
    """While it is down, nothing listens at its address; restarted there, it still has its data."""
    with PrometheusServer(tmp_path, [static_targets("static", target)]) as prometheus:
        time, _ = prometheus.wait_for("answer")[0]["value"]
        prometheus.stop()
        with pytest.raises(httpx.ConnectError):
            prometheus.query("answer", at=time)
        prometheus.start()
        assert prometheus.query("answer", at=time)[0]["value"][1] == "42.5"


def test_a_query_that_is_refused_is_not_an_empty_answer(tmp_path: Path) -> None:
    """A mistake in a query fails its test, with Prometheus' own message."""
    with PrometheusServer(tmp_path, []) as prometheus, pytest.raises(AssertionError, match="parse error"):
        prometheus.query("answer{")


def test_a_query_without_an_answer_says_what_was_scraped(tmp_path: Path) -> None:
    """The error message lists the targets and their errors."""
    with PrometheusServer(tmp_path, [static_targets("static", "127.0.0.1:1")]) as prometheus:
        prometheus.wait_for("up == 0")
        with pytest.raises(TimeoutError, match="connection refused"):
            prometheus.wait_for("answer", seconds=0)
