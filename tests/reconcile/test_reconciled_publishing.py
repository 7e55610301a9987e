"""The ConfigMap that a study publishes to: written when it has succeeded, checked now and then, never another's."""

import asyncio

import pytest

from reconcile.memory_cluster import NAMESPACE, Answer, Request, refusal
from reconcile.operators import Operator
from reconcile.stage import ONE_CELL, Stage
from reconcile.wire import CarryOut, let_pass

PUBLISHED = {"publish": {"configMap": "best"}}


def test_a_published_config_map_is_rechecked_on_request() -> None:
    """A ConfigMap that was deleted comes back with the next listing: no watch reports its deletion."""

    async def play() -> tuple[Stage, list[list[str]]]:
        stage = Stage(**PUBLISHED)
        operator = await stage.operator()
        await stage.finish(operator)
        stage.cluster.delete("configmaps", "best")
        asked = []
        for recheck in (False, True, False):
            requests = len(operator.wire.requests)
            if recheck:
                operator.reconciler.recheck_published()
            await operator.reconcile()
            asked.append(operator.said(requests))
        return stage, asked

    stage, asked = asyncio.run(play())
    assert asked == [[], ["GET configmaps", "POST configmaps", "POST events"], []]
    assert "args" in stage.cluster.get("configmaps", "best")["data"]


def test_a_study_without_a_result_publishes_nothing() -> None:
    """It is stalled, and nothing is read or written, not even when published ConfigMaps are rechecked."""

    async def play() -> tuple[Stage, int]:
        stage = Stage(searchSpace={"gpuCount": [1], "batchSize": [128]}, **PUBLISHED)
        operator = await stage.operator()
        for _ in range(6):
            await operator.settle()
            stage.nodes.step()
        requests = len(operator.wire.requests)
        operator.reconciler.recheck_published()
        await operator.settle()
        return stage, len(operator.wire.requests) - requests

    stage, requests = asyncio.run(play())
    assert stage.condition("Stalled") == ("True", "GpuOutOfMemory")
    assert stage.cluster.find("configmaps", "best") is None
    assert requests == 0


def test_a_stalled_study_does_not_publish_the_best_so_far() -> None:
    """Too many runs failed: a search that did not succeed publishes nothing, also when published ones are rechecked."""

    async def play() -> tuple[Stage, int]:
        spec = {
            "searchSpace": {"gpuCount": [2], "batchSize": [8, 64]},
            "budget": {"maxTrials": 2, "maxFailedTrials": 0},
        }
        stage = Stage(**spec, **PUBLISHED)
        operator = await stage.operator()
        await operator.settle()
        stage.nodes.start(stage.run)
        stage.nodes.finish(stage.run)
        await operator.settle()
        last = stage.runs[-1]
        stage.nodes.start(last)
        stage.nodes.crash(last)
        for _ in range(3):
            await operator.settle()
        requests = len(operator.wire.requests)
        operator.reconciler.recheck_published()
        await operator.settle()
        return stage, len(operator.wire.requests) - requests

    stage, requests = asyncio.run(play())
    assert stage.condition("Stalled") == ("True", "TooManyFailures")
    assert stage.status["best"]["batchSize"] in (8, 64)
    assert stage.cluster.find("configmaps", "best") is None
    assert requests == 0


@pytest.mark.parametrize(
    ("code", "reason"), [(403, "Forbidden"), (422, "Invalid")], ids=["a policy refuses it", "it is immutable"]
)
def test_a_config_map_that_cannot_be_published_is_reported(code: int, reason: str) -> None:
    """It delays neither the study's end nor a Job's time to live, and adds no request to later passes."""

    async def refuse(request: Request, carry_out: CarryOut) -> Answer:
        is_best = request.said == "POST configmaps" and request.body["metadata"]["name"] == "best"
        return refusal(code, reason, "denied by policy") if is_best else await carry_out()

    async def play() -> tuple[Stage, int]:
        stage = Stage(searchSpace=ONE_CELL, publish={"configMap": "best"})
        operator = await stage.operator(interference=refuse)
        await stage.finish(operator)
        requests = len(operator.wire.requests)
        await operator.settle()
        return stage, len(operator.wire.requests) - requests

    stage, requests = asyncio.run(play())
    assert stage.events().count("PublishRefused") == 1
    assert stage.is_done()
    assert requests == 0


def test_publishing_is_tried_again_when_the_api_server_did_not_answer() -> None:
    """An outage is no refusal: the study is not left alone before its result is where it should be."""

    async def lose(request: Request, carry_out: CarryOut) -> Answer:
        is_best = request.said == "POST configmaps" and request.body["metadata"]["name"] == "best"
        return refusal(503, "ServiceUnavailable", "later") if is_best else await carry_out()

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, publish={"configMap": "best"})
        operator = await stage.operator(interference=lose)
        for _ in range(8):
            await operator.try_pass()
            stage.nodes.step()
        assert stage.cluster.find("configmaps", "best") is None
        operator.wire.interference = let_pass
        await operator.try_pass()
        return stage

    stage = asyncio.run(play())
    assert stage.cluster.find("configmaps", "best") is not None


@pytest.mark.parametrize("labels", [{}, {"infpop.io/study": "other", "app.kubernetes.io/managed-by": "infpop"}])
def test_a_config_map_that_is_not_the_studys_is_left_alone(labels: dict[str, str]) -> None:
    """A user's, or another study's: an Event says so, once, and the result comes when the ConfigMap is gone."""

    async def play() -> tuple[Stage, Operator, bool]:
        stage = Stage(searchSpace=ONE_CELL, **PUBLISHED)
        content = {"infpop.io/content": "best", **labels}
        metadata = {"name": "best", "namespace": NAMESPACE, "labels": content}
        before = stage.cluster.create("configmaps", {"metadata": metadata, "data": {"args": "[]"}})
        operator = await stage.operator()
        await stage.finish(operator)
        operator.reconciler.recheck_published()
        await operator.settle()
        is_untouched = stage.cluster.get("configmaps", "best") == before
        assert stage.events().count("PublishRefused") == 1
        stage.cluster.delete("configmaps", "best")
        operator.reconciler.recheck_published()
        await operator.settle()
        return stage, operator, is_untouched

    stage, _, is_untouched = asyncio.run(play())
    assert is_untouched
    assert "--max-num-seqs=8" in stage.cluster.get("configmaps", "best")["data"]["args.txt"].splitlines()


def test_a_new_best_is_published() -> None:
    """A later, better result replaces what was published, in one request."""

    async def play() -> tuple[Stage, str, Operator]:
        stage = Stage(budget={"maxTrials": 1}, **PUBLISHED)
        operator = await stage.operator()
        await stage.finish(operator)
        first = stage.cluster.get("configmaps", "best")["data"]["args"]
        stage.nodes.throughput = lambda gpus, batch: 1e6 + gpus + batch
        stage.cluster.change(budget={"maxTrials": 4})
        await stage.finish(operator)
        return stage, first, operator

    stage, first, _ = asyncio.run(play())
    assert stage.cluster.get("configmaps", "best")["data"]["args"] != first
    assert stage.events().count("Published") == 2


def test_what_a_user_changes_in_the_published_config_map_is_put_right() -> None:
    """The arguments are those of the best, and what the user added beside them stays."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, **PUBLISHED)
        operator = await stage.operator()
        await stage.finish(operator)
        stage.cluster.patch("configmaps", "best", {"data": {"args.txt": "--something-else", "mine": "yes"}})
        operator.reconciler.recheck_published()
        await operator.settle()
        return stage

    data = asyncio.run(play()).cluster.get("configmaps", "best")["data"]
    assert "--max-num-seqs=8" in data["args.txt"].splitlines()
    assert data["mine"] == "yes"
