"""A result that the operator may not or cannot publish: what it says, and when it tries again."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from reconcile.memory_cluster import NAMESPACE, Answer, Request, refusal
from reconcile.operators import Operator
from reconcile.published import PUBLISHED, published_by
from reconcile.stage import ONE_CELL, Stage
from reconcile.wire import CarryOut, let_pass


@pytest.mark.parametrize(
    ("code", "reason", "message", "words"),
    [
        (
            403,
            "Forbidden",
            'User "o" cannot create resource "configmaps"',
            f"the operator may not write ConfigMap best in namespace {NAMESPACE}; give its account get, ",
        ),
        (403, "Forbidden", "denied by policy", "the API server refuses ConfigMap best; correct what it names, or name"),
        (
            403,
            "Forbidden",
            "exceeded quota: few, requested: count/configmaps=1",
            f"a quota of namespace {NAMESPACE} has no room for ConfigMap best; raise the quota or delete a ConfigMap",
        ),
        (
            422,
            "Invalid",
            "[]: Too long: may not be more than 1048576 bytes",
            "ConfigMap best would be larger than 1 MiB; remove the keys of others from it, or name another in",
        ),
    ],
    ids=["no right", "a policy", "a quota", "too large"],
)
def test_a_config_map_that_cannot_be_published_is_reported(code: int, reason: str, message: str, words: str) -> None:
    """The condition says why and what to do, and quotes the API server.

    It delays neither the study's end nor a Job's time to live, and adds no request to later passes.
    """

    async def refuse(request: Request, carry_out: CarryOut) -> Answer:
        is_best = request.said == "POST configmaps" and request.body["metadata"]["name"] == "best"
        return refusal(code, reason, message) if is_best else await carry_out()

    async def play() -> tuple[Stage, int]:
        stage = Stage(searchSpace=ONE_CELL, publish={"configMap": "best"})
        operator = await stage.operator(interference=refuse)
        await stage.finish(operator)
        requests = len(operator.wire.requests)
        await operator.settle()
        return stage, len(operator.wire.requests) - requests

    stage, requests = asyncio.run(play())
    assert stage.events().count("PublishRefused") == 1
    assert stage.condition("Published") == ("False", "PublishRefused")
    (text,) = (each["message"] for each in stage.status["conditions"] if each["type"] == "Published")
    assert text.startswith(words)
    assert "It answered: POST" in text
    assert stage.is_done()
    assert requests == 0


def test_a_long_refusal_is_said_once() -> None:
    """A policy answers in many lines, which the status does not keep as they are: the next pass knows them again."""
    policy = "admission webhook denied the request:\n\n" + "require-owner:\n  label owner is required\n" * 40

    async def refuse(request: Request, carry_out: CarryOut) -> Answer:
        is_best = request.said == "POST configmaps" and request.body["metadata"]["name"].startswith("best")
        return refusal(403, "Forbidden", policy) if is_best else await carry_out()

    async def play() -> list[str]:
        stage = Stage(searchSpace=ONE_CELL, publish={"configMap": "best"})
        operator = await stage.operator(interference=refuse)
        await stage.finish(operator)
        operator.reconciler.recheck_published()
        await operator.settle()
        written = [each for each in operator.wire.requests if each.said == "POST events"]
        return [each.body["reason"] for each in written]

    assert asyncio.run(play()).count("PublishRefused") == 1


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


def test_the_second_of_two_studies_with_one_config_map_is_refused() -> None:
    """It says so once, names the first, and asks for nothing more; the first study's result stays."""

    async def play() -> tuple[Stage, Mapping[str, Any], int]:
        stage = Stage(searchSpace=ONE_CELL, **PUBLISHED)
        await stage.finish(await stage.operator())
        first = published_by(stage)
        other = Stage(searchSpace={"gpuCount": [4], "batchSize": [8]}, **PUBLISHED)
        for name in ("best", "best-vars"):
            known = stage.cluster.get("configmaps", name)
            labels = {**known["metadata"]["labels"], "infpop.io/study": "first"}
            other.cluster.create("configmaps", {**known, "metadata": {**known["metadata"], "labels": labels}})
        operator = await other.operator()
        await other.finish(operator)
        operator.reconciler.recheck_published()
        await operator.settle()
        requests = len(operator.wire.requests)
        await operator.settle()
        return other, first, len(operator.wire.requests) - requests

    stage, first, requests = asyncio.run(play())
    assert published_by(stage) == first
    assert stage.condition("Published") == ("False", "PublishRefused")
    (message,) = [each["message"] for each in stage.status["conditions"] if each["type"] == "Published"]
    assert "ConfigMap best belongs to study first" in message
    assert stage.events().count("PublishRefused") == 1
    assert "Published" not in stage.events()
    assert requests == 0
