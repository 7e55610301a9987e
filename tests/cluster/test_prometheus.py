"""Throughput comes through a real Prometheus that finds the pods of runs at the real API server.

Pods are played, and hold for a scrape as real runners do; everything that Prometheus sees goes over its own discovery
and its own scrapes. Whatever happens to it, no wrong number ever comes out and no measured trial is lost.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.conftest import QUICK
from cluster.operator_process import OperatorProcess, running_operator
from cluster.place import MEMORY, Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import HangsLoading, Succeeds, replay
from prometheus.discovery import annotated_pods, static_targets
from prometheus.exporters import ContainerExporter, GpuExporter, serving
from prometheus.faults import FaultyProxy
from prometheus.server import PrometheusServer

pytestmark = [pytest.mark.cluster, pytest.mark.prometheus]

Body = dict[str, Any]
SPACE = {"gpuCount": [1, 2], "batchSize": [1, 8, 64, 256]}
CELLS = 8
GRID: Mapping[str, object] = {
    "searchSpace": SPACE,
    "algorithm": {"name": "grid", "trialsPerRun": 1},
    "budget": {"maxTrials": CELLS, "parallelTrials": 2},
}
TWO_AT_ONCE = {"maxTrials": 2, "parallelTrials": 2}
# For what never answers as it should: the test does not wait long for it.
HASTY = {
    "INFPOP_PROMETHEUS_TIMEOUT_SECONDS": "0.5",
    "INFPOP_PROMETHEUS_PATIENCE_SECONDS": "0.5",
    "INFPOP_SCRAPE_GRACE_SECONDS": "0.5",
}


@contextmanager
def operator(place: Place, directory: Path, url: str, **environment: str) -> Iterator[OperatorProcess]:
    """An operator for this place alone that asks the Prometheus at `url`."""
    told = {"INFPOP_PROMETHEUS_URL": url, "INFPOP_PROMETHEUS_TIMEOUT_SECONDS": "2", "INFPOP_SCRAPE_GRACE_SECONDS": "20"}
    with running_operator(
        place.cluster, directory, namespace=place.namespace, environment={**QUICK, **told, **environment}
    ) as process:
        yield process


@contextmanager
def prometheus_of(place: Place, directory: Path, *jobs: Body) -> Iterator[PrometheusServer]:
    """A Prometheus that discovers the pods of this place, and scrapes `jobs` too."""
    pods = annotated_pods(place.cluster.kubeconfig, namespace=place.namespace)
    with PrometheusServer(directory / "prometheus", [pods, *jobs]) as server:
        yield server


def right_numbers(status: Body) -> None:
    """Every row has the number that its runner measured, to 0.1 %, or the reason why there is none."""
    rows = status["trials"]
    assert len(rows) == CELLS
    for row in rows:
        expected = throughput(row["gpuCount"], row["batchSize"])
        if isinstance(expected, str):
            assert (row["state"], row["reason"]) == ("Infeasible", expected)
        else:
            assert row["state"] == "Measured", row
            assert float(row["throughput"]) == pytest.approx(expected, rel=1e-3)


def sources(status: Body) -> list[str]:
    """Where the number of each measured trial came from, in the order of the rows."""
    return [row["source"] for row in status["trials"] if row["state"] == "Measured"]


def test_every_number_of_a_study_comes_from_prometheus(place: Place, tmp_path: Path) -> None:
    """From apply to the end: each row's number is the runner's within 0.1 %, and Prometheus gave every one."""
    with (
        prometheus_of(place, tmp_path) as prometheus,
        operator(place, tmp_path, prometheus.url),
        place.kubelet(replay(throughput, load_seconds=0.2, trial_seconds=0.2)),
    ):
        place.study(**GRID)
        status = place.wait_for("Succeeded")
        right_numbers(status)
        assert sources(status) == ["Prometheus"] * len(sources(status))
        assert find_condition(status, "PrometheusUnreachable")["reason"] == "NotAsked"
        assert "MetricsMissing" not in place.reasons()


def test_prometheus_goes_away_and_comes_back(place: Place, tmp_path: Path) -> None:
    """Prometheus is down for half of a study: other sources are used, and the outage is reported while it lasts."""
    with (
        prometheus_of(place, tmp_path) as prometheus,
        operator(place, tmp_path, prometheus.url, INFPOP_SCRAPE_GRACE_SECONDS="2"),
        place.kubelet(replay(throughput, load_seconds=0.5, trial_seconds=1.5)),
    ):
        place.study(**{**GRID, "budget": {"maxTrials": CELLS}})
        place.wait(lambda status: _measured(status) >= 1, what="a first number")
        prometheus.stop()
        place.wait_for("PrometheusUnreachable")
        place.wait(lambda status: _measured(status) >= 4, what="numbers during the outage")
        prometheus.start()
        place.wait_for("PrometheusUnreachable", "False", reason="Reachable")
        status = place.wait_for("Succeeded")
        right_numbers(status)
        assert {"Prometheus", "PodMetrics"} <= set(sources(status)) <= {"Prometheus", "PodMetrics", "RunResult"}
        assert {"PrometheusUnreachable", "Reachable", "MetricsMissing"} <= set(place.reasons())


def _measured(status: Body) -> int:
    return sum(row["state"] == "Measured" for row in status.get("trials", ()))


@pytest.mark.parametrize("fault", ["unavailable", "unauthorized", "html", "half", "hangs", "duplicates", "empty"])
def test_a_wrong_answer_is_never_a_number(place: Place, tmp_path: Path, fault: str) -> None:
    """Whatever answers at Prometheus' address, the study ends with the runners' numbers and names their source."""
    with (
        prometheus_of(place, tmp_path) as prometheus,
        FaultyProxy(prometheus.url) as proxy,
        operator(place, tmp_path, proxy.url, **HASTY),
        place.kubelet(replay(throughput, trial_seconds=0.2)),
    ):
        proxy.fault = fault
        place.study(**GRID)
        status = place.wait_for("Succeeded")
        right_numbers(status)
        assert "Prometheus" not in sources(status)
        assert "MetricsMissing" in place.reasons()
        assert proxy.requests, "it was asked"


def test_a_scrape_that_comes_too_late_costs_no_number(place: Place, tmp_path: Path) -> None:
    """Runs are held no longer than the grace; what Prometheus then lacks comes from elsewhere."""
    pods = annotated_pods(place.cluster.kubeconfig, namespace=place.namespace)
    rarely = {**pods, "scrape_interval": "1h", "scrape_timeout": "1m"}
    with (
        PrometheusServer(tmp_path / "prometheus", [rarely]) as prometheus,
        operator(place, tmp_path, prometheus.url, **HASTY),
        place.kubelet(replay(throughput)),
    ):
        place.study(**GRID)
        status = place.wait_for("Succeeded")
        right_numbers(status)
        assert "Prometheus" not in sources(status)


def test_gpus_do_not_wait_for_an_answer(place: Place, tmp_path: Path) -> None:
    """Invariant 6 while Prometheus says nothing of one run: the other is freed at once, and the number is not lost."""
    slow = {**HASTY, "INFPOP_PROMETHEUS_TIMEOUT_SECONDS": "600"}
    with (
        prometheus_of(place, tmp_path) as prometheus,
        FaultyProxy(prometheus.url) as proxy,
        operator(place, tmp_path, proxy.url, **slow),
        place.kubelet(lambda spec, _: Succeeds(throughput=throughput) if spec.gpu_count == 1 else HangsLoading()),
    ):
        proxy.fault = "hangs"
        place.study(
            searchSpace={"gpuCount": [1, 2], "batchSize": [8]},
            algorithm={"name": "grid", "trialsPerRun": 1},
            budget=TWO_AT_ONCE,
        )
        place.wait_until(lambda: len(place.objects("pod")) == 2, what="two runs")
        place.wait_until(lambda: _pods_of(place.running_pods()) == ["2"], what="the end of one of them")
        place.wait_until(lambda: len(proxy.requests) > 1, what="a question about it")
        place.change(suspend=True)
        place.wait_until(lambda: not place.running_pods(), what="no run that holds GPUs")
        proxy.fault = "none"
        status = place.wait(lambda status: _measured(status) == 1, what="the number of the run that ended")
        (row,) = (row for row in status["trials"] if row["state"] == "Measured")
        assert float(row["throughput"]) == pytest.approx(throughput(1, 8), rel=1e-3)


def _pods_of(pods: list[Body]) -> list[str]:
    return [pod["metadata"]["labels"]["infpop.io/gpu-count"] for pod in pods]


def test_further_metrics_decide(place: Place, tmp_path: Path) -> None:
    """Tokens per joule from DCGM's power: every trial has its figures over its own window, and the best is by them."""
    metrics = [{"name": "power", "preset": "gpuPower"}, {"name": "cpu", "preset": "cpuUsage"}]
    kubelet = place.kubelet(replay(throughput, load_seconds=0.5, trial_seconds=6.0))
    with kubelet, serving(GpuExporter(kubelet)) as dcgm, serving(ContainerExporter(kubelet)) as cadvisor:
        jobs = (static_targets("dcgm", dcgm), static_targets("cadvisor", cadvisor, honor_labels=True))
        with prometheus_of(place, tmp_path, *jobs) as prometheus, operator(place, tmp_path, prometheus.url):
            place.study(**GRID, metrics=metrics, objective={"metric": "tokensPerJoule"})
            status = place.wait_for("Succeeded")
            right_numbers(status)
            for row in status["trials"]:
                if row["state"] == "Measured":
                    assert float(row["metrics"]["power"]) == pytest.approx(310.0 * row["gpuCount"])
                    assert float(row["metrics"]["cpu"]) == pytest.approx(1.5, rel=0.1)
            best = status["best"]
            assert (best["gpuCount"], best["batchSize"]) == (1, MEMORY)
