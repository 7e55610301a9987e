"""Every panel of the dashboards shows something once a study has run: on a real Prometheus, from a real study.

One study on two pools, tuned twice, with the operator, its pods and a DCGM exporter scraped all the while.
"""

import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from charts.boards import Query, filled, load, queries
from cluster.conftest import QUICK
from cluster.operator_process import running_operator
from cluster.place import Place
from controlplane.behaviours import Throughput, replay
from controlplane.cluster import ControlPlane
from controlplane.kubelet import SimulatedKubelet
from controlplane.processes import free_ports
from dashboards import DASHBOARDS
from prometheus.discovery import annotated_pods, static_targets
from prometheus.exporters import GpuExporter, Load, serving
from prometheus.server import PrometheusServer

pytestmark = [pytest.mark.cluster, pytest.mark.prometheus]

INTERVAL_SECONDS = 0.5
STEP_SECONDS = INTERVAL_SECONDS / 2  # some pods are scraped once
LARGEST_BATCH = 256
UTILISATION_PERCENT = {"a100": 91.0, "v100": 47.0}
PACE = {
    "load_seconds": 0.8,
    "trial_seconds": 2.0,
}  # long enough for scrapes of the GPUs' power while a trial is measured
QUERIES = [query for board in sorted(DASHBOARDS) for query in queries(board)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A Prometheus that has seen a study from its start to its end, and what the study found."""

    prometheus: PrometheusServer
    namespace: str
    status: Mapping[str, Any]
    start: float
    end: float

    def text(self, query: str, *, pool: str = "(a100|v100)") -> str:
        """Return a query as Grafana sends it with this study chosen."""
        return filled(
            query,
            namespace=self.namespace,
            study="study",
            pool=pool,
            __range=f"{math.ceil(self.end - self.start)}s",
            __rate_interval="4s",
        )

    def answer(self, query: Query) -> list[dict[str, Any]]:
        """Return the elements that the panel gets, `metric` and `values` each.

        A panel of a state that has passed by the end (a stale result) gets what it showed before.
        """
        text = self.text(query.text)
        if query.instant and (found := self.prometheus.query(text, at=self.end)):
            return [{"metric": each["metric"], "values": [each["value"]]} for each in found]
        return self.prometheus.query_range(text, start=self.start, end=self.end, step_seconds=STEP_SECONDS)

    def panel(self, board: str, title: str, ref: str = "A", *, pool: str = "(a100|v100)") -> list[dict[str, Any]]:
        """Return the elements of one query of one panel, at the end of the time."""
        (query,) = (each for each in queries(board) if (each.panel, each.ref) == (title, ref))
        return self.prometheus.query(self.text(query.text, pool=pool), at=self.end)


def landscape(factor: float, *, gpu_power: float) -> Throughput:
    """Return a landscape in which more GPUs are better (a power above 0) or worse, and 512 sequences do not fit."""

    def throughput(gpus: int, batch: int) -> float | Literal["GpuOutOfMemory"]:
        return "GpuOutOfMemory" if batch > LARGEST_BATCH else factor * gpus**gpu_power * batch**0.4

    return throughput


@pytest.fixture(scope="module")
def shown(installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """What Prometheus knows when a study has been tuned, changed and tuned again."""
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    installed.kubectl("create", "namespace", namespace)
    with ExitStack() as stack:
        place = Place(installed, namespace)
        stack.callback(place.close)
        nodes = stack.enter_context(place.nodes("NVIDIA-A100-SXM4-40GB", "Tesla-V100-SXM2-32GB"))
        kubelet = stack.enter_context(place.kubelet(replay(landscape(100, gpu_power=0.7), **PACE)))
        (port,) = free_ports(1)
        exporters = [stack.enter_context(serving(exporter)) for exporter in _exporters(kubelet, nodes)]
        directory = tmp_path_factory.mktemp("dashboards")
        prometheus = stack.enter_context(_prometheus(installed, directory, namespace, port, exporters))
        environment = {
            **QUICK,
            "INFPOP_METRICS_PORT": str(port),
            "INFPOP_PROMETHEUS_URL": prometheus.url,
            "INFPOP_SCRAPE_GRACE_SECONDS": "20",
        }
        stack.enter_context(running_operator(installed, directory, namespace=namespace, environment=environment))
        start = float(prometheus.wait_for("infpop_operator_queue_depth")[0]["value"][0])
        status = _tune_twice(place, kubelet)
        improved = f'infpop_study_improvement_ratio{{namespace="{namespace}"}} > 0'
        succeeded = f'infpop_study_condition{{namespace="{namespace}", condition="Succeeded"}} == 1'
        end = prometheus.wait_for(f"(count({improved}) == 2) and on () ({succeeded})")[0]["value"][0]
        yield Shown(prometheus=prometheus, namespace=namespace, status=status, start=start, end=float(end))
    installed.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def _exporters(kubelet: SimulatedKubelet, nodes: Sequence[str]) -> list[GpuExporter]:
    """Return an exporter for the GPUs of each node, as clusters have them; each pool has one node."""
    return [
        GpuExporter(kubelet, lambda _pod, percent=percent: Load(gpu_utilisation_percent=percent), node=node)
        for node, percent in zip(nodes, UTILISATION_PERCENT.values(), strict=True)
    ]


def _prometheus(
    cluster: ControlPlane, directory: Path, namespace: str, port: int, exporters: list[str]
) -> PrometheusServer:
    """Return a Prometheus that keeps the labels of one exporter, and renames those of the other to `exported_`."""
    plain, renamed = exporters
    target = {"namespace": "gpu-operator", "pod": "dcgm-exporter-1"}
    configs = [
        annotated_pods(cluster.kubeconfig, namespace=namespace),
        static_targets("infpop-operator", f"127.0.0.1:{port}", honor_labels=True, labels={"namespace": "infpop"}),
        static_targets("dcgm", plain),
        static_targets("dcgm-renamed", renamed, labels=target),
    ]
    return PrometheusServer(directory, configs, interval_seconds=INTERVAL_SECONDS)


def _tune_twice(place: Place, kubelet: SimulatedKubelet) -> Mapping[str, Any]:
    """Have the study tuned, and again after a change by which other configurations become the best."""
    place.study(
        searchSpace={"gpuCount": [1, 2], "batchSize": [8, 512]},
        budget={"maxTrials": 4},
        nodePools=[place.pool("a100", pricePerGPUHour="3.60"), place.pool("v100", pricePerGPUHour="1.80")],
        metrics=[{"name": "power", "preset": "gpuPower"}],
        publish={"configMap": "study-best"},
    )
    place.wait_for("Succeeded")
    kubelet.play = replay(landscape(150, gpu_power=-0.7), **PACE)
    place.change(workload={"maxNewTokens": 64})
    place.wait_for("ResultStale")
    place.wait_for("ResultStale", "False")
    return place.wait_for("Succeeded")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_every_panel_shows_something(shown: Shown, query: Query) -> None:
    """Each query of each panel gives at least one number."""
    values = [float(value) for each in shown.answer(query) for _, value in each["values"]]
    assert any(map(math.isfinite, values)), shown.text(query.text)


@pytest.mark.parametrize("board", sorted(DASHBOARDS))
def test_every_variable_has_values_to_choose_from(shown: Shown, board: str) -> None:
    """What is offered above the panels is what there is."""
    offered = {}
    for variable in load(board)["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found
            vector, label = shown.text(found[1]), found[2]
            answer = shown.prometheus.query(f"group by ({label}) ({vector})", at=shown.end)
            offered[variable["name"]] = {each["metric"].get(label) for each in answer}
    expected = {"namespace": {shown.namespace}, "study": {"study"}, "pool": {"a100", "v100"}}
    assert offered == {name: expected[name] for name in offered}


def test_a_study_that_ended_before_the_time_range_is_still_shown(shown: Shown) -> None:
    """What the operator exports needs no run in the range: landscape, best, cost and energy of every pool."""
    late = shown.prometheus.wait_for("infpop_operator_queue_depth")[0]["value"][0]
    measured = [row for row in shown.status["trials"] if row["state"] == "Measured"]
    newest = {pool["name"]: pool["round"] for pool in shown.status["pools"]}
    for panel, expected in (
        ("Landscape of $pool", sum(newest[row["pool"]] == row["round"] for row in measured)),
        ("Throughput per GPU", 2),
        ("Cost per million tokens", 2),
        ("Tokens per joule", 2),
    ):
        (query,) = (each for each in queries("study") if each.panel == panel)
        text = filled(query.text, namespace=shown.namespace, study="study", pool="(a100|v100)", __range="1s")
        assert len(shown.prometheus.query(text, at=float(late))) == expected, panel


@pytest.mark.parametrize("pool", ["a100", "v100"])
def test_the_landscape_is_what_was_measured(shown: Shown, pool: str) -> None:
    """Each cell has the newest number of the study's rows for that configuration; what did not fit has no cell."""
    rows = {
        (row["gpuCount"], row["batchSize"]): float(row["throughput"])
        for row in sorted(shown.status["trials"], key=lambda row: row["round"])
        if row["pool"] == pool and row["state"] == "Measured"
    }
    cells = {
        (int(each["metric"]["gpu_count"]), int(each["metric"]["batch_size"])): float(each["value"][1])
        for each in shown.panel("study", "Landscape of $pool", pool=pool)
    }
    expected = {key: pytest.approx(value, rel=0.001) for key, value in rows.items()}
    assert cells == expected
    assert cells


def test_the_trial_table_has_every_trial_with_a_number(shown: Shown) -> None:
    """Each is there with the state in which it ended, and none that has no number seems to be measured."""
    found = {
        (each["metric"]["run"], int(each["metric"]["trial"])): each["metric"]["state"]
        for each in shown.panel("study", "Trials", "A")
    }
    rows = {(row["run"], row["index"]): row["state"] for row in shown.status["trials"]}
    assert {key for key, state in found.items() if state == "measured"} == {
        key for key, state in rows.items() if state == "Measured"
    }
    assert set(found) <= set(rows)


def test_gpus_are_shown_of_the_runs_that_held_them(shown: Shown) -> None:
    """Whether or not Prometheus renamed the exporter's labels, a run has its own GPUs' utilisation."""
    (query,) = (each for each in queries("study") if each.panel == "GPU utilisation")
    found = shown.answer(query)
    pools = {row["run"]: row["pool"] for row in shown.status["trials"]}
    assert {each["metric"]["pool"] for each in found} == {"a100", "v100"}
    for each in found:
        pool = pools[each["metric"]["run"]]
        assert (each["metric"]["pool"], {float(value) for _, value in each["values"]}) == (
            pool,
            {UTILISATION_PERCENT[pool]},
        )


def test_as_many_trials_have_ended_as_the_study_has_rows(shown: Shown) -> None:
    """The last point of "best so far" is the newest round as a whole, and its best."""
    for pool in shown.status["pools"]:
        (ended,) = shown.panel("study", "Best so far on $pool", "A", pool=pool["name"])
        (best,) = shown.panel("study", "Best so far on $pool", "B", pool=pool["name"])
        assert int(ended["value"][1]) == pool["trials"]["total"]
        assert float(best["value"][1]) == pytest.approx(float(pool["best"]["throughput"]), rel=0.001)


@pytest.mark.parametrize(
    ("panel", "labels"), [("GPU-hours waiting for scrapes", {}), ("Prometheus queries", {"outcome": "ok"})]
)
def test_what_is_zero_until_something_is_counted_was_counted(
    shown: Shown, panel: str, labels: Mapping[str, str]
) -> None:
    """These panels show a zero of their own at first; after a study they show what happened."""
    (query,) = (each for each in queries("operator") if each.panel == panel)
    (counted,) = (each for each in shown.answer(query) if each["metric"] == labels)
    assert any(float(value) > 0 for _, value in counted["values"])
