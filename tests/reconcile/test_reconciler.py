"""Whole studies as the reconciler drives them: to their result, within their budget, and then left alone."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.nodes import gpu_node
from factories.study_objects import make_study_body
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.study_memory import StudyMemories
from reconcile.operators import KEY
from reconcile.played_nodes import NODE
from reconcile.stage import ONE_CELL, Stage, hang

PUBLISHED = {"publish": {"configMap": "best"}}


def test_a_study_succeeds() -> None:
    """Each configuration is measured once, and the fastest is the result."""

    async def play() -> Stage:
        stage = Stage(**PUBLISHED)
        await stage.finish(await stage.operator())
        return stage

    stage = asyncio.run(play())
    best = stage.status["best"]
    assert (best["gpuCount"], best["batchSize"], best["throughput"]) == (2, 64, "857.419")
    assert stage.condition("Succeeded") == ("True", "MaxTrialsReached")
    assert stage.status["progress"] == "4/4"
    assert stage.recorded() == (stage.created_jobs(), stage.created_jobs())
    assert {job["spec"]["ttlSecondsAfterFinished"] for job in stage.cluster.all("jobs")} == {86400}
    assert Counter(stage.events()) == {
        "Valid": 1,
        "RoundStarted": 1,
        "TrialMeasured": 4,
        "Succeeded": 1,
        "Published": 1,
    }


def test_a_settled_study_makes_no_requests() -> None:
    """Once its last pass changed nothing, a pass makes no request and schedules no further pass."""

    async def play() -> tuple[int, float | None, tuple[object, ...]]:
        stage = Stage(**PUBLISHED)
        operator = await stage.operator()
        await operator.settle()
        operator.reconciler.recheck_published()  # of a study that is not settled there is nothing to check
        await stage.finish(operator)
        assert list(operator.reconciler._store._known) == []  # its journal leaves memory
        requests = len(operator.wire.requests)
        wait = await operator.reconcile()
        await operator.reconcile()
        return len(operator.wire.requests) - requests, wait, operator.reconciler.unfinished()

    assert asyncio.run(play()) == (0, None, ())


def test_a_pass_that_finds_nothing_new_writes_nothing() -> None:
    """Neither a live run nor an ended one costs a request, however often the study is reconciled."""

    async def play() -> list[str]:
        stage = Stage(budget={"maxTrials": 4, "parallelTrials": 1})
        operator = await stage.operator()
        stage.nodes.finish(await stage.work(operator))
        await stage.later(operator)
        stage.nodes.start(stage.runs[-1])
        await stage.later(operator)
        requests = len(operator.wire.requests)
        for _ in range(3):
            stage.cluster.clock.advance(6)
            assert await operator.reconcile() is None
        assert operator.reconciler.unfinished() == (KEY,)
        return operator.said(requests)

    assert asyncio.run(play()) == []


@pytest.mark.parametrize("change", ["node", "spec", "job"])
def test_a_settled_study_is_reconciled_again_when_what_it_depends_on_changes(change: str) -> None:
    """Another GPU, another spec, or a Job without a time to live: not one of them is overlooked."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, retune={"debounce": "0s"})
        operator = await stage.operator()
        await stage.finish(operator)
        await operator.settle()
        match change:
            case "node":
                stage.cluster.delete("nodes", NODE)
                stage.cluster.create("nodes", gpu_node("n2", product="NVIDIA-A100-SXM4-80GB", memory_mb=81920))
            case "spec":
                stage.cluster.change(workload={"maxNewTokens": 64})
            case _:
                stage.cluster.patch("jobs", stage.run, {"spec": {"ttlSecondsAfterFinished": None}})
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    if change == "job":
        assert stage.cluster.get("jobs", stage.run)["spec"]["ttlSecondsAfterFinished"] == 86400
    else:
        assert len(stage.runs) == 2
        assert stage.status["pools"][0]["round"] == 2


def test_success_is_reported_only_when_every_run_has_ended() -> None:
    """A spent budget stops the other run: until its Pod is gone the study is active, and nothing is published."""

    async def play() -> tuple[Stage, list[object]]:
        stage = Stage(
            searchSpace={"gpuCount": [2], "batchSize": [8, 16]},
            budget={"maxTrials": 2, "parallelTrials": 2, "deadline": "100s"},
            **PUBLISHED,
        )
        operator = await stage.operator()
        await operator.settle()
        for run in stage.runs:
            stage.nodes.start(run)
        stage.nodes.finish(stage.runs[0])
        stage.nodes.holds = hang
        await operator.settle()
        stage.cluster.clock.advance(101)
        await stage.later(operator)
        before = [stage.condition("Succeeded"), stage.condition("Ready"), stage.cluster.find("configmaps", "best")]
        stage.nodes.let_go()
        await operator.settle()
        return stage, before

    stage, before = asyncio.run(play())
    assert before == [("False", "Terminating"), ("False", "Terminating"), None]
    assert stage.condition("Succeeded") == ("True", "DeadlineReached")
    assert stage.cluster.find("configmaps", "best") is not None
    assert stage.status["best"]["batchSize"] == 8


def test_a_deadline_ends_live_runs() -> None:
    """It is the time of the next pass; the run's Job is deleted, and a study that found nothing is stalled."""

    async def play() -> tuple[Stage, float | None]:
        stage = Stage(searchSpace=ONE_CELL, budget={"deadline": "100s"})
        operator = await stage.operator()
        wait = await operator.settle()
        await stage.work(operator)
        stage.cluster.clock.advance(93.5)
        assert await operator.settle() == 1.0  # half a second before it
        stage.cluster.clock.advance(0.5)
        await operator.settle()
        stage.nodes.let_go()
        await operator.settle()
        return stage, wait

    stage, wait = asyncio.run(play())
    assert wait == 100
    assert stage.row()[:2] == ("Broken", "DeadlineReached")
    assert stage.condition("Stalled") == ("True", "NothingEligible")
    assert stage.runs == []
    assert "RunBroken" not in stage.events()


def test_a_deadline_counts_from_when_a_suspended_study_is_resumed() -> None:
    """A study that is created suspended has not begun: nothing is recorded of it, and no Job is created."""

    async def play() -> tuple[Stage, bool]:
        stage = Stage(searchSpace=ONE_CELL, suspend=True, budget={"deadline": "100s"})
        operator = await stage.operator()
        await operator.settle()
        stage.cluster.clock.advance(1000)
        await operator.settle()
        nothing = stage.journals() == stage.runs == [] and stage.condition("Suspended") == ("True", "Suspended")
        stage.cluster.change(suspend=False)
        await stage.finish(operator)
        return stage, nothing

    stage, nothing = asyncio.run(play())
    assert nothing
    assert stage.row()[:2] == ("Measured", None)


@pytest.mark.parametrize(("scheduled", "is_spent"), [(50, True), (1000, False)])
def test_gpu_hours_count_from_when_devices_are_held(scheduled: float, is_spent: bool) -> None:  # noqa: FBT001
    """A run's time before its Pod got a node is free; when the hours are spent the run ends, and pays for its end."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget={"maxGPUHours": "0.1"})  # 180 s of two GPUs
        operator = await stage.operator()
        await operator.settle()
        stage.nodes.holds = hang
        stage.cluster.clock.advance(scheduled)
        stage.nodes.step()
        await operator.settle()
        stage.cluster.clock.advance(1100 - scheduled)
        await operator.settle()
        stage.cluster.clock.advance(20)
        stage.nodes.let_go()
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    if is_spent:
        assert stage.row()[:2] == ("Broken", "GPUHoursSpent")
        assert float(stage.status["gpuHours"]) == pytest.approx(1070 * 2 / 3600, abs=0.001)
    else:
        assert stage.status["trials"][0]["state"] == "Running"


def test_runs_at_once_keep_to_the_budget() -> None:
    """No more runs, no more GPUs, and no more than there are on the nodes; no fewer if they fit."""

    async def play(**budget: int) -> tuple[int, int]:
        stage = Stage(searchSpace={"gpuCount": [4], "batchSize": [1, 2, 4, 8]}, budget={"maxTrials": 4, **budget})
        await (await stage.operator()).settle()
        return len(stage.runs), sum(stage.nodes.spec(run).gpu_count for run in stage.runs)

    assert asyncio.run(play(parallelTrials=1)) == (1, 4)
    assert asyncio.run(play(parallelTrials=3, maxConcurrentGPUs=8)) == (2, 8)
    assert asyncio.run(play(parallelTrials=3, maxConcurrentGPUs=64)) == (2, 8)


def test_a_raised_budget_continues_the_search() -> None:
    """The same round, and nothing is repeated."""

    async def play() -> Stage:
        stage = Stage(budget={"maxTrials": 2})
        operator = await stage.operator()
        await stage.finish(operator)
        assert stage.condition("Succeeded") == ("True", "MaxTrialsReached")
        stage.cluster.change(budget={"maxTrials": 4})
        await operator.settle()
        assert stage.condition("Succeeded") == ("False", "Starting")
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.status["progress"] == "4/4"
    assert set(stage.created_jobs().values()) == {1}
    assert len(stage.created_jobs()) == 4
    assert {trial["round"] for trial in stage.status["trials"]} == {1}
    assert stage.status["observedGeneration"] == 2


@pytest.mark.parametrize("by", ["spec", "node", "pool"])
def test_a_superseded_run_is_ended(by: str) -> None:
    """Its numbers could not be compared any more; the next round begins when its devices are free."""

    async def play() -> tuple[Stage, str, list[Any]]:
        stage = Stage(searchSpace=ONE_CELL, retune={"debounce": "0s"})
        operator = await stage.operator()
        run = await stage.work(operator)
        match by:
            case "spec":
                stage.cluster.change(workload={"maxNewTokens": 64})
            case "node":
                stage.cluster.delete("nodes", NODE)
                stage.cluster.create("nodes", gpu_node("n2", product="NVIDIA-A100-SXM4-80GB", memory_mb=81920))
            case _:
                stage.cluster.change(nodePools=[{"name": "other", "gpuProduct": "A100"}])
        await stage.later(operator)
        ending = [(each["name"], each["state"]) for each in stage.status["runs"] if each["name"] == run]
        stage.nodes.let_go()
        await stage.finish(operator)
        return stage, run, ending

    stage, run, ending = asyncio.run(play())
    assert ending == [(run, "Terminating")]
    ends = {(each["run"] == run, each["state"], each.get("reason")) for each in stage.status["trials"]}
    assert ends == {(True, "Broken", "Superseded"), (False, "Measured", None)}
    assert run not in stage.runs
    assert stage.status["pools"][0]["round"] == (1 if by == "pool" else 2)
    assert stage.recorded()[1][run] == 1


def test_a_broken_run_is_retried_and_reported() -> None:
    """Within the budget, under another name; each one that broke by itself is an Event."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, budget={"maxTrials": 1, "maxFailedTrials": 1})
        operator = await stage.operator()
        for _ in range(2):
            await operator.settle()
            stage.nodes.start(stage.runs[-1])
            stage.nodes.crash(stage.runs[-1])
            await operator.settle()
        assert stage.condition("Stalled") == ("True", "TooManyFailures")
        stage.cluster.change(budget={"maxFailedTrials": 2})
        stage.cluster.clock.advance(30)
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.row()[:2] == ("Measured", None)
    assert stage.status["trials"][0]["attempts"] == 3
    assert stage.events().count("RunBroken") == 2


def test_a_pause_after_broken_runs_is_waited_for() -> None:
    """The next pass is wanted when the pause is over, and no Job is created before."""

    async def play() -> tuple[Stage, float | None, int]:
        stage = Stage(searchSpace=ONE_CELL, budget={"maxTrials": 1, "maxFailedTrials": 5})
        operator = await stage.operator()
        for _ in range(2):
            await operator.settle()
            stage.nodes.start(stage.runs[-1])
            stage.nodes.crash(stage.runs[-1])
        wait = await operator.settle()
        assert operator.reconciler.unfinished() == (KEY,)
        before = len(stage.runs)
        stage.cluster.clock.advance(wait or 0)
        await operator.settle()
        return stage, wait, before

    stage, wait, before = asyncio.run(play())
    assert wait is not None
    assert 0 < wait <= 10
    assert (before, len(stage.runs)) == (2, 3)


def test_nodes_that_are_away_are_waited_for() -> None:
    """A pool without nodes is a reason, no Job is created, and the study begins when the nodes come."""

    async def play() -> tuple[Stage, Mapping[str, Any], bool]:
        stage = Stage(searchSpace=ONE_CELL)
        stage.cluster.delete("nodes", NODE)
        operator = await stage.operator()
        assert await operator.settle() is None
        before, unfinished = stage.condition("Ready"), operator.reconciler.unfinished() == (KEY,)
        assert stage.journals() == stage.runs == []
        stage.cluster.create("nodes", gpu_node(NODE))
        await stage.finish(operator)
        return stage, {"ready": before}, unfinished

    stage, before, unfinished = asyncio.run(play())
    assert before == {"ready": ("False", "NoMatchingNodes")}
    assert unfinished
    assert stage.row()[:2] == ("Measured", None)


def test_the_memory_of_a_deleted_study_is_dropped() -> None:
    """Nothing of it stays in memory, not even of the run that was at work, whose Job is read by its name once."""

    async def play() -> tuple[list[str], list[object]]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        run = await stage.work(operator)
        uid = stage.cluster.get("throughputstudies")["metadata"]["uid"]
        assert list(operator.reconciler._store._known) == [uid]
        stage.cluster.delete("throughputstudies")
        stage.nodes.let_go()
        requests = len(operator.wire.requests)
        for _ in range(2):
            assert await operator.reconcile() is None
        left = [*operator.memories, *operator.reconciler.unfinished(), *operator.reconciler._store._known]
        return operator.said(requests), [*left, operator.cache.deleted_job(KEY, run, study_uid=uid)]

    assert asyncio.run(play()) == (["GET jobs"], [None])


def test_a_study_of_the_same_name_begins_from_nothing() -> None:
    """The runs of the one before are not its own, by name and by journal."""

    async def play() -> tuple[Stage, set[str]]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await stage.finish(operator)
        before = set(stage.created_jobs())
        stage.cluster.delete("throughputstudies")
        stage.cluster.create("throughputstudies", make_study_body(searchSpace=ONE_CELL))
        await stage.finish(operator)
        return stage, before

    stage, before = asyncio.run(play())
    assert stage.row() == ("Measured", None, 1)
    assert len(stage.runs) == 1
    assert before.isdisjoint(stage.runs)


def test_a_study_may_be_dropped_while_all_are_gone_through() -> None:
    """The tick goes through the studies while passes drop those that are gone."""
    memories = StudyMemories()
    for name in ("one", "two"):
        memories.of(StudyKey(KEY.namespace, name))
    for memory in memories:
        memories.drop(memory.key)
    assert list(memories) == []
