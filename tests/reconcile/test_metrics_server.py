"""The operator's own `/metrics` endpoint: served alongside its work, in the formats that Prometheus requests."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from controlplane.processes import free_ports
from controlplane.waiting import wait_for
from factories.studies import START
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.metrics.exposition import MetricsPage
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.core.errors import SettingError
from infpop_operator.handlers.metrics_server import serve_metrics
from prometheus.discovery import static_targets
from prometheus.server import PrometheusServer

# The address of an API server that does not exist: the operator keeps retrying.
KUBECONFIG = """
{"apiVersion": "v1", "kind": "Config", "current-context": "c",
 "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
 "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
 "users": [{"name": "u", "user": {"token": "secret"}}]}
"""
OPERATOR = ("-m", "infpop_operator.cli.main", "operator", "--namespace", "serving")
KOPF = ("-m", "kopf", "run", "--namespace", "serving", "-m", "infpop_operator.main")


class Bench:
    """The metrics page of one study, and the port on which it is served."""

    def __init__(self) -> None:
        self.metrics = OperatorMetrics(lambda: 0.0)
        self.cache = Cache()
        self.page = MetricsPage(self.metrics, self.cache, queue_depth=lambda: 3, clock=lambda: START)
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/metrics"

    def serve(self, scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        """Run a scenario while the page is served."""

        async def play() -> None:
            async with serve_metrics(self.page, port=self.port), httpx.AsyncClient() as client:
                await scenario(client)

        asyncio.run(play())


def _study() -> dict[str, object]:
    metadata = {"namespace": "serving", "name": "one", "uid": "u", "resourceVersion": "1"}
    return {"metadata": metadata, "status": {"pools": [{"name": "a100", "gpuHours": "2"}]}}


@pytest.fixture
def bench() -> Bench:
    """A page of one study."""
    bench = Bench()
    bench.cache.see_study(_study())
    return bench


def test_what_happened_last_is_shown(bench: Bench) -> None:
    """Counters and studies are current at each scrape; the series of a deleted study disappear."""

    async def scenario(client: httpx.AsyncClient) -> None:
        first = (await client.get(bench.url)).text
        assert "infpop_operator_queue_depth 3.0" in first
        assert 'infpop_study_gpu_seconds_total{namespace="serving",pool="a100",study="one"} 7200.0' in first
        bench.metrics.count_reconcile(0.5, None)
        bench.cache.see_study(_study(), deleted=True)
        second = (await client.get(bench.url)).text
        assert 'infpop_operator_reconciles_total{result="ok"} 1.0' in second
        assert 'study="one"' not in second

    bench.serve(scenario)


def test_both_formats_are_understood(bench: Bench) -> None:
    """The endpoint serves plain text and OpenMetrics, compressed on request."""

    async def scenario(client: httpx.AsyncClient) -> None:
        plain = await client.get(bench.url, headers={"Accept": "*/*", "Accept-Encoding": "identity"})
        assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "content-encoding" not in plain.headers
        accepted = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain", "Accept-Encoding": "gzip"}
        newer = await client.get(bench.url, headers=accepted)
        assert newer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert newer.headers["content-encoding"] == "gzip"
        assert _series(text_string_to_metric_families(plain.text)) == _series(
            openmetrics.text_string_to_metric_families(newer.text)
        )

    bench.serve(scenario)


def _series(families: Iterable[Metric]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(sample.name, frozenset(sample.labels.items())) for family in families for sample in family.samples}


class _Witness(Collector):
    """Records the thread on which it was asked."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def collect(self) -> Iterator[Metric]:
        self.threads.add(threading.get_ident())
        yield from ()


def test_a_scrape_does_not_hold_the_operator_up(bench: Bench) -> None:
    """The page is rendered on another thread than the reconciles."""
    witness = _Witness()
    bench.metrics.registry.register(witness)

    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.get(bench.url)).status_code == 200

    bench.serve(scenario)
    assert len(witness.threads) == 1
    assert threading.get_ident() not in witness.threads


def test_a_port_that_is_taken_is_a_wrong_setting(bench: Bench) -> None:
    """The error names the port and what to set."""

    async def scenario(_: httpx.AsyncClient) -> None:
        message = rf"^cannot listen on port {bench.port} .*--metrics-port or INFPOP_METRICS_PORT"
        with pytest.raises(SettingError, match=message):
            async with serve_metrics(bench.page, port=bench.port):
                pass

    bench.serve(scenario)


@pytest.mark.prometheus
def test_a_real_prometheus_takes_all_of_it(bench: Bench, tmp_path: Path) -> None:
    """Every series arrives under its own name, also for the largest possible status."""
    names = ['quote"', "back\\slash", "line\nbreak", "\ud800", "é" * 80, "{}", "a\x00b"]
    pools = [{"name": name, "gpuHours": "1"} for name in names]
    metadata = {"namespace": "serving", "name": "two", "uid": "v", "resourceVersion": "2"}
    bench.cache.see_study({"metadata": metadata, "status": {"pools": pools}})

    async def scenario(_: httpx.AsyncClient) -> None:
        found = await asyncio.to_thread(_asked, tmp_path, bench.port, 'infpop_study_runs{study="two"}')
        shown = {series["metric"]["pool"] for series in found}
        assert shown == {"?" if name == "\ud800" else name[:63] for name in names}
        assert {series["metric"]["namespace"] for series in found} == {"serving"}

    bench.serve(scenario)


def _asked(directory: Path, port: int, query: str) -> list[dict[str, Any]]:
    """Return what a Prometheus that scrapes the port answers."""
    target = static_targets("operator", f"127.0.0.1:{port}", honor_labels=True)
    with PrometheusServer(directory, [target]) as server:
        return list(server.wait_for(query))


@pytest.mark.parametrize("started", ["option", "environment", "kopf"])
def test_the_operators_process_shows_its_metrics(started: str, tmp_path: Path) -> None:
    """However it is started, and also without an API server: its requests then have no answer."""
    (port,) = free_ports(1)
    by_option = started == "option"
    command = (*(KOPF if started == "kopf" else OPERATOR), *(("--metrics-port", str(port)) if by_option else ()))
    environment = {} if by_option else {"INFPOP_METRICS_PORT": str(port)}
    process = _start(tmp_path, command, {"INFPOP_NAMESPACE": "serving", **environment})
    try:
        unanswered = 'infpop_operator_api_requests_total{code="none",verb="GET"}'
        wait_for(lambda: process.poll() is not None or unanswered in _scraped(port), seconds=60, what=unanswered)
        assert process.poll() is None, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait(30)


def _start(home: Path, command: tuple[str, ...], changes: dict[str, str]) -> "subprocess.Popen[bytes]":
    (home / "kubeconfig").write_text(KUBECONFIG)
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(("KOPF", "INFPOP", "KUBE"))}  # noqa: TID251 - a child starts with it
    environment = {**inherited, "HOME": str(home), "KUBECONFIG": str(home / "kubeconfig"), **changes}
    with (home / "log").open("wb") as log:
        return subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=subprocess.STDOUT)


def _scraped(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    except httpx.TransportError:
        return ""
