"""When a measurement would give another number than before a new round begins, from what is in use."""

import pytest

from cluster.place import Place, throughput
from cluster.studies import find_condition
from controlplane.behaviours import HangsLoading, Throughput, replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

SPACE = {"gpuCount": [2], "batchSize": [8, 64]}


def scaled(factor: float) -> Throughput:
    """Return the landscape of hardware that is faster by a factor."""

    def fast(gpus: int, batch: int) -> float:
        found = throughput(gpus, batch)
        assert isinstance(found, float)
        return found * factor

    return fast


def test_a_change_of_the_measurement_opens_a_round(place: Place) -> None:
    """The old best is kept and called stale while it is measured first in the new round, as the baseline."""
    place.study(searchSpace=SPACE, budget={"maxTrials": 2})
    with place.kubelet(replay(throughput)):
        before = place.wait_for("Succeeded")
    assert (before["best"]["batchSize"], before["best"]["round"]) == (64, 1)
    place.change(workload={"maxNewTokens": 64})
    status = place.wait_for("ResultStale")
    assert status["best"] == before["best"]
    assert find_condition(status, "Ready")["status"] == "False"
    with place.kubelet(replay(scaled(1.5))) as kubelet:
        place.wait_for("ResultStale", "False")
        after = place.wait_for("Succeeded")
        first = kubelet.runs[0].spec
    assert (first.round, first.gpu_count, first.trials[0].batch_size, first.workload.max_new_tokens) == (2, 2, 64, 64)
    (pool,) = after["pools"]
    assert (pool["round"], pool["baseline"]["batchSize"], pool["improvementPercent"]) == (2, 64, "0.0")
    assert (after["best"]["batchSize"], after["best"]["round"]) == (64, 2)
    assert [row["round"] for row in after["trials"]] == [1, 1, 2, 2]


def test_other_hardware_opens_a_round(place: Place) -> None:
    """When the nodes of a pool get other GPUs the pool is tuned again, and says how much is gained over before."""
    place.study(searchSpace=SPACE, budget={"maxTrials": 2}, retune={"debounce": "2s"})
    with place.kubelet(replay(throughput)):
        before = place.wait_for("Succeeded")
    other = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920"}
    place.patch("node", f"{place.namespace}-0", {"metadata": {"labels": other}})
    with place.kubelet(replay(lambda gpus, batch: 500.0 if batch == 8 else 400.0 * gpus / 2)):
        after = place.wait(lambda status: status["pools"][0]["round"] == 2, what="another round")
        after = place.wait_for("Succeeded")
    (pool,) = after["pools"]
    assert pool["gpu"] == "NVIDIA-A100-SXM4-80GB"
    assert pool["fingerprint"] != before["pools"][0]["fingerprint"]
    assert (pool["best"]["batchSize"], pool["improvementPercent"]) == (8, "25.0")


def test_a_superseded_run_ends(place: Place) -> None:
    """A run of an older round is ended before the new one asks for GPUs."""
    place.study(searchSpace=SPACE, budget={"maxTrials": 1, "maxFailedTrials": 0})
    with place.kubelet(lambda _spec, _attempt: HangsLoading()) as kubelet:
        place.wait_until(lambda: kubelet.runs, what="a run")
        kubelet.play = replay(throughput)
        place.change(workload={"maxNewTokens": 64})
        status = place.wait_for("Succeeded")
        assert [run.spec.round for run in kubelet.runs] == [1, 2]
    assert [(row["round"], row["state"], row.get("reason")) for row in status["trials"]] == [
        (1, "Broken", "Superseded"),
        (2, "Measured", None),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"budget": {"maxConcurrentGPUs": 4}},
        {"objective": {"metric": "throughputPerGPU"}},
        {"measurement": {"timeouts": {"load": "20m"}}},
        {"publish": {"configMap": "best"}},
        {"ttlSecondsAfterFinished": 3600},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_changes_open_none(place: Place, change: dict[str, object]) -> None:
    """A change of what may be spent, or of what is made of the numbers, keeps every number and measures nothing."""
    place.study(searchSpace=SPACE, budget={"maxTrials": 2})
    with place.kubelet(replay(throughput)) as kubelet:
        place.wait_for("Succeeded")
        place.change(**change)
        status = place.wait(lambda status: status["observedGeneration"] == 2, what="the change")
        assert len(kubelet.runs) == 2
    assert (status["pools"][0]["round"], find_condition(status, "Ready")["status"]) == (1, "True")
