"""A real Prometheus discovers the Pods of runs through a real API server, in each of the usual ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.behaviours import replay
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from infpop_runner.contract import Measured, RunResult
from prometheus.discovery import annotated_pods, monitored_pods
from prometheus.operator_crds import operator_crd
from prometheus.runs import RUN, run_site
from prometheus.server import PrometheusServer

pytestmark = [pytest.mark.cluster, pytest.mark.prometheus]
EXAMPLE = Path(__file__).parents[2] / "examples" / "cluster" / "podmonitor.yaml"
MONITOR: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
THROUGHPUT = "infpop_trial_throughput_tokens_per_second"
GRACE_SECONDS = 300.0
Way = Callable[[Path, str], dict[str, Any]]


def by_annotation(kubeconfig: Path, namespace: str) -> dict[str, Any]:
    """Return the scrape configuration of most charts."""
    return annotated_pods(kubeconfig, namespace=namespace)


def by_pod_monitor(kubeconfig: Path, namespace: str) -> dict[str, Any]:
    """Return the configuration that the Prometheus Operator generates from InfPop's example."""
    return monitored_pods(MONITOR, kubeconfig, namespace=namespace, interval_seconds=1.0)


@pytest.mark.parametrize(
    ("way", "labels"),
    [
        pytest.param(by_annotation, {"job": "kubernetes-pods", "infpop_io_study": "study"}, id="annotations"),
        pytest.param(
            by_pod_monitor,
            {"job": "default/infpop-runner", "container": "runner", "endpoint": "metrics"},
            id="pod monitor",
        ),
    ],
)
def test_a_finished_run_is_held_until_it_was_scraped(
    way: Way, labels: dict[str, str], control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """Prometheus scrapes even the shortest run, with exactly the numbers of its result, and the run ends then."""
    config = way(control_plane.kubeconfig, namespace)
    with (
        PrometheusServer(tmp_path, [config]) as prometheus,
        run_site(control_plane, namespace, replay(lambda gpus, batch: 12.345 * gpus * batch)) as site,
    ):
        site.start_run(scrape_grace_seconds=GRACE_SECONDS)
        result = site.wait_for_result()
        series = prometheus.wait_for(f"last_over_time({THROUGHPUT}[1h])")
    assert result.held_seconds is not None
    assert 0 < result.held_seconds < GRACE_SECONDS
    assert {int(each["metric"]["trial"]): float(each["value"][1]) for each in series} == numbers_of(result)
    for each in series:
        assert each["metric"].items() >= labels.items()
        assert (each["metric"]["namespace"], each["metric"]["run"]) == (namespace, RUN.name)


def test_a_target_label_wins_where_labels_are_not_honored(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """Through a PodMonitor the run's own namespace label becomes `exported_namespace`, with the same value."""
    config = by_pod_monitor(control_plane.kubeconfig, namespace)
    with (
        PrometheusServer(tmp_path, [config]) as prometheus,
        run_site(control_plane, namespace, replay(lambda _gpus, batch: float(batch))) as site,
    ):
        site.start_run(scrape_grace_seconds=GRACE_SECONDS)
        (element,) = prometheus.wait_for('last_over_time(infpop_run_state{state="done"}[1h]) == 1')
    assert element["metric"]["exported_namespace"] == namespace
    assert element["metric"]["namespace"] == namespace


def test_two_ways_together_give_every_series_twice(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """A Pod with annotations and a PodMonitor is scraped twice; the copies differ in the target's labels."""
    configs = [way(control_plane.kubeconfig, namespace) for way in (by_annotation, by_pod_monitor)]
    play = replay(lambda _gpus, batch: float(batch), trial_seconds=600.0)
    with PrometheusServer(tmp_path, configs) as prometheus, run_site(control_plane, namespace, play) as site:
        site.start_run()
        prometheus.wait_for('count(infpop_run_state{state="measuring"} == 1) == 2')
        found = prometheus.query('infpop_run_state{state="measuring"}')
    assert len({each["metric"]["job"] for each in found}) == 2


def test_the_example_is_a_pod_monitor(control_plane: ControlPlane) -> None:
    """The API server accepts it under the Prometheus Operator's own CRD."""
    control_plane.kubectl("apply", "--server-side", "-f", str(operator_crd("podmonitors")))
    monitors = "podmonitors.monitoring.coreos.com"
    wait_for(lambda: control_plane.is_established(monitors), seconds=60.0, what="the CRD of the Prometheus Operator")
    control_plane.kubectl("apply", "--dry-run=server", "-f", str(EXAMPLE))


@pytest.mark.parametrize("place", ["spec", "endpoint", "selector"])
def test_a_field_that_is_not_translated_is_refused(place: str) -> None:
    """These tests refuse a PodMonitor with fields that they do not translate."""
    monitor: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    spec = monitor["spec"]
    {"spec": spec, "endpoint": spec["podMetricsEndpoints"][0], "selector": spec["selector"]}[place]["sampleLimit"] = 5
    with pytest.raises(ValueError, match="sampleLimit"):
        monitored_pods(monitor, Path("kubeconfig"))


def test_a_pod_monitor_for_all_namespaces_keeps_its_own_interval() -> None:
    """The unchanged example discovers all namespaces and scrapes at its own interval."""
    config = monitored_pods(MONITOR, Path("kubeconfig"))
    assert config["kubernetes_sd_configs"] == [{"role": "pod", "kubeconfig_file": "kubeconfig"}]
    assert config["scrape_interval"] == "5s"


def numbers_of(result: RunResult) -> dict[int, float]:
    """Return the throughput of each measured trial by its index, in tokens/s."""
    measured = (trial for trial in result.trials if isinstance(trial, Measured))
    return {trial.index: trial.throughput_tokens_per_second for trial in measured}
