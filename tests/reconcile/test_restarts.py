"""Studies whose operator ends, loses requests, is frozen or is not alone, at every single request of their lives.

All memory is lost each time. What comes out is what comes out undisturbed, and nothing happens twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import pytest

from infpop_operator.core import plan_companions
from infpop_operator.core.search import Companion, SearchRequest
from infpop_operator.core.study import Configuration
from infpop_runner.contract import RunSpec, Skipped
from reconcile.memory_cluster import Answer, Request
from reconcile.operators import Operator
from reconcile.stage import Outcome, Stage
from reconcile.succession import Succession
from reconcile.wire import (
    CarryOut,
    Interference,
    Trouble,
    at_request,
    fail,
    kill_after,
    kill_before,
    let_pass,
    lose_answer,
    lose_request,
)

Spec = Mapping[str, object]
ALL_KINDS = ("throughputstudies", "jobs", "pods", "nodes")
SINGLE: Spec = {"budget": {"maxTrials": 2}, "publish": {"configMap": "best"}}
STUDIES: Mapping[str, Spec] = {
    "one run after the other": SINGLE,
    "all runs at once": {**SINGLE, "budget": {"maxTrials": 4, "parallelTrials": 4, "maxConcurrentGPUs": 8}},
    "Jobs that go at once": {**SINGLE, "ttlSecondsAfterFinished": 0},
    "two trials in each run": {**SINGLE, "budget": {"maxTrials": 4}, "algorithm": {"name": "grid"}},
}


async def live(spec: Spec, interference: Interference = let_pass, *, meanwhile: int = 0) -> tuple[Stage, Succession]:
    """Return a study that was driven to its end, and the last of its operators."""
    stage = Stage(**spec)
    operators = Succession(stage, interference, meanwhile=meanwhile)
    await stage.finish(operators)
    return stage, operators


async def suspended_life(
    spec: Spec, interference: Interference = let_pass, *, meanwhile: int = 0
) -> tuple[Stage, Succession]:
    """Return a study that was suspended during its first run, and then resumed."""
    stage = Stage(**spec)
    stage.nodes.holds = is_first
    operators = Succession(stage, interference, meanwhile=meanwhile)
    while not stage.cluster.all("pods"):
        await operators.try_pass()
        stage.nodes.step()
    stage.cluster.change(suspend=True)
    while stage.runs or sum(stage.recorded()[1].values()) == 0:
        await operators.try_pass()
        stage.nodes.let_go()
        stage.cluster.clock.advance(1.0)
    assert stage.cluster.all("pods") == []
    stage.cluster.change(suspend=False)
    await stage.finish(operators)
    return stage, operators


def is_first(spec: RunSpec) -> bool:
    """Say whether the run is that of the first trial."""
    return spec.trials[0].index == 0


def assert_nothing_happened_twice(stage: Stage, moment: object) -> None:
    """Each run was recorded once as started and as ended, and had one Job; no configuration was measured twice."""
    started, ended = stage.recorded()
    once = dict.fromkeys(ended, 1)
    assert (started, ended, stage.created_jobs()) == (once, once, once), moment
    assert sum(not isinstance(result, Skipped) for result in stage.results()) == len(stage.status["trials"]), moment


Life = Callable[..., Awaitable[tuple[Stage, Succession]]]


async def undisturbed(life: Life, spec: Spec) -> tuple[Outcome, int]:
    """Return what comes out of a life without trouble, and how many requests it takes."""
    stage, operators = await life(spec)
    return stage.outcome(), len(operators.operator.wire.requests)


@pytest.mark.parametrize("trouble", [kill_before, kill_after])
@pytest.mark.parametrize("name", STUDIES)
def test_an_operator_that_is_killed_at_any_request(name: str, trouble: Trouble) -> None:
    """Whether its runs move on meanwhile or not: the same best, one Job and one end for each run, nothing lost."""

    async def play() -> None:
        expected, requests = await undisturbed(live, STUDIES[name])
        for number in range(requests):
            stage, operators = await live(STUDIES[name], at_request(number, trouble), meanwhile=number % 3)
            assert stage.outcome() == expected, number
            assert_nothing_happened_twice(stage, number)
            assert operators.operator.wire.requests[0].said == "GET nodes"

    asyncio.run(play())


@pytest.mark.parametrize("trouble", [kill_before, kill_after])
def test_an_operator_that_is_killed_while_runs_skip_trials(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run skipped is neither a failure nor a row, and a later run measures it: wherever the kill hits."""

    def unreachable(request: SearchRequest, first: Configuration, most: int) -> tuple[Companion, ...]:
        others = (cell for cell in request.open_cells if cell.load_key == first.load_key and cell != first)
        return tuple(Companion(configuration=cell, needs_loss=-1e12) for cell in others)[:most]

    monkeypatch.setattr(plan_companions, "companions", unreachable)
    spec = STUDIES["two trials in each run"]

    async def play() -> None:
        expected, requests = await undisturbed(live, spec)
        for number in range(0, requests, 3):
            stage, _ = await live(spec, at_request(number, trouble), meanwhile=number % 2)
            assert stage.outcome() == expected, number
            assert_nothing_happened_twice(stage, number)
            assert [result.batch_size for result in stage.results() if isinstance(result, Skipped)] == [64, 64]
            assert "RunBroken" not in stage.events(), number
            assert {row["state"] for row in stage.status["trials"]} == {"Measured"}

    asyncio.run(play())


def test_an_operator_that_is_killed_while_a_search_knows_landscapes() -> None:
    """Its proposals and companions depend on the journal alone: the same runs with the same names, wherever it dies."""
    spec = {**SINGLE, "budget": {"maxTrials": 4}, "algorithm": {"name": "landscape"}}

    async def play() -> None:
        whole, operators = await live(spec)
        for number in range(0, len(operators.operator.wire.requests), 7):
            stage, _ = await live(spec, at_request(number, kill_before), meanwhile=number % 2)
            assert stage.outcome() == whole.outcome(), number
            assert stage.created_jobs() == whole.created_jobs(), number
            assert_nothing_happened_twice(stage, number)

    asyncio.run(play())


@pytest.mark.parametrize("trouble", [lose_request, lose_answer, fail])
@pytest.mark.parametrize("name", ["one run after the other", "all runs at once"])
def test_a_request_that_fails_is_made_again(name: str, trouble: Trouble) -> None:
    """An answer that never came changes nothing, whether the request was carried out or not."""

    async def play() -> None:
        expected, requests = await undisturbed(live, STUDIES[name])
        for number in range(4, requests):  # the first four are the listings, which the service repeats
            stage, _ = await live(STUDIES[name], at_request(number, trouble))
            assert stage.outcome() == expected, number
            assert_nothing_happened_twice(stage, number)

    asyncio.run(play())


@pytest.mark.parametrize("trouble", [kill_before, kill_after, lose_answer])
def test_an_operator_in_trouble_while_it_suspends_a_study(trouble: Trouble) -> None:
    """The devices come free all the same; the run that was stopped is made again, under another name."""

    async def play() -> None:
        expected, requests = await undisturbed(suspended_life, SINGLE)
        for number in range(4 if trouble is lose_answer else 0, requests):
            stage, _ = await suspended_life(SINGLE, at_request(number, trouble))
            assert stage.outcome() == expected, number
            started, ended = stage.recorded()
            assert (started, len(started)) == (ended, 3), number
            assert set(ended.values()) == set(stage.created_jobs().values()) == {1}, number

    asyncio.run(play())


def test_operators_that_are_killed_one_after_the_other() -> None:
    """Each makes ten requests and continues where the one before was killed."""

    async def play() -> None:
        expected, _ = await undisturbed(live, SINGLE)
        stage = Stage(**SINGLE)
        operators = 0
        while not stage.is_done():
            operator = Succession(stage, at_request(10, kill_after))
            operators += 1
            while operator.operator.wire.interference is not let_pass and not stage.is_done():
                await operator.try_pass()
                stage.nodes.step()
                stage.cluster.clock.advance(1.0)
        assert operators > 2
        await stage.finish(await stage.operator())
        assert stage.outcome() == expected
        assert_nothing_happened_twice(stage, None)

    asyncio.run(play())


async def freeze(gate: asyncio.Event, frozen: asyncio.Event, carry_out: CarryOut) -> Answer:
    """Stop the operator before a request is carried out, until the gate is open."""
    frozen.set()
    await gate.wait()
    return await carry_out()


async def drive_until(stage: Stage, operator: Operator, frozen: asyncio.Event) -> asyncio.Task[float | None]:
    """Drive the study until its operator is frozen, and return the pass in which it is."""
    stop = asyncio.create_task(frozen.wait())
    while True:
        current = asyncio.create_task(operator.try_pass())
        await asyncio.wait({current, stop}, return_when=asyncio.FIRST_COMPLETED)
        if frozen.is_set():
            return current
        stage.nodes.step()
        stage.cluster.clock.advance(1.0)


@pytest.mark.parametrize("name", ["one run after the other", "all runs at once"])
def test_an_operator_that_is_frozen_at_any_request_while_another_continues(name: str) -> None:
    """Its pending write is refused or changes nothing; it reads the state again, and continues."""

    async def play() -> None:
        expected, requests = await undisturbed(live, STUDIES[name])
        for number in range(4, requests - 1):
            stage = Stage(**STUDIES[name])
            gate, frozen = asyncio.Event(), asyncio.Event()
            old = await stage.operator()
            old.wire.interference = at_request(number - 4, partial(freeze, gate, frozen))
            frozen_pass = await drive_until(stage, old, frozen)
            old.deaf = set(ALL_KINDS)
            await stage.finish(await stage.operator())
            gate.set()
            await frozen_pass
            old.hear(*ALL_KINDS)
            await stage.finish(old)
            assert stage.outcome() == expected, number
            assert_nothing_happened_twice(stage, number)

    asyncio.run(play())


@pytest.mark.parametrize("late", [(), ("jobs", "pods"), ALL_KINDS])
@pytest.mark.parametrize("name", ["one run after the other", "all runs at once"])
def test_two_operators_at_once(name: str, late: tuple[str, ...]) -> None:
    """Of two that believe themselves alone one is refused each time: one Job for each run, and the same best."""

    async def play() -> None:
        expected, _ = await undisturbed(live, STUDIES[name])
        stage = Stage(**STUDIES[name])
        one, other = await stage.operator(), await stage.operator()
        for _ in range(60):
            one.deaf = other.deaf = set(late)
            await asyncio.gather(one.try_pass(), other.try_pass())
            one.hear(*late)
            other.hear(*late)
            stage.nodes.step()
            stage.cluster.clock.advance(1.0)
        assert stage.is_done()
        assert stage.outcome() == expected
        assert_nothing_happened_twice(stage, late)
        assert [request for each in (one, other) for request in each.wire.requests if deletes(request)] == []

    asyncio.run(play())


def deletes(request: Request) -> bool:
    """Say whether a request deletes something."""
    return request.method == "DELETE"


def test_a_job_known_only_to_another_operator() -> None:
    """A journal in memory that is older than a Job is no reason to delete the Job: it is read again."""

    async def play() -> list[Request]:
        stage = Stage(budget={"maxTrials": 4, "parallelTrials": 1})
        one, other = await stage.operator(), await stage.operator()
        for operator in (one, other):
            await operator.try_pass()
        other.deaf = {"throughputstudies"}
        stage.cluster.change(budget={"parallelTrials": 2})
        await one.try_pass()
        await other.try_pass()
        assert len(stage.runs) == 2
        assert all("deletionTimestamp" not in job["metadata"] for job in stage.cluster.all("jobs"))
        return other.wire.requests

    requests = asyncio.run(play())
    assert [request.said for request in requests].count("GET configmaps") == 2
    assert [request for request in requests if deletes(request)] == []
