"""Jobs and Pods that another client alters or leaves behind: no more GPUs than the budget, and no result lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.gpu_watch import GpuWatch
from cluster.operator_process import OperatorProcess, running_operator
from cluster.place import Body, Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import HangsLoading, Succeeds, replay
from controlplane.cluster import ControlPlane

pytestmark = pytest.mark.cluster

MANAGED_BY, RUN = "app.kubernetes.io/managed-by", "infpop.io/run"
QUICK = {"INFPOP_TICK_SECONDS": "1", "INFPOP_RESYNC_SECONDS": "3", "INFPOP_STATUS_PAUSE_SECONDS": "0.2"}
SPEC = {
    "searchSpace": {"gpuCount": [8], "batchSize": [8, 64]},
    "budget": {"maxTrials": 2, "maxConcurrentGPUs": 8, "parallelTrials": 2},
}


@pytest.fixture
def operator(installed: ControlPlane, place: Place, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of this namespace alone, which has a second node: a run too many would get its GPUs."""
    with (
        place.nodes("NVIDIA-A100-SXM4-40GB", first=1),
        running_operator(installed, tmp_path, namespace=place.namespace, environment=QUICK) as process,
    ):
        yield process


def running_job(place: Place) -> str:
    """Return the name of the one Job when its pod runs."""
    place.wait_until(lambda: [pod for pod in place.objects("pod") if pod["status"]["phase"] == "Running"], what="a pod")
    (job,) = place.objects("job")
    name: str = job["metadata"]["name"]
    return name


def rows(status: Body) -> list[tuple[str, int]]:
    """Return the state and the attempts of each trial."""
    return sorted((row["state"], row["attempts"]) for row in status["trials"])


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    "metadata",
    [{"labels": {MANAGED_BY: "Helm"}}, {"labels": {RUN: None}}, {"ownerReferences": None}],
    ids=["managed-by", "run", "owner"],
)
def test_an_altered_job_costs_nothing(place: Place, metadata: Body) -> None:
    """It is written back, the next run starts when the first has ended, and the result counts."""
    with place.kubelet(lambda _spec, _attempt: HangsLoading()) as kubelet, GpuWatch(place) as gpus:
        place.study(**SPEC)
        job = running_job(place)
        place.patch("job", job, {"metadata": metadata})
        place.wait_until(lambda: "JobAltered" in place.reasons(), what="the Event")
        found = place.get("job", job)["metadata"]
        assert (found["labels"][MANAGED_BY], found["labels"][RUN]) == ("infpop", job)
        assert found["ownerReferences"][0]["kind"] == "ThroughputStudy"
        place.wait_for_listings(2)
        assert [run.spec.run for run in kubelet.runs] == [job]
        kubelet.play = replay(throughput)
        place.delete("pod", place.objects("pod")[0]["metadata"]["name"])  # its run has to be made again
        status = place.wait_for("Succeeded")
        assert gpus.most("study") == 8
    assert rows(status) == [("Measured", 1), ("Measured", 2)]


@pytest.mark.usefixtures("operator")
def test_a_pod_whose_job_is_deleted_without_it_is_ended_before_the_next_run(place: Place) -> None:
    """`kubectl delete job --cascade=orphan` leaves a pod with eight GPUs: the operator deletes it, then goes on."""
    with place.kubelet(lambda _spec, _attempt: HangsLoading()) as kubelet, GpuWatch(place) as gpus:
        place.study(**SPEC)
        job = running_job(place)
        kubelet.play = replay(throughput)
        place.cluster.kubectl("delete", "job", job, "--cascade=orphan", "--namespace", place.namespace)
        status = place.wait_for("Succeeded")
        assert gpus.most("study") == 8
        assert "PodLeft" in place.reasons()
    assert rows(status) == [("Measured", 1), ("Measured", 2)]


@pytest.mark.usefixtures("operator")
def test_a_sidecar_that_goes_on_keeps_no_gpus(place: Place) -> None:
    """The result of the run counts, its Job is deleted after half a minute, and the next run gets the GPUs."""
    sidecar = Succeeds(throughput=throughput, sidecar="mesh-proxy")
    with (
        place.kubelet(lambda spec, _attempt: sidecar if spec.trials[0].index == 0 else Succeeds(throughput=throughput)),
        GpuWatch(place) as gpus,
    ):
        place.study(**SPEC)
        run = place.wait_for_run("Terminating")
        assert "container mesh-proxy" in run["message"]
        status = place.wait_for("Succeeded")
        assert gpus.most("study") == 8
    assert rows(status) == [("Measured", 1), ("Measured", 1)]


@pytest.mark.usefixtures("operator")
def test_a_lowered_limit_of_gpus_stops_the_newest_run(place: Place) -> None:
    """Of three runs on seven GPUs those on four stay; the other is no failure, and is measured when there is room."""
    space = {"gpuCount": [1, 2, 4], "batchSize": [8]}
    budget = {"maxTrials": 3, "maxConcurrentGPUs": 7, "parallelTrials": 3, "maxFailedTrials": 0}
    with place.kubelet(lambda _spec, _attempt: HangsLoading()) as kubelet, GpuWatch(place) as gpus:
        place.study(searchSpace=space, budget=budget)
        place.wait_until(lambda: gpus.now("study") == 7, what="seven GPUs")
        place.change(budget={"maxConcurrentGPUs": 4})
        place.wait_until(lambda: gpus.now("study") <= 4, what="four GPUs")
        status = place.wait(lambda status: "BudgetLowered" in str(status["trials"]), what="the reason")
        kubelet.play = replay(throughput)  # only now: a Pod that the kubelet sees later would not hang
        assert find_condition(status, "Stalled")["status"] == "False"
        place.change(budget={"maxFailedTrials": 9})
        for pod in place.running_pods():
            place.delete("job", pod["metadata"]["labels"][RUN])
        status = place.wait_for("Succeeded")
    assert {row["state"] for row in status["trials"]} == {"Measured"}
