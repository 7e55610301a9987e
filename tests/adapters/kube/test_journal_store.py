"""The journal on a cluster: recorded steps are read back, and no step is ever overwritten."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from adapters.kube.api_server import ApiServer, api_server
from factories.kube_objects import OWNER
from factories.runs import ROUND, make_finished, make_lost, make_started
from factories.studies import START
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeConflictError
from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.core.errors import StoreError
from infpop_operator.core.history_diff import Entry
from infpop_operator.core.model import EndedRun, History, Lost

FIRST = f"study-{OWNER.uid[:8]}-journal-0"
Scenario = Callable[[ApiServer, Callable[[], JournalStore]], Awaitable[None]]


def played(scenario: Scenario) -> None:
    """Run a scenario with an API server and a function that opens stores on it, each for another operator."""

    async def play() -> None:
        async with api_server() as server, KubeClient(server.connection()) as client:
            await scenario(server, lambda: JournalStore(client))

    asyncio.run(play())


def long_loss(index: int, letter: str, length: int) -> EndedRun:
    """Return the end of a run with a long explanation."""
    started = make_started(f"study-{index}", index=index)
    lost = Lost(reason="Killed", detail=letter * length, ended_at=START + timedelta(seconds=5))
    return EndedRun(run=started.run, started_at=started.started_at, observation=lost)


async def loaded(store: JournalStore) -> History:
    """Return the history as it is read."""
    return await store.load(OWNER, START)


def test_what_was_remembered_comes_back() -> None:
    """Another operator reads the steps unchanged, to the last field."""

    async def scenario(server: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        first, second = make_started("study-1"), make_started("study-2", index=2)
        store = open_store()
        await store.record(OWNER, (ROUND, first), START)
        known = await store.record(OWNER, (make_finished(first), second), START)
        assert await loaded(open_store()) == known
        assert (known.rounds, known.ended, known.active) == ((ROUND,), (make_finished(first),), (second,))
        assert list(server.config_maps) == [FIRST]

    played(scenario)


def test_after_a_damaged_step_was_deleted_no_other_is_written_over() -> None:
    """The message names the key to delete; later steps keep their keys."""

    async def scenario(server: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        first, second, third = (make_started(f"study-{number}", index=2 * number) for number in (1, 2, 3))
        await open_store().record(OWNER, (ROUND, first, second), START)
        data = server.config_maps[FIRST]["data"]
        data["000002"] = "{"
        with pytest.raises(StoreError, match=r"step 000002: damaged .* delete this key"):
            await loaded(open_store())
        del data["000002"]
        await open_store().record(OWNER, (third,), START)
        assert (await loaded(open_store())).active == (second, third)

    played(scenario)


def test_a_key_that_is_not_a_step_is_reported() -> None:
    """If a user edited the journal by hand, the store guesses nothing."""

    async def scenario(server: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        await open_store().record(OWNER, (ROUND,), START)
        data = server.config_maps[FIRST]["data"]
        data["note"] = data["000001"]
        with pytest.raises(StoreError, match=r"step note: damaged"):
            await loaded(open_store())

    played(scenario)


def test_a_journal_that_was_emptied_starts_over() -> None:
    """Its ConfigMap still exists and takes the first step again."""

    async def scenario(server: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        await open_store().record(OWNER, (ROUND,), START)
        server.config_maps[FIRST]["data"] = {}
        assert (await open_store().record(OWNER, (ROUND,), START)).rounds == (ROUND,)
        assert (await loaded(open_store())).rounds == (ROUND,)

    played(scenario)


def test_a_config_map_of_another_owner_is_not_part_of_it() -> None:
    """InfPop's labels and owner on a foreign ConfigMap do not make it a journal."""

    async def scenario(server: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        await open_store().record(OWNER, (ROUND,), START)
        foreign = server.config_maps[FIRST]
        for name in ("notes", f"{FIRST}x", "study-other-journal-7"):
            copied = {**foreign, "metadata": {**foreign["metadata"], "name": name}, "data": {"a": "b"}}
            server.config_maps[name] = copied
        assert (await loaded(open_store())).rounds == (ROUND,)

    played(scenario)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("letter", ["a", "ü", "€", '"'])
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_no_config_map_outgrows_what_the_api_server_takes(letter: str, at_once: int) -> None:
    """This holds for any number of steps in one write, and for any characters."""
    steps: list[Entry] = [long_loss(index, letter, 10_000) for index in range(100)]

    async def scenario(server: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        store = open_store()
        for first in range(0, len(steps), at_once):
            await store.record(OWNER, steps[first : first + at_once], START)
        assert list((await loaded(open_store())).ended) == steps
        assert len(server.config_maps) > 1

    played(scenario)


@pytest.mark.parametrize("filled", [0, 20, 38, 39, 40, 41, 60])
def test_of_two_operators_one_is_refused(filled: int) -> None:
    """Whatever each operator adds and however full the journal is: the one with stale data must read again."""

    async def scenario(_: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        one, other = open_store(), open_store()
        await one.record(OWNER, [ROUND, *(long_loss(index, "a", 10_000) for index in range(filled))], START)
        await loaded(other)
        await one.record(OWNER, [long_loss(100, "b", 30_000)], START)
        late = make_lost(make_started("study-late", index=9))
        with pytest.raises(KubeConflictError):
            await other.record(OWNER, [late], START)
        assert (await other.record(OWNER, [late], START)).ended[-1] == late
        assert len((await loaded(open_store())).ended) == filled + 2

    played(scenario)


def test_a_study_begins_with_its_first_step() -> None:
    """A study that was reconciled for an hour without a step, because it is suspended, has not started."""

    async def scenario(_: ApiServer, open_store: Callable[[], JournalStore]) -> None:
        store, later = open_store(), START + timedelta(hours=1)
        await store.load(OWNER, START)
        known = await store.record(OWNER, (ROUND,), later)
        assert known.started_at == later
        assert (await loaded(open_store())).started_at == later

    played(scenario)
