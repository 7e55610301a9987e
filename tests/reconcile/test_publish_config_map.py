"""The published ConfigMap: its content, when it is written, and which ConfigMaps are never changed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import yaml

from adapters.kube.api_server import ApiServer, api_server
from factories.kube_objects import OWNER
from factories.resolved import make_resolved
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeConflictError
from infpop_operator.api.status_model import Best
from infpop_operator.cluster.events import StudyEvent
from infpop_operator.cluster.publish import publish
from infpop_operator.cluster.resolve import ResolvedStudy

NAME = "study-best"
RESOLVED = make_resolved(publish={"configMap": NAME})
LABELS = {"app.kubernetes.io/managed-by": "infpop", "infpop.io/study": OWNER.name, "infpop.io/content": "best"}
FOREIGN: dict[str, dict[str, str] | None] = {
    "another study's": LABELS | {"infpop.io/study": "other"},
    "another manager's": LABELS | {"app.kubernetes.io/managed-by": "helm"},
    "a journal": LABELS | {"infpop.io/content": "journal"},
    "without labels": {},
    "labels null": None,
}
Publish = Callable[[Best], Awaitable[StudyEvent | None]]


def make_best(batch_size: int = 64, gpu_count: int = 4) -> Best:
    """Return a best configuration, by default of four GPUs."""
    return Best(
        pool="a100",
        round=2,
        gpu_count=gpu_count,
        batch_size=batch_size,
        throughput="4312.5",
        throughput_per_gpu="1078.12",
        spread="0.01",
        run="study-7",
        engine_args=["--tensor-parallel-size=4", f"--max-num-seqs={batch_size}"],
    )


def played(scenario: Callable[[ApiServer, Publish], Awaitable[None]], resolved: ResolvedStudy = RESOLVED) -> None:
    """Run a scenario with an API server and a publisher."""

    async def play() -> None:
        async with api_server() as server, KubeClient(server.connection()) as client:
            await scenario(server, lambda best: publish(client, resolved, best))

    asyncio.run(play())


def foreign(labels: dict[str, str] | None) -> dict[str, Any]:
    """Return a ConfigMap of that name with these labels."""
    metadata = {"name": NAME, "namespace": OWNER.namespace, "labels": labels, "resourceVersion": "7"}
    return {"metadata": metadata, "data": {"args.txt": "--theirs\n"}}


def test_the_first_best_is_a_new_config_map() -> None:
    """Labels name its study, and no owner reference deletes it with the study; its keys serve shells and programs."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        event = await publish(make_best())
        message = f"the best configuration is in ConfigMap {NAME}"
        assert event == StudyEvent(type="Normal", reason="Published", message=message)
        found = server.config_maps[NAME]
        version = found["metadata"].pop("resourceVersion")
        assert version
        assert found["metadata"] == {"name": NAME, "namespace": OWNER.namespace, "labels": LABELS}
        assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
        data = found["data"]
        assert set(data) == {"args", "args.txt", "best.json", "study.yaml"}
        assert json.loads(data["args"]) == ["--tensor-parallel-size=4", "--max-num-seqs=64"]
        assert data["args.txt"] == "--tensor-parallel-size=4\n--max-num-seqs=64\n"
        best = json.loads(data["best.json"])
        assert (best["throughputPerGPU"], best["gpuCount"], "baseline" in best) == ("1078.12", 4, False)
        assert data["best.json"].endswith("}\n")
        assert yaml.safe_load(data["study.yaml"])["metadata"]["name"] == OWNER.name

    played(scenario)


def test_a_study_that_publishes_nothing_asks_for_nothing() -> None:
    """Without spec.publish there is no request and no Event."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        assert await publish(make_best()) is None
        assert server.requests == []

    played(scenario, make_resolved())


def test_the_same_best_is_written_once() -> None:
    """The second time there is no write and no Event."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        await publish(make_best())
        before = server.config_maps[NAME]
        assert await publish(make_best()) is None
        assert server.config_maps[NAME] == before
        assert server.requests == ["GET", "POST", "GET"]

    played(scenario)


def test_another_best_replaces_the_one_before() -> None:
    """The Event names the new configuration; keys that a user added stay."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        await publish(make_best())
        server.config_maps[NAME]["data"]["note"] = "mine"
        event = await publish(make_best(128))
        message = f"ConfigMap {NAME} has a new best configuration: 4 GPUs, batch size 128 on pool a100"
        assert event == StudyEvent(type="Normal", reason="Published", message=message)
        assert server.config_maps[NAME]["data"]["args.txt"].endswith("--max-num-seqs=128\n")
        assert server.config_maps[NAME]["data"]["note"] == "mine"
        event = await publish(make_best(128, gpu_count=1))
        assert event is not None
        assert "configuration: 1 GPU, batch" in event.message

    played(scenario)


@pytest.mark.parametrize("whose", FOREIGN)
def test_a_config_map_that_the_study_did_not_write_is_never_changed(whose: str) -> None:
    """A warning names the ConfigMap and the remedy."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        server.config_maps[NAME] = foreign(FOREIGN[whose])
        event = await publish(make_best())
        assert event is not None
        assert (event.type, event.reason) == ("Warning", "PublishRefused")
        assert event.message == f"ConfigMap {NAME} exists, but this study did not write it; delete it or name another"
        assert server.config_maps[NAME] == foreign(FOREIGN[whose])
        assert server.requests == ["GET"]

    played(scenario)


def test_a_config_map_that_changes_meanwhile_is_not_overwritten() -> None:
    """The write carries the version that was read, so a ConfigMap replaced in between keeps its new content."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        await publish(make_best())
        server.before_patch = lambda: server.config_maps.update({NAME: foreign({})})
        with pytest.raises(KubeConflictError):
            await publish(make_best(128))
        assert server.config_maps[NAME] == foreign({})

    played(scenario)


def test_a_config_map_that_appears_meanwhile_is_left_to_the_next_reconcile() -> None:
    """If two creations race, the later one changes nothing and reports nothing."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        server.before_create = lambda: server.config_maps.update({NAME: foreign({})})
        assert await publish(make_best()) is None
        assert server.config_maps[NAME] == foreign({})

    played(scenario)


@pytest.mark.parametrize("value", ["a\nb", "a\rb"])
def test_an_argument_with_a_line_break_is_not_published(value: str) -> None:
    """The lines of args.txt are the arguments: a round of an older version could have one that would become two."""

    async def scenario(server: ApiServer, publish: Publish) -> None:
        event = await publish(make_best().model_copy(update={"engine_args": [f"--x={value}"]}))
        assert event is not None
        assert (event.type, event.reason) == ("Warning", "PublishRefused")
        assert "line break" in event.message
        assert not server.config_maps

    played(scenario)
