"""When the work queue returns to a study: immediately, later, or after a pause that grows with each failure."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.work_queue import FIRST_PAUSE_S, LONGEST_PAUSE_S, WorkQueue
from infpop_operator.core.errors import InfPopError

KEY, OTHER = StudyKey("serving", "study"), StudyKey("serving", "other")
TURNS = 8  # passes of the event loop: more than the queue needs to react


class Luckless(Random):
    """A random generator that always draws the longest pause."""

    def random(self) -> float:
        """Return the upper bound."""
        return 1.0


class Bench:
    """A queue with its own clock; its work does what `outcome` says: returns it, or raises it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.outcome: float | Exception | None = None
        self.marks_itself = False
        self.starts: list[float] = []
        self.work_s = 0.0
        self.watched: list[tuple[float, Exception | None]] = []
        self.queue = WorkQueue(self._work, workers=2, clock=lambda: self.now_s, random=Luckless(), watch=self._watch)

    def _watch(self, seconds: float, error: Exception | None) -> None:
        self.watched.append((seconds, error))

    async def _work(self, key: StudyKey) -> float | None:
        if key != KEY:
            return None
        self.starts.append(self.now_s)
        self.now_s += self.work_s
        if self.marks_itself:
            self.queue.mark(KEY)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def pass_to(self, now_s: float) -> None:
        """Set the clock; another study wakes the queue, which otherwise waits by the machine's clock."""
        self.now_s = now_s
        self.queue.mark(OTHER)
        await self.react()

    async def react(self) -> None:
        """Let the queue work."""
        for _ in range(TURNS):
            await asyncio.sleep(0)


def played(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    """Run a scenario with a queue at work."""

    async def play() -> None:
        bench = Bench()
        running = asyncio.create_task(bench.queue.run())
        await bench.react()
        await scenario(bench)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())


def test_many_marks_are_one_reconcile() -> None:
    """However often a study is marked before its turn, it is reconciled once."""

    async def scenario(bench: Bench) -> None:
        for _ in range(100):
            bench.queue.mark(KEY)
        await bench.react()
        assert bench.starts == [0.0]
        assert bench.queue.depth == 0

    played(scenario)


def test_each_reconcile_is_reported_with_its_time_and_its_error() -> None:
    """The three reconciles are a success, a failure and a defect."""

    async def scenario(bench: Bench) -> None:
        bench.work_s = 1.5
        failures = (None, InfPopError("no answer"), KeyError("defect"))
        for failure in failures:
            bench.outcome = failure
            bench.queue.mark(KEY)
            await bench.pass_to(bench.now_s + LONGEST_PAUSE_S)
        assert [told for told in bench.watched if told[0] > 0] == [(1.5, failure) for failure in failures]

    played(scenario)


def test_the_earliest_mark_counts() -> None:
    """A mark for later neither delays an earlier one nor is kept in addition to it."""

    async def scenario(bench: Bench) -> None:
        bench.queue.mark(KEY, after_s=20)
        bench.queue.mark(KEY, after_s=10)
        bench.queue.mark(KEY, after_s=30)
        await bench.pass_to(9.9)
        assert bench.starts == []
        await bench.pass_to(10)
        await bench.pass_to(100)
        assert bench.starts == [10]

    played(scenario)


def test_work_says_when_to_reconcile_again() -> None:
    """A study is reconciled again after the time that the last pass asked for, and sooner if something happens."""

    async def scenario(bench: Bench) -> None:
        bench.outcome = 15.0
        bench.queue.mark(KEY)
        await bench.react()
        await bench.pass_to(14.9)
        bench.queue.mark(KEY)
        await bench.react()
        bench.outcome = None
        await bench.pass_to(29.9)
        await bench.pass_to(1000)
        assert bench.starts == [0.0, 14.9, 29.9]

    played(scenario)


def test_a_failure_is_tried_again_after_a_pause_that_doubles(caplog: pytest.LogCaptureFixture) -> None:
    """Pauses grow from a fifth of a second to a minute, and each failure is one log line without traceback."""

    async def scenario(bench: Bench) -> None:
        bench.outcome = InfPopError("409 Conflict")
        bench.queue.mark(KEY)
        await bench.react()
        expected, pause_s = 0.0, FIRST_PAUSE_S
        for number in range(12):
            expected += pause_s
            await bench.pass_to(expected - 0.01)
            assert len(bench.starts) == number + 1
            await bench.pass_to(expected)
            assert len(bench.starts) == number + 2
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        assert pause_s == LONGEST_PAUSE_S

    with caplog.at_level(logging.WARNING):
        played(scenario)
    assert caplog.messages[0] == "study serving/study: 409 Conflict; retrying in 0.2 s"
    assert [record.exc_info for record in caplog.records] == [None] * 13


def test_news_end_a_pause_and_success_its_growth() -> None:
    """An event may resolve the failure, so the study is retried immediately; a success makes pauses short again."""

    async def scenario(bench: Bench) -> None:
        bench.outcome = InfPopError("503")
        bench.queue.mark(KEY)
        await bench.react()
        await bench.pass_to(0.1)
        bench.queue.mark(KEY)
        await bench.react()
        await bench.pass_to(0.1 + FIRST_PAUSE_S)
        assert bench.starts == [0.0, 0.1]
        bench.outcome = None
        await bench.pass_to(0.1 + 2 * FIRST_PAUSE_S)
        bench.outcome = InfPopError("503")
        bench.queue.mark(KEY)
        await bench.react()
        await bench.pass_to(0.1 + 3 * FIRST_PAUSE_S)
        assert bench.starts[2:] == [0.5, 0.5, pytest.approx(0.7)]

    played(scenario)


def test_what_happens_during_a_failing_reconcile_waits_for_the_pause() -> None:
    """A reconcile that marks its own study by its writes and then fails must not restart immediately."""

    async def scenario(bench: Bench) -> None:
        bench.outcome = InfPopError("503")
        bench.marks_itself = True
        bench.queue.mark(KEY)
        await bench.react()
        assert bench.starts == [0.0]
        await bench.pass_to(FIRST_PAUSE_S)
        assert bench.starts == [0.0, FIRST_PAUSE_S]

    played(scenario)


def test_a_defect_costs_one_study_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is logged with its traceback and retried like any failure; the queue continues."""

    async def scenario(bench: Bench) -> None:
        bench.outcome = ZeroDivisionError("a defect")
        bench.queue.mark(KEY)
        await bench.react()
        bench.outcome = None
        await bench.pass_to(FIRST_PAUSE_S)
        assert len(bench.starts) == 2

    with caplog.at_level(logging.ERROR):
        played(scenario)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_pauses_differ() -> None:
    """Studies that failed together do not retry together: each pause is between half and all of the longest."""
    queue = WorkQueue(Bench()._work, workers=1, clock=lambda: 0.0, random=Random(0))
    pauses = [queue._pause(StudyKey("serving", str(number))) for number in range(100)]
    assert FIRST_PAUSE_S / 2 <= min(pauses) < max(pauses) <= FIRST_PAUSE_S
    assert len(set(pauses)) == 100
