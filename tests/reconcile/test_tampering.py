"""Statuses that a user wiped or forged, or that another version wrote: nothing is decided on what they say."""

import asyncio
from collections.abc import Mapping

import pytest

from controlplane.nodes import gpu_node
from reconcile.memory_cluster import Body
from reconcile.played_nodes import NODE
from reconcile.stage import Stage, at_work


def test_a_status_that_this_version_cannot_read_counts_as_none() -> None:
    """It was written by another version: it is written again, and nothing else is lost."""

    async def play() -> Stage:
        stage, _, _ = await at_work()
        stage.cluster.patch("throughputstudies", "study", {"status": {"trials": "many", "runs": 3}})
        await (await stage.operator()).settle()
        return stage

    stage = asyncio.run(play())
    assert stage.states() == ["Starting"]


FORGED: Mapping[str, Body] = {
    "wiped": {},
    "another best": {
        "best": {"pool": "a100", "gpuCount": 8, "batchSize": 1024, "throughput": "999999", "engineArgs": ["--evil"]}
    },
    "no trials": {"trials": [], "progress": "0/4", "runs": []},
    "succeeded": {
        "conditions": [
            {
                "type": "Succeeded",
                "status": "True",
                "reason": "SpaceExhausted",
                "message": "",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ]
    },
}


@pytest.mark.parametrize("phase", ["new", "running", "suspended", "ended"])
@pytest.mark.parametrize("forged", FORGED)
def test_a_status_that_was_wiped_or_forged_changes_nothing(forged: str, phase: str) -> None:
    """Whatever it says in whatever phase, the study comes to the same end, and nothing is measured again."""

    async def play(tamper: str | None) -> Stage:
        stage = Stage(publish={"configMap": "best"}, budget={"maxTrials": 2})
        operator = await stage.operator()
        if phase != "new":
            await operator.settle()
        if phase == "suspended":
            stage.cluster.change(suspend=True)
            await operator.settle()
        if phase == "ended":
            await stage.finish(operator)
        if tamper is not None:
            stage.forge(FORGED[tamper], whole=tamper == "wiped")
        if phase == "suspended":
            await operator.settle()
            stage.cluster.change(suspend=False)
        await stage.finish(operator)
        return stage

    expected, stage = asyncio.run(play(None)), asyncio.run(play(forged))
    assert stage.outcome() == expected.outcome()
    assert stage.created_jobs() == expected.created_jobs()
    assert stage.recorded() == expected.recorded()


def test_a_pool_that_is_away_is_remembered_from_the_status() -> None:
    """Its round stays open without capacity for a run, and it continues when the same nodes come back."""

    async def play() -> tuple[Stage, tuple[str, str] | None]:
        stage = Stage(budget={"maxTrials": 2})
        operator = await stage.operator()
        await operator.settle()
        stage.nodes.step()
        stage.nodes.step()
        stage.cluster.delete("nodes", NODE)
        await operator.settle()
        ready = stage.condition("Ready")
        stage.cluster.create("nodes", gpu_node(NODE))
        await stage.finish(operator)
        return stage, ready

    stage, ready = asyncio.run(play())
    assert ready == ("False", "NoMatchingNodes")
    assert stage.status["progress"] == "2/2"
    assert {trial["round"] for trial in stage.status["trials"]} == {1}
