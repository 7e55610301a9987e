"""A pool that an autoscaler has scaled to zero is tuned: a run's Pod is what makes it scale up."""

from typing import Any

import pytest

from cluster.place import Place, throughput
from controlplane.autoscaler import NodeGroup, PlayedAutoscaler
from controlplane.behaviours import replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

H100 = "NVIDIA-H100-80GB-HBM3"
SPACE = {"gpuCount": [2, 4, 8], "batchSize": [8]}


def burst(place: Place, *, gpus: int = 4, **fields: object) -> dict[str, Any]:
    """Return a pool of this place without nodes."""
    group = {"group": f"{place.namespace}-h100"}
    return {"name": "burst", "nodeSelector": group, "scaleFromZero": {"gpusPerNode": gpus}, **fields}


def group_of(place: Place, product: str = H100, **changes: Any) -> NodeGroup:  # noqa: ANN401 - fields of a group
    """Return the nodes that the autoscaler adds for that pool."""
    labels = {"group": f"{place.namespace}-h100"}
    return NodeGroup(**({"product": product, "gpus": 4, "extra_labels": labels} | changes))


def test_a_study_from_no_node_to_its_result(place: Place) -> None:
    """It waits with the autoscaler's words, measures on the nodes that come and go, and takes their hardware."""
    place.study(
        nodePools=[burst(place)],
        searchSpace=SPACE,
        algorithm={"name": "grid", "trialsPerRun": 1},
        budget={"maxTrials": 9},
    )
    with (
        place.kubelet(replay(throughput)) as kubelet,
        PlayedAutoscaler(place.cluster, place.namespace, group_of(place, delay_seconds=5.0)) as autoscaler,
    ):
        place.wait(
            lambda status: any("cluster-autoscaler: pod triggered" in str(run) for run in status.get("runs", ())),
            what="the words of the autoscaler",
        )
        assert place.wait_for("Ready", "False", reason="ScalingUp")["pools"][0]["reason"] == "ScalingUp"
        status = place.wait_for("Succeeded")
        place.wait_until(lambda: autoscaler.removed == autoscaler.added, what="the removal of the idle nodes")
    (pool,) = status["pools"]
    assert (pool["gpu"], pool["round"], pool["gpusPerNode"]) == (H100, 1, 4)
    assert {(row["gpuCount"], row["state"]) for row in status["trials"]} == {(2, "Measured"), (4, "Measured")}
    assert {run.node for run in kubelet.runs} <= set(autoscaler.added)
    assert autoscaler.refused == []
    status = place.wait(lambda status: status["pools"][0].get("reason") == "ScaledToZero", what="a pool without nodes")
    assert status["best"]["gpuCount"] == 4


def test_a_node_that_goes_between_two_runs_costs_nothing(place: Place) -> None:
    """The next run makes another one come, and the round goes on."""
    place.study(nodePools=[burst(place)], searchSpace={"gpuCount": [2], "batchSize": [8]}, budget={"maxTrials": 1})
    group = group_of(place, idle_seconds=0.2)
    with place.kubelet(replay(throughput)), PlayedAutoscaler(place.cluster, place.namespace, group) as autoscaler:
        place.wait_for("Succeeded")
        place.wait_until(lambda: len(autoscaler.removed) == 1, what="a pool of no nodes")
        place.change(searchSpace={"gpuCount": [2], "batchSize": [8, 16]}, budget={"maxTrials": 2})
        status = place.wait(lambda status: len(status["trials"]) == 2, what="another trial")
        status = place.wait_for("Succeeded")
        assert len(autoscaler.added) == 2
    assert [(row["round"], row["batchSize"], row["attempts"]) for row in status["trials"]] == [(1, 8, 1), (1, 16, 1)]


def test_an_autoscaler_that_adds_other_gpus_is_said(place: Place) -> None:
    """Nothing is measured on them; when it adds the right ones, the study goes on."""
    wanted = {"scaleFromZero": {"gpusPerNode": 4, "gpuProduct": H100}}
    place.study(nodePools=[burst(place, **wanted)], searchSpace={"gpuCount": [2], "batchSize": [8]})
    wrong, right = group_of(place, "Tesla-V100-SXM2-32GB", delay_seconds=0.1), group_of(place, delay_seconds=0.1)
    with (
        place.kubelet(replay(throughput, trial_seconds=20)) as kubelet,
        PlayedAutoscaler(place.cluster, place.namespace, wrong) as autoscaler,
    ):
        place.wait_until(lambda: kubelet.runs, what="a run on a wrong node")
        autoscaler.group = right
        kubelet.play = replay(throughput)
        place.wait_for("Succeeded")
        # The result may come before the watch has told the operator of the new node.
        status = place.wait(lambda status: status["pools"][0].get("gpu") == H100, what="the right GPU")
    (row,) = status["trials"]
    assert (row["state"], row["attempts"]) == ("Measured", 2)
    messages = [event["message"] for event in place.objects("event") if event["involvedObject"]["name"] == "study"]
    assert any(f"has Tesla-V100-SXM2-32GB, but the pool wants {H100}" in message for message in messages), messages
