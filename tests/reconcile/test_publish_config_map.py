"""The published ConfigMaps: their content, when they are written, what is put right, and which are never changed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import yaml

from adapters.kube.api_server import ApiServer, api_server
from factories.kube_objects import OWNER
from factories.resolved import make_resolved
from factories.studies import at
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeConflictError, KubeExistsError
from infpop_operator.api.serving_values import VARIABLES
from infpop_operator.api.status import with_published
from infpop_operator.api.status_model import Published, StudyStatus
from infpop_operator.cluster.publish import Outcome, publish
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.study import Scalar

NAME, VARS = "study-best", "study-best-vars"
LABELS = {"app.kubernetes.io/managed-by": "infpop", "infpop.io/study": OWNER.name, "infpop.io/content": "best"}
FOREIGN: dict[str, dict[str, str] | None] = {
    "another manager's": LABELS | {"app.kubernetes.io/managed-by": "helm"},
    "a journal": LABELS | {"infpop.io/content": "journal"},
    "without labels": {},
    "labels null": None,
}
NOT_OURS = f"ConfigMap {NAME} exists, but this study did not write it; delete it or name another"
WATCHED = {"labels": {"reconcile.fluxcd.io/watch": "Enabled"}, "annotations": {"reloader.stakater.com/match": "true"}}


def make_published(batch_size: int = 64, *, minutes: float = 0, **changes: Scalar) -> Published:
    """Return a publication of four GPUs, by default of the study's start."""
    row = Published(
        pool="a100",
        round=2,
        gpu_count=4,
        batch_size=batch_size,
        throughput="4312.5",
        throughput_per_gpu="1078.12",
        spread="0.01",
        run="study-7",
        engine_args=["--tensor-parallel-size=4", f"--max-num-seqs={batch_size}", "--max-model-len=612"],
        max_model_len=612,
        engine="vllm",
        model="example/model",
        image="example.org/runner:1",
        gpu="NVIDIA-A100-SXM4-40GB",
        at=at(60 * minutes),
        reason="Better",
        message=f"4 GPUs, batch size {batch_size} on pool a100 instead of another: 9.0 % better",
    )
    return row.model_copy(update=changes)


def resolved_with(**publish_changes: object) -> ResolvedStudy:
    """Return a study that publishes."""
    return make_resolved(publish={"configMap": NAME, **publish_changes})


class Publisher:
    """Publishes as passes of the operator do: each one knows the status of the one before."""

    def __init__(self, client: KubeClient, resolved: ResolvedStudy) -> None:
        self.client = client
        self.resolved = resolved
        self.status = StudyStatus()

    async def outcome(self, published: Published, *, while_searching: bool = False) -> Outcome | None:
        """Publish, and return what came of it."""
        found = await publish(
            self.client, self.resolved, published, previous=self.status, while_searching=while_searching
        )
        if found is not None:
            self.status = with_published(self.status, found.state, at(0), previous=self.status)
        return found

    async def __call__(self, published: Published, **changes: bool) -> list[tuple[str, str, str]]:
        """Publish, and return the type, reason and message of each Event."""
        found = await self.outcome(published, **changes)
        return [] if found is None else [(each.type, each.reason, each.message) for each in found.events]

    @property
    def condition(self) -> tuple[str, str]:
        """Return the status and the message of the condition Published."""
        (found,) = self.status.conditions
        return found.status, found.message


def played(scenario: Callable[[ApiServer, Publisher], Awaitable[None]], resolved: ResolvedStudy | None = None) -> None:
    """Run a scenario with an API server and a publisher."""

    async def play() -> None:
        async with api_server() as server, KubeClient(server.connection()) as client:
            await scenario(server, Publisher(client, resolved or resolved_with()))

    asyncio.run(play())


def foreign(labels: dict[str, str] | None) -> dict[str, Any]:
    """Return a ConfigMap of that name with these labels."""
    metadata = {"name": NAME, "namespace": OWNER.namespace, "labels": labels, "resourceVersion": "7"}
    return {"metadata": metadata, "data": {"args.txt": "--theirs\n"}}


def test_the_first_result_is_two_new_config_maps() -> None:
    """Labels name their study, and no owner reference deletes them with it; one has files and variables, one these."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        events = await publish(make_published())
        assert events == [("Normal", "Published", f"ConfigMap {NAME}: {make_published().message}")]
        assert publish.condition == ("True", f"the best configuration is in ConfigMap {NAME}")
        found = server.config_maps[NAME]
        metadata = found["metadata"]
        assert (metadata["name"], metadata["namespace"], metadata["labels"]) == (NAME, OWNER.namespace, LABELS)
        assert "ownerReferences" not in metadata
        assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
        data = found["data"]
        files = {"args", "args.txt", "best.json", "study.yaml", "values.yaml"}
        assert set(data) == files | (
            set(VARIABLES) - {"MODEL_REVISION", "REUSED_FROM", "MAX_NUM_BATCHED_TOKENS", "GPU_MEMORY_UTILIZATION"}
        )
        assert json.loads(data["args"]) == make_published().engine_args
        assert data["args.txt"] == "--tensor-parallel-size=4\n--max-num-seqs=64\n--max-model-len=612\n"
        best = json.loads(data["best.json"])
        assert (best["throughputPerGPU"], best["gpuCount"], "baseline" in best) == ("1078.12", 4, False)
        assert data["best.json"].endswith("}\n")
        assert yaml.safe_load(data["study.yaml"])["metadata"]["name"] == OWNER.name
        assert yaml.safe_load(data["values.yaml"])["infpop"]["gpuCount"] == 4
        flat = server.config_maps[VARS]
        assert flat["metadata"]["labels"] == LABELS
        assert flat["data"] == {key: value for key, value in data.items() if key in VARIABLES}
        assert (flat["data"]["GPU_PRODUCT"], flat["data"]["ENGINE_IMAGE"]) == (
            "NVIDIA-A100-SXM4-40GB",
            "example.org/runner:1",
        )
        assert server.requests == ["GET", "POST", "GET", "POST"]

    played(scenario)


def test_a_study_that_publishes_nothing_asks_for_nothing() -> None:
    """Without spec.publish there is no request and no Event."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        assert await publish.outcome(make_published()) is None
        assert server.requests == []

    played(scenario, make_resolved())


def test_the_same_publication_is_written_once() -> None:
    """The second time there is no write and no Event."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        before = dict(server.config_maps)
        assert await publish(make_published()) == []
        assert server.config_maps == before
        assert server.requests[4:] == ["GET", "GET"]

    played(scenario)


def test_another_publication_replaces_the_one_before() -> None:
    """One write for each ConfigMap, and one Event; keys that a user added stay, and none becomes outdated."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        server.config_maps[NAME]["data"]["note"] = "mine"
        server.requests.clear()
        other = make_published(128, minutes=1, gpu=None, engine_args=["--max-num-seqs=128"])
        assert await publish(other) == [("Normal", "Published", f"ConfigMap {NAME}: {other.message}")]
        assert server.requests == ["GET", "PATCH", "GET", "PATCH"]
        data = server.config_maps[NAME]["data"]
        assert (data["args.txt"], data["note"], data["MAX_NUM_SEQS"]) == ("--max-num-seqs=128\n", "mine", "128")
        for name in (NAME, VARS):
            assert {"GPU_PRODUCT", "TENSOR_PARALLEL_SIZE", "MAX_MODEL_LEN"}.isdisjoint(server.config_maps[name]["data"])

    played(scenario)


def test_numbers_of_a_new_round_are_published_with_their_reason() -> None:
    """The configuration stays: the Event says so, and the ConfigMap has the new numbers."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        again = make_published(minutes=1, round=3, throughput="5000", message="it stays, measured again in round 3")
        assert await publish(again) == [
            ("Normal", "Published", f"ConfigMap {NAME}: it stays, measured again in round 3")
        ]
        assert server.config_maps[VARS]["data"]["THROUGHPUT"] == "5000"

    played(scenario)


def test_what_follows_from_the_spec_waits_for_a_result() -> None:
    """A changed study would otherwise change the ConfigMap twice: at once, and with its result."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        before = dict(server.config_maps)
        publish.resolved = make_resolved(publish={"configMap": NAME}, budget={"maxTrials": 7})
        assert await publish(make_published(), while_searching=True) == []
        assert server.config_maps == before
        assert await publish(make_published()) == []
        assert "maxTrials: 7" in server.config_maps[NAME]["data"]["study.yaml"]

    played(scenario)


def test_a_recorded_publication_is_written_although_the_next_search_has_begun() -> None:
    """The operator died between its record and the ConfigMap, and a new round began meanwhile."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        newer = make_published(throughput="5000", at=make_published().at + timedelta(minutes=5))
        await publish(newer, while_searching=True)
        assert server.config_maps[VARS]["data"]["THROUGHPUT"] == "5000"

    played(scenario)


@pytest.mark.parametrize("while_searching", [False, True])
@pytest.mark.parametrize(
    ("key", "value"), [("args.txt", "--theirs\n"), ("args", None), ("GPU_COUNT", "99"), ("MODEL_REVISION", "theirs")]
)
def test_what_others_change_is_put_right_and_said(key: str, value: str | None, *, while_searching: bool) -> None:
    """The Event names the keys and who changed them; the whole content is the study's again, also during a search."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        before = dict(server.config_maps[NAME]["data"])
        changed = server.config_maps[NAME]
        changed["data"] = {name: text for name, text in {**before, key: value}.items() if text is not None}
        changed["metadata"]["managedFields"] = [
            {"manager": "infpop", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:data": {f"f:{key}": {}}}},
            {"manager": "kubectl-edit", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {f"f:{key}": {}}}},
        ]
        events = await publish(make_published(), while_searching=while_searching)
        what = f"ConfigMap {NAME} was changed by kubectl-edit at 2026-01-01T00:00:00Z ({key})"
        assert events == [("Warning", "PublishRestored", f"{what}: restored to what the study publishes")]
        assert server.config_maps[NAME]["data"] == before
        assert await publish(make_published(), while_searching=while_searching) == []

    played(scenario)


@pytest.mark.parametrize("name", [NAME, VARS])
def test_a_config_map_that_was_deleted_is_written_again_and_said(name: str) -> None:
    """It is no new publication: what serves with it has the same arguments."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        before = server.config_maps.pop(name)
        events = await publish(make_published(), while_searching=True)
        message = f"ConfigMap {name} was deleted: restored to what the study publishes"
        assert events == [("Warning", "PublishRestored", message)]
        assert server.config_maps[name]["data"] == before["data"]

    played(scenario)


def test_a_config_map_of_an_earlier_version_gets_the_new_keys_without_an_event() -> None:
    """The configuration is the same: an upgrade is no publication, and no user deleted the second ConfigMap."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        old = server.config_maps[NAME]
        old["metadata"].pop("annotations")
        old["data"] = {key: old["data"][key] for key in ("args", "best.json")} | {"args.txt": "--max-num-seqs=64\n"}
        del server.config_maps[VARS]
        assert await publish(make_published()) == []
        assert server.config_maps[NAME]["data"]["GPU_COUNT"] == server.config_maps[VARS]["data"]["GPU_COUNT"] == "4"
        old = server.config_maps[NAME]
        old["metadata"].pop("annotations")
        assert [each[1] for each in await publish(make_published(128, minutes=1))] == ["Published"]

    played(scenario)


def test_labels_and_annotations_of_the_study_are_kept_in_step() -> None:
    """Those of others stay; one that the study no longer sets is removed, at once, because its user wants that."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        for name in (NAME, VARS):
            metadata = server.config_maps[name]["metadata"]
            assert metadata["labels"] == WATCHED["labels"] | LABELS
            assert metadata["annotations"].items() >= WATCHED["annotations"].items()
            metadata["labels"] = {**metadata["labels"], "theirs": "x", "reconcile.fluxcd.io/watch": "Disabled"}
        content = server.config_maps[NAME]["data"]
        assert await publish(make_published(), while_searching=True) == []
        assert server.config_maps[NAME]["metadata"]["labels"]["reconcile.fluxcd.io/watch"] == "Enabled"
        publish.resolved = resolved_with(annotations={"other": "1"})
        for while_searching in (True, False):
            assert await publish(make_published(), while_searching=while_searching) == []
            metadata = server.config_maps[NAME]["metadata"]
            assert metadata["labels"] == LABELS | {"theirs": "x"}
            assert set(metadata["annotations"]) == {"other", "infpop.io/publication"}
        publish.resolved = resolved_with()
        await publish(make_published(), while_searching=True)
        assert set(server.config_maps[VARS]["metadata"]["annotations"]) == {"infpop.io/publication"}
        assert server.config_maps[NAME]["data"]["args.txt"] == content["args.txt"]

    played(scenario, resolved_with(**WATCHED))


@pytest.mark.parametrize("note", ["", "{", "null", "[]", '{"at": 1}', '{"at": "x", "content": "y", "labels": 5}'])
def test_a_note_that_others_spoil_costs_nothing_but_what_it_said(note: str) -> None:
    """The content is put right all the same."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        found = server.config_maps[NAME]
        found["metadata"]["annotations"]["infpop.io/publication"] = note
        found["data"]["args.txt"] = "--theirs\n"
        await publish(make_published())
        assert server.config_maps[NAME]["data"]["args.txt"].startswith("--tensor-parallel-size=4\n")
        assert await publish(make_published()) == []

    played(scenario)


@pytest.mark.parametrize("whose", FOREIGN)
def test_a_config_map_that_the_study_did_not_write_is_never_changed(whose: str) -> None:
    """A warning names the ConfigMap and the remedy, once; the other ConfigMap is written."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        server.config_maps[NAME] = foreign(FOREIGN[whose])
        events = await publish(make_published())
        assert ("Warning", "PublishRefused", NOT_OURS) in events
        assert publish.condition == ("False", NOT_OURS)
        assert server.config_maps[NAME] == foreign(FOREIGN[whose])
        assert "PATCH" not in server.requests
        assert VARS in server.config_maps
        assert await publish(make_published()) == []

    played(scenario)


def test_the_second_of_two_studies_with_one_config_map_is_refused() -> None:
    """It says whose the ConfigMap is, and what to do; the first study's content stays."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        theirs = foreign(LABELS | {"infpop.io/study": "other"})
        server.config_maps[NAME] = theirs
        (event,) = [each for each in await publish(make_published()) if each[1] == "PublishRefused"]
        assert event[2].startswith(f"ConfigMap {NAME} belongs to study other, which publishes to it; name another in ")
        assert server.config_maps[NAME] == theirs

    played(scenario)


def test_an_immutable_config_map_is_refused_with_the_remedy() -> None:
    """No write is tried, and nothing is said while it is up to date."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        server.config_maps[NAME]["immutable"] = True
        assert await publish(make_published()) == []
        server.requests.clear()
        events = await publish(make_published(128, minutes=1))
        remedy = "delete it, and the operator writes it again"
        refusal = f"ConfigMap {NAME} is immutable, and its content is out of date: {remedy}"
        assert ("Warning", "PublishRefused", refusal) in events
        assert server.requests == ["GET", "GET", "PATCH"]
        assert await publish(make_published(128, minutes=1)) == []
        del server.config_maps[NAME]
        assert [each[1] for each in await publish(make_published(128, minutes=1))] == ["Published"]
        assert publish.condition[0] == "True"

    played(scenario)


def test_a_config_map_that_others_have_filled_is_refused() -> None:
    """A ConfigMap holds 1 MiB: the API server's own words are in the refusal."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        server.config_maps[NAME]["data"]["theirs"] = "x" * (1024 * 1024 - 200)
        events = await publish(make_published(128, minutes=1))
        assert [each[:2] for each in events] == [("Normal", "Published"), ("Warning", "PublishRefused")]
        assert f"It answered: PATCH /api/v1/namespaces/{OWNER.namespace}/configmaps/{NAME}: 422 " in events[1][2]
        assert publish.condition[0] == "False"

    played(scenario)


def test_a_config_map_that_changes_meanwhile_is_not_overwritten() -> None:
    """The write carries the version that was read, so a ConfigMap replaced in between keeps its new content."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        await publish(make_published())
        server.before_patch = lambda: server.config_maps.update({NAME: foreign({})})
        with pytest.raises(KubeConflictError):
            await publish(make_published(128, minutes=1))
        assert server.config_maps[NAME] == foreign({})

    played(scenario)


def test_a_config_map_that_appears_meanwhile_is_left_to_the_next_reconcile() -> None:
    """If two creations race, the later one changes nothing and says nothing: the next pass finds out whose it is."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        server.before_create = lambda: server.config_maps.update({NAME: foreign({})})
        with pytest.raises(KubeExistsError):
            await publish(make_published())
        assert server.config_maps[NAME] == foreign({})

    played(scenario)


@pytest.mark.parametrize("value", ["a\nb", "a\rb"])
def test_an_argument_with_a_line_break_is_not_published(value: str) -> None:
    """The lines of args.txt are the arguments: a round of an older version could have one that would become two."""

    async def scenario(server: ApiServer, publish: Publisher) -> None:
        (event,) = await publish(make_published(engine_args=[f"--x={value}"]))
        assert event[:2] == ("Warning", "PublishRefused")
        assert "line break" in event[2]
        assert not server.config_maps

    played(scenario)
