"""A pool without nodes that an autoscaler enlarges: a run waits there, and measures on the node that comes."""

import asyncio

import pytest

from controlplane.nodes import Manifest, gpu_node
from reconcile.operators import Operator
from reconcile.stage import ONE_CELL, Stage

GROUP = {"karpenter.sh/nodepool": "gpu"}
A100 = {"name": "a100", "gpuProduct": "A100", "nodeSelector": GROUP}


def node(name: str, **changes: object) -> Manifest:
    """Return a node of the group."""
    return gpu_node(name, extra_labels=GROUP, **changes)  # type: ignore[arg-type]


async def waiting() -> tuple[Stage, Operator]:
    """Return a study whose pool has no node, and its operator."""
    stage = Stage(searchSpace=ONE_CELL, nodePools=[A100])
    operator = await stage.operator()
    await stage.later(operator)
    return stage, operator


def test_a_run_is_started_so_that_the_autoscaler_sees_a_pod() -> None:
    """Its Pod selects the group and requests GPUs; the pool says what it waits for."""

    async def play() -> Stage:
        return (await waiting())[0]

    stage = asyncio.run(play())
    pod = stage.cluster.get("jobs", stage.run)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == GROUP
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    (pool,) = stage.status["pools"]
    assert pool["reason"] == "NoMatchingNodes"
    assert pool["message"].endswith("a run waits there meanwhile, so that an autoscaler adds a node")


@pytest.mark.parametrize("steps", [1, 2])
def test_the_run_measures_on_the_node_that_comes(steps: int) -> None:
    """It is not stopped when the labels of the node become known, first those of its cloud and then the exact ones."""

    async def play() -> tuple[Stage, str]:
        stage, operator = await waiting()
        run = stage.run
        if steps > 1:
            stage.cluster.create("nodes", gpu_node("n2", labels="gke", extra_labels=GROUP))
            await operator.settle()
            assert stage.runs == [run]
            stage.cluster.patch("nodes", "n2", {"metadata": {"labels": node("n2")["metadata"]["labels"]}})
        else:
            stage.cluster.create("nodes", node("n2"))
        await operator.settle()
        assert stage.runs == [run]
        await stage.finish(operator)
        return stage, run

    stage, run = asyncio.run(play())
    assert (stage.status["best"]["run"], stage.row()) == (run, ("Measured", None, 1))
    (pool,) = stage.status["pools"]
    assert (pool["round"], pool["gpu"]) == (1, "NVIDIA-A100-SXM4-40GB")
    starts, ends = stage.recorded()
    assert (starts, ends) == ({run: 1}, {run: 1})


def test_a_node_of_another_product_ends_the_run() -> None:
    """Its number would not be of the pool's product: the pool says which product came."""

    async def play() -> Stage:
        stage, operator = await waiting()
        stage.cluster.create("nodes", node("n2", product="Tesla-V100-SXM2-32GB"))
        await operator.settle()
        stage.nodes.let_go()
        await stage.later(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.runs == []
    assert "Tesla-V100-SXM2-32GB" in stage.status["pools"][0]["message"]


def test_a_pool_that_was_scaled_to_zero_is_scaled_up_again() -> None:
    """The round goes on with the same identity: nothing is measured twice."""

    async def play() -> Stage:
        stage = Stage(searchSpace={"gpuCount": [1, 2], "batchSize": [8]}, nodePools=[A100])
        stage.cluster.create("nodes", node("n2"))
        operator = await stage.operator()
        await operator.settle()
        stage.cluster.remove("nodes", "n2")
        stage.nodes.start(stage.run)
        stage.nodes.finish(stage.run)
        await operator.settle()
        assert len(stage.runs) == 2
        stage.cluster.create("nodes", node("n3"))
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert [row["round"] for row in stage.status["trials"]] == [1, 1]
    assert {row["state"] for row in stage.status["trials"]} == {"Measured"}


def test_a_group_that_no_autoscaler_knows_is_not_waited_for_by_a_run() -> None:
    """A label of the user's own may be misspelt: the pool waits without a Job."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, nodePools=[{**A100, "nodeSelector": {"team": "gpu"}}])
        await (await stage.operator()).settle()
        return stage

    assert asyncio.run(play()).runs == []
