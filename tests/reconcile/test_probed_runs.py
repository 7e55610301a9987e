"""What the tick asks about live runs: the Pod, or the Events about what does not start, and not before its time."""

import asyncio

from reconcile.operators import KEY, Operator
from reconcile.stage import ONE_CELL, Stage


def test_a_live_run_is_probed_and_its_phase_is_reported() -> None:
    """The phase comes from its Pod, is no news twice, outlives a Pod that says nothing, and goes with the run."""

    async def play() -> tuple[list[str], list[bool]]:
        stage = Stage(searchSpace=ONE_CELL)
        page: list[str] = []
        operator = await stage.operator(page=lambda: "".join(page))
        run = await stage.work(operator)
        page.append(f'infpop_run_state{{namespace="serving",study="study",run="{run}",state="loading"}} 1\n')
        news = [await operator.probe(), await operator.probe()]
        page.clear()
        news.append(await operator.probe())
        await stage.later(operator)
        assert list(operator.memories.of(KEY).probes) == [run]
        states = stage.states()
        stage.nodes.finish(run)
        await operator.settle()
        assert operator.memories.of(KEY).probes == {}
        return states, news

    states, news = asyncio.run(play())
    assert news == [True, False, False]
    assert states == ["ModelLoading"]


def test_events_are_read_only_of_what_should_have_started() -> None:
    """A Job has five seconds to have a Pod, a Pod twenty for its volumes; one that has no image says so itself."""

    async def play() -> list[int]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await operator.settle()
        asked = []

        async def probe(seconds: float) -> None:
            stage.cluster.clock.advance(seconds)
            before = len(operator.wire.requests)
            await operator.probe()
            asked.append(operator.said(before).count("GET events"))

        await probe(5)
        await probe(1)
        stage.nodes.make_pod(stage.run)
        stage.nodes.bind(stage.run)
        await probe(20)
        await probe(1)
        stage.nodes.fail_pull(stage.run)
        await probe(60)
        return asked

    assert asyncio.run(play()) == [0, 1, 0, 1, 0]


def test_a_queued_study_says_why_in_the_words_of_its_queue() -> None:
    """The reason of the Job's Workload is the study's message while nothing else runs."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, scheduling={"queueName": "gpus"})
        operator = await stage.operator()
        await operator.settle()
        uid = stage.cluster.get("jobs", stage.run)["metadata"]["uid"]
        pending = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "request > maximum"}
        metadata = {"name": "w", "namespace": "serving", "labels": {"kueue.x-k8s.io/job-uid": uid}}
        stage.cluster.create("workloads", {"metadata": metadata, "status": {"conditions": [pending]}})
        await operator.probe()
        await stage.later(operator)
        return stage

    conditions = asyncio.run(play()).status["conditions"]
    (ready,) = (each for each in conditions if each["type"] == "Ready")
    assert ready["reason"] == "Queued"
    assert ready["message"].endswith(": Kueue: Pending: request > maximum")


def test_no_event_is_read_of_a_job_that_waits_in_its_queue() -> None:
    """It has no Pod because it is suspended, however long."""

    async def play() -> Operator:
        stage = Stage(searchSpace=ONE_CELL, scheduling={"queueName": "gpus"})
        operator = await stage.operator()
        await operator.settle()
        stage.cluster.clock.advance(600)
        await operator.probe()
        return operator

    assert "GET events" not in asyncio.run(play()).said()
