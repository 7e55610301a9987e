"""The ConfigMaps that a study publishes to: written when it has succeeded, checked now and then, never another's."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.nodes import gpu_node
from reconcile.memory_cluster import Answer, Request, refusal
from reconcile.operators import Operator
from reconcile.played_nodes import NODE
from reconcile.published import PUBLISHED, published_by
from reconcile.stage import ONE_CELL, Stage
from reconcile.wire import CarryOut


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
    assert asked == [[], ["GET configmaps", "POST configmaps", "GET configmaps", "POST events"], []]
    assert stage.events().count("PublishRestored") == 1
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


def test_a_new_best_within_the_noise_changes_no_config_map() -> None:
    """More trials find one that is half a percent better: it is the best, and what is published stays as it is."""

    async def play() -> tuple[Stage, Mapping[str, Any]]:
        stage = Stage(budget={"maxTrials": 1}, **PUBLISHED)
        stage.nodes.throughput = lambda *_: 1000.0
        operator = await stage.operator()
        await stage.finish(operator)
        before = published_by(stage)
        stage.nodes.throughput = lambda *_: 1005.0
        stage.cluster.change(budget={"maxTrials": 2})
        await stage.finish(operator)
        return stage, before

    stage, before = asyncio.run(play())
    assert stage.status["best"]["throughput"] == "1005"
    assert stage.status["published"]["throughput"] == "1000"
    after = published_by(stage)
    assert {key for key in after if after[key] != before[key]} == {"study.yaml"}
    assert stage.events().count("Published") == 1


def test_the_condition_and_the_status_say_what_is_published_and_why() -> None:
    """They name it with its reason, its arguments and what it was measured with."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, **PUBLISHED)
        await stage.finish(await stage.operator())
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Published") == ("True", "Published")
    row = stage.status["published"]
    assert (row["pool"], row["round"], row["gpuCount"], row["batchSize"], row["reason"]) == (
        "a100",
        1,
        2,
        8,
        "FirstResult",
    )
    assert (row["model"], row["engine"], row["image"]) == ("example/model", "vllm", "example.org/runner:1")
    assert row["engineArgs"] == stage.status["best"]["engineArgs"]
    assert json.loads(published_by(stage)["best.json"]) == row


def test_a_study_that_does_not_publish_records_and_shows_nothing() -> None:
    """If it names a ConfigMap later, its first publication is that moment's best."""

    async def play() -> tuple[Stage, bool]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await stage.finish(operator)
        shown = "published" in stage.status
        stage.cluster.change(**PUBLISHED)
        await stage.finish(operator)
        return stage, shown

    stage, shown = asyncio.run(play())
    assert not shown
    assert stage.status["published"]["reason"] == "FirstResult"
    assert published_by(stage)["GPU_COUNT"] == "2"


@pytest.mark.parametrize(
    "status",
    [
        None,
        {"published": {"gpuCount": 99, "throughput": "1e9"}},
        {"best": {"gpuCount": 99, "engineArgs": ["--theirs"]}, "published": None},
        {"published": {"engineArgs": ["--theirs"], "at": "2036-01-01T00:00:00Z"}},
    ],
    ids=["wiped", "another number", "another best", "other arguments"],
)
@pytest.mark.parametrize("restarts", [False, True])
def test_a_status_that_others_change_publishes_nothing(status: Mapping[str, Any] | None, *, restarts: bool) -> None:
    """What is published follows from the journal: the status is put right, and no ConfigMap changes."""

    async def play() -> tuple[Stage, list[Any]]:
        stage = Stage(searchSpace=ONE_CELL, **PUBLISHED)
        operator = await stage.operator()
        await stage.finish(operator)
        before = [
            stage.status["published"],
            stage.cluster.get("configmaps", "best"),
            stage.cluster.get("configmaps", "best-vars"),
        ]
        stage.forge(status or {}, whole=status is None)
        if restarts:
            operator = await stage.operator()
        for _ in range(2):
            operator.reconciler.recheck_published()
            await stage.later(operator)
        return stage, before

    stage, before = asyncio.run(play())
    after = [
        stage.status["published"],
        stage.cluster.get("configmaps", "best"),
        stage.cluster.get("configmaps", "best-vars"),
    ]
    assert after == before
    assert stage.events().count("Published") == 1


@pytest.mark.parametrize("changes", [{"data": {"ARGS_JSON": "[]"}}, None], ids=["edited", "deleted"])
def test_what_others_change_is_put_right_while_a_search_goes_on(changes: Mapping[str, Any] | None) -> None:
    """A new round takes hours, and what is served with must not be theirs until then; the spec's changes wait."""

    async def play() -> tuple[Stage, Mapping[str, Any]]:
        stage = Stage(searchSpace=ONE_CELL, **PUBLISHED)
        operator = await stage.operator()
        await stage.finish(operator)
        before = published_by(stage)
        stage.cluster.change(searchSpace={"gpuCount": [2], "batchSize": [8, 16]}, budget={"maxTrials": 5})
        stage.nodes.holds = lambda _: True
        await operator.settle()
        assert published_by(stage) == before
        if changes is None:
            stage.cluster.delete("configmaps", "best")
        else:
            stage.cluster.patch("configmaps", "best", changes)
        operator.reconciler.recheck_published()
        await operator.settle()
        return stage, before

    stage, before = asyncio.run(play())
    assert stage.condition("Succeeded") != ("True", "SpaceExhausted")
    assert {key: text for key, text in published_by(stage).items() if key != "study.yaml"} == {
        key: text for key, text in before.items() if key != "study.yaml"
    }
    assert stage.events().count("PublishRestored") == 1
    assert stage.events().count("Published") == 1


def test_the_journal_has_what_is_published_before_any_config_map_does() -> None:
    """An operator that dies in between leaves the next one to write just that, whatever the best is by then."""

    async def refuse(request: Request, carry_out: CarryOut) -> Answer:
        is_best = request.said == "POST configmaps" and request.body["metadata"]["name"].startswith("best")
        return refusal(503, "ServiceUnavailable", "later") if is_best else await carry_out()

    async def play() -> Stage:
        stage = Stage(budget={"maxTrials": 1}, **PUBLISHED)
        stage.nodes.throughput = lambda *_: 1000.0
        operator = await stage.operator(interference=refuse)
        for _ in range(8):
            await operator.try_pass()
            stage.nodes.step()
        assert stage.cluster.find("configmaps", "best") is None
        stage.nodes.throughput = lambda *_: 1005.0
        stage.cluster.change(budget={"maxTrials": 2})
        await stage.finish(await stage.operator())
        return stage

    stage = asyncio.run(play())
    assert published_by(stage)["THROUGHPUT"] == "1000"
    assert stage.status["published"]["reason"] == "FirstResult"
    assert stage.status["best"]["throughput"] == "1005"


FAST_ALONE = {(2, 8): 1000.0, (4, 8): 900.0}
RETUNED: Mapping[str, tuple[dict[str, object], dict[tuple[int, int], float], tuple[str, str, str, str]]] = {
    "better": ({}, {(2, 8): 1000.0, (4, 8): 1500.0}, ("4", "1500", "2", "Better")),
    "within the noise": ({}, {(2, 8): 2000.0, (1, 8): 1995.0}, ("2", "2000", "2", "WithinNoise")),
    "still the best": ({}, {(2, 8): 3000.0, (4, 8): 20.0}, ("2", "3000", "2", "MeasuredAgain")),
    "too few GPUs": ({"gpus": 1}, {(1, 8): 5.0}, ("1", "5", "2", "CannotRun")),
}


@pytest.mark.parametrize("case", RETUNED)
def test_other_hardware_changes_each_config_map_once(case: str) -> None:
    """Until its round has ended nothing changes; then it is one write each, whether the configuration stays or not."""
    node, rates, expected = RETUNED[case]

    async def play() -> tuple[Stage, list[str]]:
        space = {"gpuCount": [1, 2, 4], "batchSize": [8]}
        stage = Stage(
            searchSpace=space, algorithm={"name": "grid", "trialsPerRun": 1}, retune={"debounce": "30s"}, **PUBLISHED
        )
        stage.nodes.throughput = lambda gpus, batch: FAST_ALONE.get((gpus, batch), 1.0)
        operator = await stage.operator()
        await stage.finish(operator)
        assert published_by(stage)["GPU_COUNT"] == "2"
        requests = len(operator.wire.requests)
        stage.cluster.delete("nodes", NODE)
        stage.cluster.create("nodes", gpu_node("n2", **{"product": "NVIDIA-A100-SXM4-80GB", **node}))
        stage.nodes.throughput = lambda gpus, batch: rates.get((gpus, batch), 1.0)
        for _ in range(60):
            await operator.try_pass()
            if stage.nodes.step() or not stage.is_done() or stage.status["pools"][0]["round"] == 1:
                assert published_by(stage)["ROUND"] == "1"
            stage.nodes.let_go()
            stage.cluster.clock.advance(5.0)
        written = [each.name or "" for each in operator.wire.requests[requests:] if each.said == "PATCH configmaps"]
        return stage, [name for name in written if name.startswith("best")]

    stage, written = asyncio.run(play())
    assert written == ["best", "best-vars"]
    flat, row = published_by(stage), stage.status["published"]
    assert (flat["GPU_COUNT"], flat["THROUGHPUT"], flat["ROUND"], row["reason"]) == expected
    assert flat["GPU_PRODUCT"] == "NVIDIA-A100-SXM4-80GB"
    assert stage.events().count("Published") == 2
    assert "PublishRestored" not in stage.events()
