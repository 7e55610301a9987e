"""A product that no node has: the study waits for an hour, then it is stalled until the user corrects the pattern."""

import asyncio
from collections.abc import Mapping
from typing import Any

from controlplane.nodes import gpu_node
from factories.kube_objects import A100
from reconcile.operators import Operator
from reconcile.stage import ONE_CELL, Stage

HOUR_S = 3600
TYPO = {"name": "new", "gpuProduct": "A10O"}
GOOD = {"name": "a100", "gpuProduct": "A100"}


def stalled(stage: Stage) -> Mapping[str, Any]:
    """Return the condition Stalled."""
    (found,) = (each for each in stage.status["conditions"] if each["type"] == "Stalled")
    return found


async def tick(stage: Stage, operator: Operator, seconds: float) -> str:
    """Let time pass, reconcile the study if time alone is a reason to, and return the status of Stalled."""
    stage.cluster.clock.advance(seconds)
    if operator.reconciler.unfinished():
        await operator.settle()
    return str(stalled(stage)["status"])


def test_a_product_that_no_node_has_stalls_the_study_after_an_hour() -> None:
    """The message names the products that there are, from the start; time alone stalls it, and a correction ends it."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, nodePools=[TYPO])
        operator = await stage.operator()
        await operator.settle()
        (ready,) = (each for each in stage.status["conditions"] if each["type"] == "Ready")
        assert A100 in ready["message"]
        assert [await tick(stage, operator, seconds) for seconds in (HOUR_S - 2, 2, 60)] == ["False", "True", "True"]
        assert (stalled(stage)["reason"], stage.condition("Reconciling")) == (
            "NoMatchingNodes",
            ("False", "NoMatchingNodes"),
        )
        assert f"no GPU product matches 'A10O'; nodes have: {A100}" in stalled(stage)["message"]
        stage.cluster.change(nodePools=[GOOD])
        await operator.settle()
        assert stalled(stage)["status"] == "False"
        await stage.finish(operator)
        return stage

    assert asyncio.run(play()).condition("Succeeded") == ("True", "SpaceExhausted")


def test_a_restart_and_a_correction_that_is_none_do_not_hide_it() -> None:
    """What the status says is enough to stay stalled; another wrong product has its own hour."""

    async def play() -> None:
        stage = Stage(searchSpace=ONE_CELL, nodePools=[TYPO])
        await (await stage.operator()).settle()
        stage.cluster.clock.advance(HOUR_S)
        operator = await stage.operator()
        await operator.settle()
        assert stalled(stage)["status"] == "True"
        stage.cluster.change(nodePools=[{**TYPO, "gpuProduct": "A1OO"}])
        await operator.settle()
        assert [await tick(stage, operator, seconds) for seconds in (0, HOUR_S - 2, 2)] == ["False", "False", "True"]

    asyncio.run(play())


def test_a_product_whose_nodes_appear_ends_the_stall() -> None:
    """The pattern was right, and its nodes came late."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, nodePools=[{"name": "v100", "gpuProduct": "V100"}])
        operator = await stage.operator()
        await operator.settle()
        assert await tick(stage, operator, HOUR_S) == "True"
        stage.cluster.create("nodes", gpu_node("n2", product="Tesla-V100-SXM2-32GB"))
        await operator.settle()
        assert stalled(stage)["status"] == "False"
        return stage

    assert asyncio.run(play()).runs != []


def test_the_other_pools_are_measured_before_the_study_is_stalled() -> None:
    """Their best stays; what is missing is said when nothing else is left to do."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, nodePools=[GOOD, TYPO])
        operator = await stage.operator()
        await operator.settle()
        for _ in range(4):
            stage.nodes.step()
            await operator.settle()
            stage.cluster.clock.advance(10)
        await operator.settle()
        assert (stage.status["best"]["pool"], stalled(stage)["status"]) == ("a100", "False")
        assert await tick(stage, operator, HOUR_S) == "True"
        return stage

    stage = asyncio.run(play())
    assert stage.status["best"]["pool"] == "a100"
    assert "pool new: no GPU product matches" in stalled(stage)["message"]


def test_a_product_that_was_measured_before_is_awaited() -> None:
    """Its nodes may come back, whatever other nodes there are."""

    async def play() -> Stage:
        stage = Stage(searchSpace={"gpuCount": [1, 2], "batchSize": [8]}, nodePools=[GOOD])
        operator = await stage.operator()
        await operator.settle()
        stage.cluster.create("nodes", gpu_node("n2", product="Tesla-V100-SXM2-32GB"))
        stage.cluster.remove("nodes", "n1")
        await operator.settle()
        stage.nodes.step()
        await tick(stage, operator, 2 * HOUR_S)
        return stage

    assert stalled(asyncio.run(play()))["status"] == "False"
