"""Runs that are stopped while the operator, the nodes of their pool or a valid spec are absent."""

import asyncio

import pytest

from factories.study_objects import make_study_body
from reconcile.operators import KEY
from reconcile.stage import ONE_CELL, Stage, at_work

HOUR_S = 3600.0


def test_a_stopped_run_does_not_pay_for_the_operators_absence() -> None:
    """The operator is gone while the run ends, and returns ten hours later: the devices were free long before."""

    async def play() -> Stage:
        stage, operator, _ = await at_work()
        stage.cluster.change(suspend=True)
        await operator.settle()
        stage.nodes.let_go()
        stage.cluster.clock.advance(10 * HOUR_S)
        after = await stage.operator()
        await after.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Broken", "Suspended", 1)
    assert float(stage.status["gpuHours"]) == pytest.approx((6 + 120) * 2 / HOUR_S, abs=0.001)


def test_a_run_of_a_removed_pool_is_stopped_although_no_other_pool_has_nodes() -> None:
    """Its devices are freed, and the study waits for nodes once the run has ended."""

    async def play() -> tuple[Stage, list[str]]:
        stage, operator, _ = await at_work()
        stage.cluster.change(nodePools=[{"name": "elsewhere", "gpuProduct": "H200"}])
        await stage.later(operator)
        ending = stage.states()
        stage.nodes.let_go()
        await operator.settle()
        return stage, ending

    stage, ending = asyncio.run(play())
    assert ending == ["Terminating"]
    assert stage.runs == []
    assert stage.condition("Ready") == ("False", "NoMatchingNodes")
    assert set(stage.recorded()[1].values()) == {1}


def test_the_suspension_of_an_invalid_study_is_no_failure_of_its_run() -> None:
    """The operator itself deleted the Job: the run is tried again without using the failure budget."""

    async def play() -> Stage:
        stage, operator, _ = await at_work()
        stage.cluster.change(model={"name": "./weights"}, suspend=True)
        await operator.settle()
        stage.nodes.let_go()
        stage.cluster.clock.advance(10 * HOUR_S)
        stage.cluster.change(model={"name": "example/model"}, suspend=False)
        await operator.settle()
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.row() == ("Measured", None, 2)
    assert float(stage.status["gpuHours"]) < 1


def test_a_job_that_its_queue_suspended_is_deleted_when_its_run_is_stopped() -> None:
    """Its Pod has exited, and no Job controller ends a suspended Job: the queue could start it again."""

    async def play() -> Stage:
        stage, operator, run = await at_work()
        stage.nodes.suspend(run)
        stage.nodes.let_go_of(run)
        await operator.settle()
        stage.cluster.change(suspend=True)
        await operator.settle()
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.runs == []
    assert stage.status["runs"] == []


def test_a_study_that_was_created_again_inherits_no_memory() -> None:
    """Another study has the name by now: what the operator remembers of the one before does not count."""

    async def play() -> tuple[set[str], str | None, str]:
        stage, operator, _ = await at_work()
        stage.cluster.change(suspend=True)
        await operator.settle()
        assert operator.memories.of(KEY).endings
        stage.nodes.let_go()
        stage.cluster.remove("throughputstudies", KEY.name)
        stage.cluster.create("throughputstudies", make_study_body(searchSpace=ONE_CELL))
        await operator.settle()
        memory = operator.memories.of(KEY)
        return set(memory.endings), memory.uid, stage.cluster.get("throughputstudies")["metadata"]["uid"]

    endings, remembered, uid = asyncio.run(play())
    assert endings == set()
    assert remembered == uid


def test_the_job_of_a_run_that_another_operator_saw_end_is_read_before_it_is_deleted() -> None:
    """The journal may know more than the watches of this operator: a Pod that has exited ends its Job by itself."""

    async def play() -> list[str]:
        space = {"gpuCount": [2], "batchSize": [8, 16]}
        stage, first, run = await at_work(spec={"searchSpace": space, "budget": {"maxTrials": 2}})
        first.deaf = {"pods"}
        stage.nodes.exit(run, message=stage.nodes.message(run))
        second = await stage.operator()
        await second.settle()
        assert len(stage.runs) == 2
        before = len(first.wire.requests)
        await first.settle()
        return first.said(before)

    requests = asyncio.run(play())
    assert "GET jobs" in requests
    assert "DELETE jobs" not in requests
