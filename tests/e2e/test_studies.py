"""From `kubectl apply` to the result, as a user sees it: chart, operator's pod, runs' pods, Prometheus."""

import json

import pytest

from cluster.place import Body, Place
from cluster.studies import apply_documents
from controlplane.waiting import wait_for
from e2e import studies
from e2e.stages import Stages
from prometheus.server import PrometheusServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600), pytest.mark.usefixtures("release")]
_REAL_SECONDS = 1500.0


def test_a_simulated_study_over_both_pools(place: Place, prometheus: PrometheusServer, stages: Stages) -> None:
    """Runs land where their pool's GPUs are, the best is in status and ConfigMap, and nothing passes for measured.

    Its Pods have what a template asks for: the runner works as another user, and sees proxy and file.
    """
    studies.create_what_the_template_names(place)
    engine = {**studies.simulation(), "podTemplate": {"spec": studies.TEMPLATE}}
    with stages.stage("simulated study on both nodes, 8 trials"):
        apply_documents(place.cluster, document(place, **{**studies.SIMULATED, "engine": engine}))
        assert wait_for(lambda: studies.look_into_a_run(place), seconds=300, what="a look into a run") == studies.SEEN
        status = studies.wait_for_end(place, seconds=300)
    assert studies.best(status) == (2, 64)
    assert [(row["state"], row["source"]) for row in status["trials"]] == [("Measured", "Simulated")] * 8
    assert {pod["metadata"]["labels"]["infpop.io/pool"]: pod["spec"]["nodeName"] for pod in place.objects("pod")} == (
        studies.NODES
    )
    assert {pod["spec"]["runtimeClassName"] for pod in place.objects("pod")} == {"plain"}
    published(place, status)
    prometheus.wait_for('infpop_studies{state="succeeded"} > 0')  # of the operator's pod


@pytest.mark.parametrize(("engine", "gpu_counts"), [("vllm", [1, 2]), ("hf-pipeline", [1])])
def test_a_real_engine_on_both_nodes(
    place: Place, prometheus: PrometheusServer, stages: Stages, engine: str, gpu_counts: list[int]
) -> None:
    """An engine that loads a model and generates on CPUs is measured on both nodes, and Prometheus has each number."""
    space = {"gpuCount": gpu_counts, "batchSize": [1, 8]}
    trials = len(gpu_counts) * len(space["batchSize"])
    spec: Body = {
        **studies.REAL,
        "engine": {"name": engine, "enforceEager": True, "maxNumBatchedTokens": 2048},
        "searchSpace": space,
        "budget": {"maxTrials": trials, "maxFailedTrials": 0, "confirm": False},
    }
    with stages.stage(f"{engine} study on the CPUs of both nodes, {2 * trials} trials"):
        apply_documents(place.cluster, document(place, **spec))
        status = studies.wait_for_end(place, seconds=_REAL_SECONDS)
    for pool in studies.NODES:
        rows = studies.rows_of(status, pool)
        assert [(row["state"], row["source"]) for row in rows] == [("Measured", "Prometheus")] * trials, rows
        for row in rows:
            assert float(row["throughput"]) == pytest.approx(scraped(prometheus, place, row), rel=1e-3)
    published(place, status)


def document(place: Place, **spec: object) -> Body:
    """Return a study that publishes its best."""
    return place.document(**{"publish": {"configMap": "best"}, **spec})


def published(place: Place, status: Body) -> None:
    """The ConfigMap has the best of the status."""
    place.wait_until(lambda: place.find("configmap", "best"), what="the ConfigMap")
    written = json.loads(place.get("configmap", "best")["data"]["best.json"])
    assert (written["gpuCount"], written["batchSize"]) == studies.best(status)


def scraped(prometheus: PrometheusServer, place: Place, row: Body) -> float:
    """Return what Prometheus has of a trial, long after its pod."""
    labels = f'namespace="{place.namespace}",run="{row["run"]}",batch_size="{row["batchSize"]}"'
    (found,) = prometheus.query(f"last_over_time(infpop_trial_throughput_tokens_per_second{{{labels}}}[1h])")
    return float(found["value"][1])
