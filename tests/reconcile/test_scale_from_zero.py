"""A pool that a study declares as scaled from zero: it is tuned by runs whose Pods make an autoscaler add nodes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from controlplane.nodes import gpu_node
from reconcile.operators import Operator
from reconcile.played_nodes import NODE
from reconcile.stage import ONE_CELL, Stage

H100 = "NVIDIA-H100-80GB-HBM3"
BURST = {"name": "burst", "scaleFromZero": {"gpusPerNode": 8, "gpuProduct": H100}}
NO_NODE = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
TRIGGERED = "pod triggered scale-up: [{h100 0->1 (max: 4)}]"


def played(scenario: Callable[[Stage, Operator], Awaitable[None]], **spec: object) -> Stage:
    """Run a scenario with a study of one such pool, in a cluster that has a node with other GPUs."""

    async def play() -> Stage:
        stage = Stage(**({"searchSpace": ONE_CELL, "nodePools": [BURST]} | spec))
        await scenario(stage, operator := await stage.operator())
        await stage.later(operator)
        return stage

    return asyncio.run(play())


async def wait_for_node(stage: Stage, operator: Operator) -> str:
    """Have the study's run wait for a node, and return its name."""
    await operator.settle()
    stage.nodes.find_no_node(stage.run, NO_NODE)
    stage.cluster.clock.advance(5)
    await operator.settle()
    return stage.run


def row(stage: Stage) -> dict[str, Any]:
    """Return the row of the study's one pool."""
    (only,) = stage.status["pools"]
    return dict(only)


def live_run(stage: Stage) -> dict[str, Any]:
    """Return the row of the study's one live run."""
    (only,) = stage.status["runs"]
    return dict(only)


def test_a_run_waits_for_the_node_and_takes_its_identity_from_it() -> None:
    """Its Pod excludes the other GPUs, run and pool say what the autoscaler does, and the round is the one it began."""
    seen: list[tuple[str, str]] = []

    async def scenario(stage: Stage, operator: Operator) -> None:
        run = await wait_for_node(stage, operator)
        (term,) = _terms(stage, run)
        assert term["matchExpressions"] == [
            {"key": "nvidia.com/gpu.product", "operator": "NotIn", "values": ["NVIDIA-A100-SXM4-40GB"]}
        ]
        await stage.later(operator)
        seen.append((live_run(stage)["state"], live_run(stage)["message"]))
        stage.nodes.say_of(run, "TriggeredScaleUp", TRIGGERED, reporter="cluster-autoscaler")
        assert await operator.probe()
        await stage.later(operator)
        seen.append((live_run(stage)["state"], live_run(stage)["message"]))
        assert row(stage)["reason"] == "ScalingUp"
        assert stage.condition("Ready") == ("False", "ScalingUp")
        stage.cluster.create("nodes", gpu_node("h1", product=H100))
        await operator.settle()
        stage.nodes.bind(run, "h1")
        stage.nodes.work(run)
        await operator.settle()
        assert stage.runs == [run]
        stage.nodes.finish(run)
        await stage.finish(operator)

    stage = played(scenario)
    assert seen == [
        ("ScalingUp", f"the Pod waits for a node of an autoscaler; {NO_NODE}"),
        ("ScalingUp", f"cluster-autoscaler: {TRIGGERED}"),
    ]
    events = {event["reason"]: event["type"] for event in stage.cluster.all("events") if "type" in event}
    assert events["ScalingUp"] == "Normal"
    assert stage.row() == ("Measured", None, 1)
    assert (row(stage)["gpu"], row(stage)["round"], row(stage).get("reason")) == (H100, 1, None)


def test_an_autoscaler_that_adds_no_node_is_quoted() -> None:
    """The run is Unschedulable, with the autoscaler's own reason instead of the scheduler's."""

    async def scenario(stage: Stage, operator: Operator) -> None:
        run = await wait_for_node(stage, operator)
        stage.nodes.say_of(
            run, "NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max", reporter="cluster-autoscaler"
        )
        await operator.probe()

    stage = played(scenario)
    assert live_run(stage)["state"] == "Unschedulable"
    assert live_run(stage)["message"] == (
        "no autoscaler adds a node; cluster-autoscaler: pod didn't trigger scale-up: 1 max"
    )


@pytest.mark.parametrize(("timeouts", "minutes"), [({}, 30), ({"schedule": "5m"}, 5), ({"schedule": "10m"}, 10)])
def test_a_node_may_take_half_an_hour(timeouts: dict[str, str], minutes: int) -> None:
    """Unless the study sets another limit; afterwards the run yields, and costs no failure."""

    async def scenario(stage: Stage, operator: Operator) -> None:
        run = await wait_for_node(stage, operator)
        stage.cluster.clock.advance(minutes * 60 - 10)
        await operator.settle()
        assert stage.runs == [run]
        stage.cluster.clock.advance(10)
        await operator.settle()
        stage.nodes.let_go()

    stage = played(scenario, measurement={"timeouts": timeouts})
    assert stage.runs == []
    (aside,) = row(stage)["setAside"]
    assert (aside["reason"], aside["attempts"]) == ("Unschedulable", 1)
    assert aside["message"].startswith(f"not scheduled within {minutes} min: ")


def test_gpu_counts_that_no_added_node_has_are_ruled_out_before_any_pod() -> None:
    """The other GPU counts are measured, and the search ends."""

    async def scenario(stage: Stage, operator: Operator) -> None:
        await operator.settle()
        assert stage.nodes.spec(stage.run).gpu_count == 4
        stage.cluster.remove("nodes", NODE)
        stage.cluster.create("nodes", gpu_node(NODE, product=H100, gpus=4))
        await stage.finish(operator)

    pool = {"name": "burst", "gpuProduct": "H100", "scaleFromZero": {"gpusPerNode": 4}}
    stage = played(scenario, nodePools=[pool], searchSpace={"gpuCount": [8, 4], "batchSize": [8]})
    assert [trial["gpuCount"] for trial in stage.status["trials"]] == [4]
    assert stage.condition("Succeeded") == ("True", "SpaceExhausted")


def test_a_larger_run_and_a_second_run_start_although_no_node_has_room() -> None:
    """The autoscaler adds a node for each, within the study's own limit of GPUs."""
    budget = {"parallelTrials": 2, "maxConcurrentGPUs": 16, "maxTrials": 4}

    async def scenario(stage: Stage, operator: Operator) -> None:
        stage.cluster.create("nodes", gpu_node("h1", product=H100, gpus=1))
        await operator.settle()

    stage = played(scenario, searchSpace={"gpuCount": [8], "batchSize": [8, 64]}, budget=budget)
    assert [run["gpuCount"] for run in stage.status["runs"]] == [8, 8]


def test_a_node_with_other_gpus_breaks_the_run() -> None:
    """A number of theirs would be wrong: the trial names the node and its product, and is tried again elsewhere."""

    async def scenario(stage: Stage, operator: Operator) -> None:
        run = await wait_for_node(stage, operator)
        stage.cluster.create("nodes", gpu_node("v1", product="Tesla-V100-SXM2-32GB"))
        stage.nodes.bind(run, "v1")
        stage.nodes.work(run)
        await operator.settle()
        stage.nodes.let_go()
        await operator.settle()

    stage = played(scenario)
    assert stage.row() == ("Running", None, 2)
    (term,) = _terms(stage, stage.run)
    assert term["matchExpressions"][0]["values"] == ["NVIDIA-A100-SXM4-40GB", "Tesla-V100-SXM2-32GB"]
    events = [event["message"] for event in stage.cluster.all("events")]
    assert any(f"node v1 has Tesla-V100-SXM2-32GB, but the pool wants {H100}" in message for message in events)


def test_nodes_with_other_gpus_use_up_the_failure_budget() -> None:
    """An autoscaler that adds nothing else is not asked without end: the study stalls and says why."""

    async def scenario(stage: Stage, operator: Operator) -> None:
        for number in range(2):
            run = await wait_for_node(stage, operator)
            stage.cluster.create("nodes", gpu_node(f"v{number}", product="Tesla-V100-SXM2-32GB"))
            stage.nodes.bind(run, f"v{number}")
            stage.nodes.work(run)
            await operator.settle()
            stage.nodes.let_go()
            await operator.settle()
            stage.cluster.clock.advance(60)

    stage = played(scenario, budget={"maxTrials": 1, "maxFailedTrials": 1})
    assert stage.condition("Stalled") == ("True", "TooManyFailures")
    assert stage.runs == []


def test_a_node_whose_labels_come_late_keeps_the_run() -> None:
    """It has its GPUs before its product label, or the other way round: the run goes on."""

    async def scenario(stage: Stage, operator: Operator) -> None:
        run = await wait_for_node(stage, operator)
        late = gpu_node("h1", product=H100)
        labels, late["metadata"]["labels"] = late["metadata"]["labels"], {"kubernetes.io/hostname": "h1"}
        stage.cluster.create("nodes", late)
        stage.nodes.bind(run, "h1")
        stage.nodes.work(run)
        await operator.settle()
        assert stage.runs == [run]
        stage.cluster.patch("nodes", "h1", {"metadata": {"labels": labels}})
        await operator.settle()
        assert stage.runs == [run]
        stage.nodes.finish(run)
        await stage.finish(operator)

    stage = played(scenario)
    assert (row(stage)["gpu"], stage.row()) == (H100, ("Measured", None, 1))


@pytest.mark.parametrize("product", [None, H100])
def test_a_pool_that_is_scaled_to_zero_between_runs_stays_tunable(product: str | None) -> None:
    """The next run starts without a node, and a node that returns continues the round; nothing is measured twice."""
    added: dict[str, Any] = {"gpusPerNode": 8} | ({} if product is None else {"gpuProduct": product})

    async def scenario(stage: Stage, operator: Operator) -> None:
        stage.cluster.remove("nodes", NODE)
        stage.cluster.create("nodes", gpu_node("h1", product=H100))
        await operator.settle()
        stage.nodes.start(stage.run)
        stage.nodes.finish(stage.run)
        stage.cluster.remove("nodes", "h1")
        await operator.settle()
        _, second = stage.runs
        stage.nodes.find_no_node(second, NO_NODE)
        stage.cluster.clock.advance(5)
        await stage.later(operator)
        assert live_run(stage)["state"] == "ScalingUp"
        assert row(stage)["gpu"] == H100
        stage.cluster.create("nodes", gpu_node("h2", product=H100, gpus=4))
        stage.nodes.bind(second, "h2")
        stage.nodes.work(second)
        await operator.settle()
        stage.nodes.finish(second)
        await stage.finish(operator)
        stage.cluster.remove("nodes", "h2")

    stage = played(
        scenario, nodePools=[{**BURST, "scaleFromZero": added}], searchSpace={"gpuCount": [2], "batchSize": [8, 64]}
    )
    assert [(trial["round"], trial["state"]) for trial in stage.status["trials"]] == [(1, "Measured")] * 2
    assert stage.condition("Succeeded") == ("True", "SpaceExhausted")
    assert row(stage)["reason"] == "ScaledToZero"
    assert row(stage)["message"].endswith("; a run that starts there makes an autoscaler add one")


def test_other_hardware_is_tuned_although_its_node_goes_before_its_round_begins() -> None:
    """No run needs the node while the change settles; the new round makes the autoscaler add another one."""

    async def scenario(stage: Stage, operator: Operator) -> None:
        stage.cluster.remove("nodes", NODE)
        stage.cluster.create("nodes", gpu_node("h1", product=H100))
        await operator.settle()
        stage.nodes.start(stage.run)
        stage.nodes.finish(stage.run)
        stage.cluster.remove("nodes", "h1")
        await operator.settle()
        stage.cluster.create("nodes", gpu_node("v1", product="Tesla-V100-SXM2-32GB"))
        await operator.settle()
        stage.nodes.let_go()
        await operator.settle()
        assert row(stage)["round"] == 1
        stage.cluster.remove("nodes", "v1")
        stage.cluster.clock.advance(300)
        await operator.settle()
        stage.cluster.clock.advance(301)
        await stage.later(operator)
        assert (row(stage)["round"], row(stage)["reason"]) == (2, "ScalingUp")
        stage.cluster.create("nodes", gpu_node(NODE, product="Tesla-V100-SXM2-32GB"))
        await stage.finish(operator)

    pool = {"name": "burst", "scaleFromZero": {"gpusPerNode": 8}}
    stage = played(scenario, nodePools=[pool], searchSpace={"gpuCount": [2], "batchSize": [8, 64]})
    assert row(stage)["gpu"] == "Tesla-V100-SXM2-32GB"
    new = [trial for trial in stage.status["trials"] if trial["round"] == 2]
    assert [(trial["batchSize"], trial["state"]) for trial in new] == [(8, "Measured"), (64, "Measured")]


def test_a_deadline_holds_for_a_run_that_waits_for_a_node() -> None:
    """The Job ends by itself after all its limits, although the operator may be away."""
    stage = played(_nothing, measurement={"timeouts": {"pull": "1m", "load": "1m", "measure": "1m"}})
    (job,) = stage.cluster.all("jobs")
    limit = timedelta(seconds=job["spec"]["activeDeadlineSeconds"])
    assert timedelta(minutes=33) < limit < timedelta(minutes=40)


async def _nothing(stage: Stage, operator: Operator) -> None:
    """Do what the operator does by itself."""
    del stage
    await operator.settle()


def _terms(stage: Stage, run: str) -> list[dict[str, Any]]:
    pod = stage.cluster.get("jobs", run)["spec"]["template"]["spec"]
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return list(required["nodeSelectorTerms"])
