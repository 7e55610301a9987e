"""The faulty proxy changes a real Prometheus' answers as its faults describe."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx
import pytest

from controlplane.waiting import wait_for
from prometheus.discovery import static_targets
from prometheus.faults import Fault, FaultyProxy
from prometheus.server import PrometheusServer

pytestmark = pytest.mark.prometheus
SECONDS = 30.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Return a Prometheus with one series: `up`."""
    folder = tmp_path_factory.mktemp("prometheus")
    with PrometheusServer(folder, [static_targets("static", "127.0.0.1:1")]) as server:
        server.wait_for("up")
        yield server


@pytest.fixture
def proxy(prometheus: PrometheusServer) -> Iterator[FaultyProxy]:
    """Return a proxy in front of it, without a fault."""
    with FaultyProxy(prometheus.url) as proxy:
        yield proxy


def ask(proxy: FaultyProxy) -> httpx.Response:
    """Query `up` as the operator does, with a form."""
    return httpx.post(f"{proxy.url}/api/v1/query", data={"query": "up"}, trust_env=False, timeout=SECONDS)


def elements(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the series of an answer."""
    return cast("list[dict[str, Any]]", answer.json()["data"]["result"])


def test_without_a_fault_it_is_not_noticed(proxy: FaultyProxy) -> None:
    """The answer is Prometheus' own, to a form and to a query in the address."""
    assert [each["metric"]["__name__"] for each in elements(ask(proxy))] == ["up"]
    found = httpx.get(f"{proxy.url}/api/v1/query", params={"query": "up"}, trust_env=False)
    assert len(elements(found)) == 1
    assert (len(proxy.requests), proxy.forwarded) == (2, 2)


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [("unavailable", 503, "upstream"), ("unauthorized", 401, "Unauthorized"), ("html", 200, "<!DOCTYPE html>")],
)
def test_a_gateway_answers_in_place_of_prometheus(proxy: FaultyProxy, fault: Fault, status: int, text: str) -> None:
    """The request does not reach Prometheus, and the answer is not one of its API."""
    proxy.fault = fault
    answer = ask(proxy)
    assert (answer.status_code, text in answer.text) == (status, True)
    assert proxy.forwarded == 0


def test_half_an_answer_is_whole_for_http(proxy: FaultyProxy) -> None:
    """It starts like JSON and matches the length in the header, and it cannot be parsed."""
    proxy.fault = "half"
    answer = ask(proxy)
    assert answer.status_code == 200
    assert answer.text.startswith('{"status":"success"')
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_unmerged_replicas(proxy: FaultyProxy) -> None:
    """Each series comes twice with the same value and another label."""
    proxy.fault = "duplicates"
    first, second = elements(ask(proxy))
    assert second["metric"] == {**first["metric"], "replica": "b"}
    assert second["value"] == first["value"]


def test_an_answer_may_be_emptied(proxy: FaultyProxy) -> None:
    """The answer looks as if nothing had been scraped."""
    proxy.fault = "empty"
    assert elements(ask(proxy)) == []


def test_a_request_hangs_until_the_fault_is_over(proxy: FaultyProxy) -> None:
    """It is accepted and not answered; afterwards it gets the normal answer."""
    proxy.fault = "hangs"
    with ThreadPoolExecutor(max_workers=1) as executor:
        answer = executor.submit(ask, proxy)
        wait_for(lambda: proxy.requests, seconds=SECONDS, what="the request")
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{proxy.url}/api/v1/query", params={"query": "up"}, trust_env=False, timeout=0.1)
        assert not answer.done()
        proxy.fault = "none"
        assert len(elements(answer.result(SECONDS))) == 1


def test_leaving_lets_hanging_requests_go(prometheus: PrometheusServer) -> None:
    """The end of the block does not wait for clients."""
    with FaultyProxy(prometheus.url) as proxy:
        proxy.fault = "hangs"
        asking = threading.Thread(target=lambda: ask(proxy))
        asking.start()
        wait_for(lambda: proxy.requests, seconds=SECONDS, what="the request")
    asking.join(SECONDS)
    assert not asking.is_alive()


def test_a_prometheus_that_is_gone_is_a_bad_gateway() -> None:
    """The proxy reports that its backend does not answer."""
    with FaultyProxy("http://127.0.0.1:1") as proxy:
        assert ask(proxy).status_code == 502
