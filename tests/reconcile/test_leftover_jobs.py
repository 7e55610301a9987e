"""Jobs that exist although their run or their study has ended, and runs that are over in an unusual order."""

import asyncio

import pytest

from factories.studies import START
from infpop_operator.cluster.context import ReconcileContext
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.study_memory import StudyMemory
from reconcile.operators import Operator
from reconcile.stage import NO_FAILURE, ONE_CELL, Stage, at_work
from reconcile.wire import let_pass, refusing


@pytest.mark.parametrize("ttl", [None, 60])
def test_a_running_job_of_a_settled_study_is_deleted(ttl: int | None) -> None:
    """It appears after the study's end, for example from a backup, and a time to live does not end a running Job."""

    async def play() -> tuple[Stage, Operator]:
        stage, operator, run = await at_work()
        job = dict(stage.cluster.get("jobs", run))
        await stage.finish(operator)
        await operator.settle()
        before = len(operator.wire.requests)
        await operator.settle()
        assert operator.said(before) == []  # settled
        if run in stage.runs:
            stage.cluster.remove("jobs", run)
            await operator.settle()
        assert "DELETE jobs" not in operator.said()
        metadata = {key: value for key, value in job["metadata"].items() if key != "uid"}
        stage.cluster.create("jobs", {**job, "metadata": metadata, "status": {}})
        if ttl is not None:
            stage.cluster.patch("jobs", run, {"spec": {"ttlSecondsAfterFinished": ttl}})
        stage.nodes.start(run)
        await operator.settle()
        return stage, operator

    stage, operator = asyncio.run(play())
    assert operator.said().count("DELETE jobs") == 1
    assert stage.row() == ("Measured", None, 1)


def test_a_run_that_was_observed_to_end_is_over_when_its_next_pod_waits() -> None:
    """Its image was not pulled in time, its Job could not be deleted, and the Job controller created another Pod."""

    async def play() -> tuple[Stage, str]:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator(interference=refusing(500, "InternalError", "etcd", said="DELETE jobs"))
        await operator.settle()
        run = stage.run
        stage.nodes.make_pod(run)
        stage.nodes.bind(run)
        stage.nodes.fail_pull(run)
        await operator.settle()
        stage.cluster.clock.advance(2 * 3600)
        await operator.try_pass()
        assert "DELETE jobs" in operator.said()
        assert stage.recorded()[1] == {}  # its Pod still has its devices
        stage.nodes.vanish(run)
        stage.nodes.make_pod(run)
        operator.wire.interference = let_pass
        await operator.reconcile()
        return stage, run

    stage, run = asyncio.run(play())
    assert stage.recorded()[1] == {run: 1}
    assert stage.row() == ("Broken", "ImagePull", 1)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"suspend": True}, True),
        ({"suspend": False}, False),
        ({"suspend": "false"}, False),
        ({"suspend": 1}, False),
        ({}, False),
        (None, False),
        ("suspend", False),
    ],
)
def test_only_true_suspends_an_invalid_study(spec: object, expected: bool) -> None:  # noqa: FBT001
    """Running Jobs are deleted only if the user asked for it, and a text such as "false" does not."""
    key = StudyKey("serving", "study")
    context = ReconcileContext(key=key, body={"spec": spec}, previous=None, now=START, memory=StudyMemory(key=key))
    assert context.is_suspended is expected
