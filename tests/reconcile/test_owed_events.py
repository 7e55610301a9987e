"""The Event of a run that broke, or that lacks numbers of a source, is written whatever fails around it."""

import asyncio

import pytest

from reconcile.memory_cluster import Answer, Request, refusal
from reconcile.operators import Operator
from reconcile.stage import Stage, at_work
from reconcile.wire import CarryOut, Interference, Killed, let_pass

TOLERANT = {"maxTrials": 1, "maxFailedTrials": 3}  # a budget


def once(said: str, *, code: int, reason: str = "Conflict") -> Interference:
    """Return what refuses the first request of one kind."""
    refused: list[Request] = []

    async def interfere(request: Request, carry_out: CarryOut) -> Answer:
        if request.said == said and not refused:
            refused.append(request)
            return refusal(code, reason, "not now")
        return await carry_out()

    return interfere


async def break_run(stage: Stage, operator: Operator, run: str, interference: Interference) -> None:
    """Break the run, and have the operator notice it while something interferes, and then do further passes."""
    stage.nodes.crash(run)
    operator.wire.interference = interference
    for _ in range(4):
        await operator.try_pass()
        stage.cluster.clock.advance(1.0)


@pytest.mark.parametrize(
    "interference",
    [
        once("PUT throughputstudies/status", code=409),
        once("PUT throughputstudies/status", code=503, reason="ServiceUnavailable"),
        once("POST jobs", code=503, reason="ServiceUnavailable"),
        once("POST events", code=503, reason="ServiceUnavailable"),
    ],
    ids=["the status conflicts", "the status is not written", "the next Job is not created", "the Event is lost"],
)
def test_the_event_of_a_broken_run_is_written_although_a_request_fails(interference: Interference) -> None:
    """It is written once, by the same pass or a later one."""

    async def play() -> Stage:
        stage, operator, run = await at_work(spec={"budget": TOLERANT})
        await break_run(stage, operator, run, interference)
        return stage

    assert asyncio.run(play()).events().count("RunBroken") == 1


@pytest.mark.parametrize("said", ["POST events", "PUT throughputstudies/status"])
def test_the_next_operator_writes_the_event_that_the_last_one_could_not(said: str) -> None:
    """An operator that dies right after it recorded the end owes the Event; its successor reads that in the journal."""

    async def kill(request: Request, carry_out: CarryOut) -> Answer:
        if request.said == said:
            raise Killed
        return await carry_out()

    async def play() -> tuple[Stage, int]:
        stage, operator, run = await at_work(spec={"budget": TOLERANT})
        stage.nodes.crash(run)
        operator.wire.interference = kill
        with pytest.raises(Killed):
            await operator.settle()
        stage.cluster.change(suspend=True)  # another generation
        second = await stage.operator()
        await second.settle()
        first = stage.events().count("RunBroken")
        third = await stage.operator()
        await third.settle()
        return stage, first

    stage, first = asyncio.run(play())
    assert (first, stage.events().count("RunBroken")) == (1, 1)


def test_an_old_end_is_not_reported_again() -> None:
    """A new operator does not repeat what its predecessors reported hours ago."""

    async def play() -> list[str]:
        stage, operator, run = await at_work(spec={"budget": TOLERANT})
        await break_run(stage, operator, run, let_pass)
        for event in stage.cluster.all("events"):
            stage.cluster.remove("events", event["metadata"]["name"])
        stage.cluster.clock.advance(3600)
        await (await stage.operator()).settle()
        return [event["message"] for event in stage.cluster.all("events") if f"run {run} " in event["message"]]

    assert asyncio.run(play()) == []
