"""Durations come from one clock: neither a wrong clock nor a jump costs a run or GPU-hours."""

import asyncio
from datetime import timedelta

import pytest

from infpop_operator.adapters.journal import decode_line
from infpop_operator.cluster.events import StudyEvent
from infpop_operator.core.model import EndedRun
from reconcile.memory_cluster import Answer, Request
from reconcile.operators import KEY, Operator
from reconcile.stage import NO_FAILURE, ONE_CELL, Stage, hang
from reconcile.wire import CarryOut

TEN_MINUTES, DAY = 600.0, 86_400.0


def gpu_seconds(stage: Stage) -> float:
    """Return the device-seconds that the journal has for all ended runs."""
    steps = [decode_line(line) for journal in stage.journals() for line in journal["data"].values()]
    return sum(step.gpu_seconds for step in steps if isinstance(step, EndedRun))


def assert_one_run_of_a_minute(stage: Stage) -> None:
    """Check that the study succeeded with one run of 2 GPUs, which paid for about a minute."""
    assert stage.condition("Succeeded") == ("True", "MaxTrialsReached")
    assert gpu_seconds(stage) == pytest.approx(120, abs=12)
    assert stage.created_jobs().total() == 1


async def at_work_for(stage: Stage, operator: Operator, seconds: float) -> None:
    """Have the study's one run work for so long while the operator ticks."""
    stage.nodes.holds = hang
    for _ in range(int(seconds / 5)):
        await operator.settle()
        stage.nodes.step()
        stage.cluster.clock.advance(5.0)


@pytest.mark.parametrize("ahead_s", [-TEN_MINUTES, TEN_MINUTES, -DAY, DAY], ids=str)
def test_an_operator_with_a_wrong_clock_charges_what_was_used(ahead_s: float) -> None:
    """A run of 2 GPUs that works for a minute costs about 120 GPU-seconds, and nothing else about the study differs."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator(wall=lambda: stage.cluster.clock() + timedelta(seconds=ahead_s))
        await at_work_for(stage, operator, 60)
        await stage.finish(operator)
        return stage

    assert_one_run_of_a_minute(asyncio.run(play()))


def test_an_operator_whose_clock_jumps_a_day_forward_and_back_stops_no_run() -> None:
    """The run goes on, and costs what it used."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        wrong_s = [0.0]
        operator = await stage.operator(wall=lambda: stage.cluster.clock() + timedelta(seconds=wrong_s[0]))
        for wrong_s[0] in (0.0, DAY, 0.0):
            await at_work_for(stage, operator, 20)
        await stage.finish(operator)
        return stage

    assert_one_run_of_a_minute(asyncio.run(play()))


@pytest.mark.parametrize("there_s", [DAY, -DAY], ids=["forward and back", "back and forward"])
def test_a_jump_of_the_api_servers_clock_is_reported_and_stops_no_run(there_s: float) -> None:
    """A clock that is set right again within ten minutes costs no run; an Event names the jump."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator(wall=stage.cluster.clock)
        await at_work_for(stage, operator, 20)
        for jump_s in (there_s, -there_s):
            stage.cluster.clock.jump(jump_s)
            await operator.list_all()
            await at_work_for(stage, operator, 20)
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Succeeded") == ("True", "MaxTrialsReached")
    assert stage.created_jobs().total() == 1
    assert gpu_seconds(stage) <= 2 * 70
    assert "ClockJumped" in stage.events()


def test_a_jump_that_the_answer_about_an_event_shows_is_reported() -> None:
    """It is noticed while the operator writes what it owes, and is owed itself then."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget={"maxTrials": 1, "maxFailedTrials": 3})
        operator = await stage.operator(wall=stage.cluster.clock)
        jumps = [-DAY]

        async def jump(request: Request, carry_out: CarryOut) -> Answer:
            if request.said == "POST events" and jumps:
                stage.cluster.clock.jump(jumps.pop())
            return await carry_out()

        stage.nodes.crash(await stage.work(operator))
        operator.wire.interference = jump
        for _ in range(4):
            await operator.try_pass()
            stage.cluster.clock.advance(1.0)
        return stage

    events = asyncio.run(play()).events()
    assert (events.count("RunBroken"), events.count("ClockJumped")) == (1, 1)


def test_a_study_is_owed_one_event_about_jumps() -> None:
    """While the API server takes no Events, only the newest jump is kept, and every other Event."""

    async def play() -> tuple[tuple[str, ...], str]:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        operator = await stage.operator()
        await stage.work(operator)
        memory = operator.memories.of(KEY)
        memory.owed = (StudyEvent(type="Warning", reason="RunBroken", message="it broke"),)
        for seconds in (60.0, -60.0, 300.0):
            operator.reconciler.note_jump(seconds)
        owed = memory.owed
        return tuple(event.reason for event in owed), owed[-1].message

    reasons, message = asyncio.run(play())
    assert reasons == ("RunBroken", "ClockJumped")
    assert "300 s forward" in message


@pytest.mark.parametrize("ahead_s", [-TEN_MINUTES, TEN_MINUTES], ids=["behind", "ahead"])
def test_a_node_with_a_wrong_clock_charges_what_was_used(ahead_s: float) -> None:
    """The kubelet's times are compared with each other and with when the API server stored them."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget=NO_FAILURE)
        stage.nodes.clock_ahead_s = ahead_s
        operator = await stage.operator()
        await at_work_for(stage, operator, 60)
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Succeeded") == ("True", "MaxTrialsReached")
    assert gpu_seconds(stage) == pytest.approx(120, abs=12)
