"""A long journal spans several ConfigMaps: where a step is written, the order of reading, and the owner."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.kube.api_server import ApiServer, api_server
from adapters.kube.recording_server import Request, recording_server
from factories.kube_objects import OWNER
from factories.runs import ROUND, make_finished, make_lost, make_started
from factories.studies import START
from infpop_operator.adapters.journal import Header, encode_entry, encode_line
from infpop_operator.adapters.kube import journal_store
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.core.model import EndedRun

PREFIX = "study-study-ui-journal-"
KEY_BYTES = 6
Scenario = Callable[[ApiServer, Callable[..., JournalStore]], Awaitable[None]]


def played(scenario: Scenario) -> None:
    """Run a scenario with an API server and a function that opens stores on it."""

    async def play() -> None:
        async with api_server() as server, KubeClient(server.connection()) as client:
            await scenario(server, lambda **more: JournalStore(client, **more))

    asyncio.run(play())


def loss(number: int) -> EndedRun:
    """Return the end of a run; each has another name."""
    return make_lost(make_started(f"study-{number:03}", index=number))


def bytes_of(*lines: str) -> int:
    """Return the size of lines with their keys."""
    return sum(len(line.encode()) + KEY_BYTES for line in lines)


def steps_of(config_map: Any) -> list[str]:  # noqa: ANN401 - any JSON
    """Return the keys of a ConfigMap's steps."""
    return sorted(config_map["data"])


HEADER = encode_line(Header(namespace="serving", study="study", started_at=START))


def test_segments_beyond_the_tenth_are_read_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps come back in the order of writing, and the next one goes to the newest segment."""
    monkeypatch.setattr(journal_store, "_FULL_BYTES", 1)
    steps = [loss(number) for number in range(13)]

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        for step in steps:
            await open_store().record(OWNER, (step,), START)
        assert len(server.config_maps) == 14  # the header is also a step
        assert list((await open_store().load(OWNER, START)).ended) == steps
        await open_store().record(OWNER, (loss(99),), START)
        assert steps_of(server.config_maps[f"{PREFIX}14"]) == ["000014"]

    played(scenario)


def test_steps_are_read_in_their_order_however_they_come() -> None:
    """A JSON map has no order of its own."""

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        await open_store().record(OWNER, (ROUND, loss(1), loss(2), loss(3)), START)
        (segment,) = server.config_maps.values()
        segment["data"] = dict(reversed(segment["data"].items()))
        assert (await open_store().load(OWNER, START)).ended == (loss(1), loss(2), loss(3))
        await open_store().record(OWNER, (loss(4),), START)
        assert steps_of(server.config_maps[f"{PREFIX}0"])[-1] == "000005"

    played(scenario)


@pytest.mark.parametrize(("room", "segments"), [(0, 2), (1, 1)])
def test_a_segment_that_is_full_gets_no_extra_step(monkeypatch: pytest.MonkeyPatch, room: int, segments: int) -> None:
    """A segment is full when keys and bytes reach the limit, also if another operator filled it."""
    full = bytes_of(HEADER, encode_entry(ROUND), encode_entry(loss(1)))
    monkeypatch.setattr(journal_store, "_FULL_BYTES", full + room)

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        store = open_store()
        await store.record(OWNER, (ROUND, loss(1)), START)
        one = {name: steps_of(content) for name, content in server.config_maps.items()}
        assert one == {f"{PREFIX}0": ["000000", "000001", "000002"]}
        for each in (store, open_store()):
            saved = dict(server.config_maps)
            await each.record(OWNER, (loss(2),), START)
            assert len(server.config_maps) == segments
            assert steps_of(server.config_maps[f"{PREFIX}{segments - 1}"])[-1] == "000003"
            server.config_maps = saved

    played(scenario)


@pytest.mark.parametrize(("room", "writes"), [(0, 1), (-1, 2)])
def test_steps_that_fit_together_are_one_request(monkeypatch: pytest.MonkeyPatch, room: int, writes: int) -> None:
    """They are written all or none; only steps that exceed one request are written by several."""
    lines = (HEADER, encode_entry(ROUND), encode_entry(loss(1)))
    monkeypatch.setattr(journal_store, "_FULL_BYTES", bytes_of(*lines) + room)

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        await open_store().record(OWNER, (ROUND, loss(1)), START)
        assert len([method for method in server.requests if method != "GET"]) == writes

    played(scenario)


def test_a_segment_says_whose_it_is_and_what_is_in_it() -> None:
    """Its labels find it, the study owns it, and each step is one line under its number."""

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        started = make_started()
        await open_store().record(OWNER, (ROUND, started, make_finished(started)), START)
        (segment,) = server.config_maps.values()
        del segment["metadata"]["resourceVersion"]
        assert segment == {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"{PREFIX}0",
                "namespace": "serving",
                "labels": {
                    "app.kubernetes.io/managed-by": "infpop",
                    "infpop.io/study": "study",
                    "infpop.io/content": "journal",
                },
                "ownerReferences": [
                    {
                        "apiVersion": "infpop.io/v1alpha1",
                        "kind": "ThroughputStudy",
                        "name": "study",
                        "uid": "study-uid",
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "data": {
                "000000": HEADER,
                "000001": encode_entry(ROUND),
                "000002": encode_entry(started),
                "000003": encode_entry(make_finished(started)),
            },
        }

    played(scenario)


def test_a_journal_is_asked_for_by_its_labels() -> None:
    """No other ConfigMap is read; a new study has an empty history that starts now."""

    async def play() -> None:
        async with recording_server() as server, KubeClient(server.connection()) as client:
            history = await JournalStore(client).load(OWNER, START)
            selector = "app.kubernetes.io/managed-by=infpop,infpop.io/study=study,infpop.io/content=journal"
            path = "/api/v1/namespaces/serving/configmaps"
            asked = Request(method="GET", path=path, query={"labelSelector": selector, "limit": "100"})
            assert server.requests == [asked]
            assert (history.started_at, history.rounds, history.ended, history.active) == (START, (), (), ())

    asyncio.run(play())


def test_what_an_earlier_study_of_the_name_left_is_not_read() -> None:
    """Those ConfigMaps belong to another uid and are garbage-collected later."""

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        await open_store().record(OWNER, (ROUND, loss(1)), START)
        again = Owner(name="study", namespace="serving", uid="study-uid-2")
        assert (await open_store().load(again, START)).rounds == ()
        (segment,) = server.config_maps.values()
        segment["metadata"]["ownerReferences"] = []
        assert (await open_store().load(OWNER, START)).rounds == ()

    played(scenario)


def test_a_journal_is_read_once_and_then_remembered() -> None:
    """Appending steps needs no further read; after `forget` the journal is read again."""

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        store = open_store()
        await store.load(OWNER, START)
        await store.record(OWNER, (ROUND,), START)
        await store.record(OWNER, (), START)
        known = await store.record(OWNER, (loss(1),), START + timedelta(hours=1))
        assert await store.load(OWNER, START) == known
        assert server.requests == ["GET", "POST", "PATCH"]
        store.forget(OWNER.uid)
        assert await store.load(OWNER, START) == known
        store.forget("another-uid")
        await store.load(OWNER, START)
        assert server.requests == ["GET", "POST", "PATCH", "GET"]

    played(scenario)


def test_the_journal_that_was_used_longest_ago_leaves_memory_first() -> None:
    """The cache holds as many journals as the store may remember."""
    first, second, third = (Owner(name=name, namespace="serving", uid=f"uid-{name}") for name in "abc")

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        store = open_store(remembered=2)
        for owner in (first, second, first, third, first):
            await store.load(owner, START)
        assert server.requests == ["GET"] * 3
        await store.load(second, START)
        assert server.requests == ["GET"] * 4

    played(scenario)


def test_a_step_that_may_have_been_written_is_read_again() -> None:
    """After an error the cache is not trusted: the next load reads what the server has."""

    async def scenario(server: ApiServer, open_store: Callable[..., JournalStore]) -> None:
        store = open_store()
        await store.record(OWNER, (ROUND,), START)
        server.token = "another"  # noqa: S105 - of a test
        with pytest.raises(Exception, match="401"):
            await store.record(OWNER, (loss(1),), START)
        server.token = "first"  # noqa: S105
        await open_store().record(OWNER, (loss(2),), START)
        assert (await store.load(OWNER, START)).ended == (loss(2),)

    played(scenario)
