"""Journals that a user deleted, altered or got in the way of: it is reported or put right, and blocks no study."""

import asyncio

import pytest

from infpop_operator.core.errors import StoreError
from reconcile.memory_cluster import NAMESPACE, STUDY, Body
from reconcile.stage import ONE_CELL, Stage, at_work

PREFIX = "-journal-"


def journal_name(stage: Stage, number: int = 0) -> str:
    """Return the name of a segment of the study's journal."""
    return f"{STUDY}-{stage.cluster.get('throughputstudies')['metadata']['uid'][:8]}{PREFIX}{number}"


def messages(stage: Stage, reason: str) -> list[str]:
    """Return the messages of the Events with this reason."""
    return [event["message"] for event in stage.cluster.all("events") if event["reason"] == reason]


@pytest.mark.parametrize("restarted", [False, True], ids=["same operator", "next operator"])
def test_a_deleted_journal_is_reported_and_the_study_measures_again(*, restarted: bool) -> None:
    """The Event says what is lost and what happens now; an ordinary study has no such Event."""

    async def play() -> tuple[Stage, list[str]]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await stage.finish(operator)
        before = messages(stage, "JournalLost")
        stage.cluster.remove("configmaps", journal_name(stage))
        if restarted:
            operator = await stage.operator()
        stage.cluster.change(budget={"maxTrials": 3})
        await stage.finish(operator)
        return stage, before

    stage, before = asyncio.run(play())
    assert before == []
    (message,) = messages(stage, "JournalLost")
    assert "measures everything again" in message
    assert stage.status["trials"][0]["state"] == "Measured"


def test_a_journal_that_is_deleted_under_a_running_study_is_no_outage() -> None:
    """The next entry cannot be added to it: the operator reads what is left, and blames no API server."""

    async def play() -> tuple[Stage, set[tuple[str, str] | None]]:
        stage, operator, run = await at_work()
        stage.cluster.remove("configmaps", journal_name(stage))
        stage.nodes.finish(run)
        seen = set()
        for _ in range(4):
            await operator.try_pass()
            seen.add(stage.condition("Ready"))
        await stage.finish(operator)
        return stage, seen

    stage, seen = asyncio.run(play())
    assert ("False", "ApiUnavailable") not in seen
    assert len(messages(stage, "JournalLost")) == 1


@pytest.mark.parametrize("data", [{"key": "value"}, {"000000": "text"}, {}, None], ids=str)
def test_a_foreign_config_map_with_the_journals_name_does_not_block(data: Body | None) -> None:
    """The operator takes the next name, leaves the foreign one as it is, and finds its journal after a restart."""

    async def play() -> tuple[Stage, Body, Body]:
        stage = Stage(searchSpace=ONE_CELL)
        metadata = {"name": journal_name(stage), "namespace": NAMESPACE, "labels": {"app": "x"}}
        before = stage.cluster.create("configmaps", {"metadata": metadata, **({} if data is None else {"data": data})})
        operator = await stage.operator()
        await operator.settle()
        stage.nodes.step()
        await stage.finish(await stage.operator())
        return stage, before, stage.cluster.get("configmaps", journal_name(stage))

    stage, before, after = asyncio.run(play())
    assert after == before
    assert stage.condition("Succeeded") == ("True", "SpaceExhausted")
    assert stage.created_jobs().total() == 1
    assert "000000" in stage.cluster.get("configmaps", journal_name(stage, 1))["data"]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
        {"labels": {"infpop.io/content": None}},
        {"ownerReferences": None},
        {"labels": {"infpop.io/study": None}, "ownerReferences": None},
    ],
    ids=str,
)
def test_a_journal_with_altered_labels_or_owner_is_restored(changes: Body) -> None:
    """It is ours by its name and content: nothing is measured again, and no measurement is reported as lost."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL)
        await stage.finish(await stage.operator())
        stage.cluster.patch("configmaps", journal_name(stage), {"metadata": changes})
        await stage.finish(await stage.operator())
        return stage

    stage = asyncio.run(play())
    assert stage.created_jobs().total() == 1
    assert messages(stage, "JournalLost") == []
    metadata = stage.cluster.get("configmaps", journal_name(stage))["metadata"]
    assert (metadata["labels"]["infpop.io/content"], len(metadata["ownerReferences"])) == ("journal", 1)


def test_a_journal_without_its_beginning_names_the_config_maps() -> None:
    """An upgrade would not help: the message says what to restore or delete, and the study is stalled until then."""

    async def play() -> tuple[Stage, str]:
        stage, _, _ = await at_work()
        stage.cluster.patch("configmaps", journal_name(stage), {"data": {"000000": None}})
        with pytest.raises(StoreError) as caught:
            await (await stage.operator()).reconcile()
        return stage, str(caught.value)

    stage, message = asyncio.run(play())
    assert journal_name(stage).removesuffix("0") in message
    assert stage.condition("Stalled") == ("True", "JournalUnreadable")
    assert stage.condition("Reconciling") == ("False", "JournalUnreadable")


def test_a_refusal_to_publish_is_a_condition_until_it_is_over() -> None:
    """The study has succeeded, and Published says where its best is, or why it is not there."""

    async def play() -> list[tuple[str, str] | None]:
        stage = Stage(searchSpace=ONE_CELL, publish={"configMap": "best"})
        stage.cluster.create("configmaps", {"metadata": {"name": "best", "namespace": NAMESPACE, "labels": {}}})
        operator = await stage.operator()
        await operator.settle()
        found = [stage.condition("Published")]
        await stage.finish(operator)
        found += [stage.condition("Published"), stage.condition("Succeeded")]
        stage.cluster.delete("configmaps", "best")
        operator.reconciler.recheck_published()
        await operator.settle()
        return [*found, stage.condition("Published")]

    assert asyncio.run(play()) == [
        None,
        ("False", "PublishRefused"),
        ("True", "SpaceExhausted"),
        ("True", "Published"),
    ]
