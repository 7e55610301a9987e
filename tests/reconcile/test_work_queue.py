"""The work queue: every mark is processed, and no study is reconciled twice at the same time."""

import asyncio
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.work_queue import WorkQueue

KEYS = [StudyKey("serving", name) for name in "abcd"]
TURNS = 8  # passes of the event loop: more than the queue needs to react


async def _let_others_work() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Bench:
    """A queue whose work lasts until the test ends it."""

    def __init__(self, workers: int) -> None:
        self.now_s = 0.0
        self.queue = WorkQueue(self._work, workers=workers, clock=lambda: self.now_s, random=Random(0))
        self.active: list[StudyKey] = []
        self.starts: list[StudyKey] = []
        self._ends: dict[StudyKey, asyncio.Event] = {}

    async def _work(self, key: StudyKey) -> None:
        self.active.append(key)
        self.starts.append(key)
        self._ends[key] = asyncio.Event()
        await self._ends[key].wait()
        self.active.remove(key)

    async def end(self, key: StudyKey) -> None:
        """End the work on `key`, if it is active."""
        if key in self.active:
            self._ends[key].set()
        await _let_others_work()

    async def mark(self, key: StudyKey) -> None:
        """Mark `key` and let the queue react."""
        self.queue.mark(key)
        await _let_others_work()


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(["mark", "end"]), st.sampled_from(KEYS)), max_size=30),
)
def test_no_study_is_worked_on_twice_at_the_same_time(workers: int, steps: list[tuple[str, StudyKey]]) -> None:
    """While all workers are busy, each marked key is active at most once, and each mark is followed by a start."""

    async def scenario() -> None:
        bench = Bench(workers)
        running = asyncio.create_task(bench.queue.run())
        unheard: dict[StudyKey, int] = {}  # key -> starts when it was marked last
        for what, key in steps:
            if what == "mark":
                unheard[key] = len(bench.starts)
                await bench.mark(key)
            else:
                await bench.end(key)
            assert len(set(bench.active)) == len(bench.active) <= workers
        for _ in range(2 * len(KEYS)):  # a key has at most one more turn, and one key ends each time
            for key in tuple(bench.active):
                await bench.end(key)
        assert bench.active == []
        assert all(key in bench.starts[since:] for key, since in unheard.items())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_a_blocked_queue_is_noticed() -> None:
    """An empty queue is not stuck, and one finished reconcile shows that the others may finish too."""

    async def scenario() -> None:
        bench = Bench(workers=2)
        running = asyncio.create_task(bench.queue.run())
        first, second, *_ = KEYS
        bench.now_s = 1000.0
        assert bench.queue.seconds_stuck() == 0
        await bench.mark(first)
        await bench.mark(second)
        bench.now_s = 1100.0
        assert bench.queue.seconds_stuck() == 100
        await bench.end(first)
        bench.now_s = 1150.0
        assert bench.queue.seconds_stuck() == 50
        await bench.end(second)
        assert bench.queue.seconds_stuck() == 0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
