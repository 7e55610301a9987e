"""Every study store keeps the contract of its port."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factories.memory_store import MemoryStore
from factories.runs import ENGINE, ROUND, make_finished, make_lost, make_started
from factories.studies import START
from infpop_operator.adapters.directory_store import DirectoryStore
from infpop_operator.core.model import Hardware
from infpop_operator.core.ports import StudyStore

Reopen = Callable[[], StudyStore]  # the store as seen by a process that starts after the previous one has died


@pytest.fixture(params=["directory", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Yield a function that opens the store under test repeatedly."""
    with ExitStack() as stack:
        memory = MemoryStore()

        def reopened() -> StudyStore:
            if request.param == "memory":
                return memory
            stack.close()
            return stack.enter_context(DirectoryStore(tmp_path / "out", namespace="", study="study"))

        yield reopened


def test_a_new_study_has_an_empty_history_that_starts_now(reopen: Reopen) -> None:
    """A study that was never tuned has no records."""
    history = reopen().load(START)
    assert (history.started_at, history.rounds, history.ended, history.active) == (START, (), (), ())


def test_the_start_of_a_study_is_its_first_start(reopen: Reopen) -> None:
    """A deadline counts from the first start, however often a study is resumed."""
    reopen().load(START)
    assert reopen().load(START + timedelta(days=1)).started_at == START


def test_everything_recorded_comes_back_as_it_was(reopen: Reopen) -> None:
    """Rounds, live runs, results and losses survive a restart to the last field and type."""
    first, second, third = (make_started(f"study-{number}", index=2 * number) for number in (1, 2, 3))
    store = reopen()
    store.load(START)
    for entry in (ROUND, first, second, make_finished(first), third, make_lost(third)):
        store.record(entry)
    history = reopen().load(START)
    assert history.rounds == (ROUND,)
    assert history.ended == (make_finished(first), make_lost(third))
    assert history.active == (second,)


def test_a_round_of_which_more_is_known_keeps_its_place(reopen: Reopen) -> None:
    """The last observed hardware counts; another round with its number does not replace it."""
    other = replace(ROUND, pool="v100")
    known = replace(ROUND, hardware=Hardware(fingerprint="f", gpu_model="A100", device_count=8), engine=ENGINE)
    smaller = replace(known, hardware=Hardware(fingerprint="f", gpu_model="A100", device_count=4))
    store = reopen()
    store.load(START)
    for entry in (ROUND, other, known, smaller, replace(known, identity="another")):
        store.record(entry)
    assert reopen().load(START).rounds == (smaller, other)


def test_a_step_recorded_twice_counts_once(reopen: Reopen) -> None:
    """Repeating a step after a crash changes nothing."""
    started = make_started()
    store = reopen()
    store.load(START)
    for entry in (ROUND, ROUND, started, started, make_finished(started), make_finished(started), started):
        store.record(entry)
    history = reopen().load(START)
    assert (history.rounds, history.ended, history.active) == ((ROUND,), (make_finished(started),), ())
