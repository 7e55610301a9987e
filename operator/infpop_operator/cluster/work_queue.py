"""The queue of studies that have to be looked at.

A key that is marked many times is worked on once; a key that is marked while it is worked on is worked on once more;
no key is worked on twice at the same time. What fails is tried again after a pause that doubles, with jitter so that
studies which failed together do not come back together. The queue owns retries: nothing below it repeats a request.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable
from random import Random

from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.errors import InfPopError

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 60.0
Work = Callable[[StudyKey], Awaitable[float | None]]
Watch = Callable[[float, Exception | None], None]


class WorkQueue:
    """Calls `work` for marked keys; what it returns is when to look again although nothing changed (seconds or None).

    Args:
        work: looks at one study.
        workers: studies worked on at the same time.
        clock: monotonic seconds.
        random: for the jitter of pauses.
        watch: told of each look that ended, how many seconds it took and the error that it ended with.
    """

    def __init__(
        self,
        work: Work,
        *,
        workers: int,
        clock: Callable[[], float],
        random: Random,
        watch: Watch = lambda _seconds, _error: None,
    ) -> None:
        self._work = work
        self._watch = watch
        self._slots = asyncio.Semaphore(workers)
        self._clock = clock
        self._random = random
        self._due: dict[StudyKey, float] = {}
        self._heap: list[tuple[float, int, StudyKey]] = []
        self._order = itertools.count()
        self._active: dict[StudyKey, float] = {}  # since when each is worked on
        self._ended_s = clock()
        self._dirty: set[StudyKey] = set()
        self._failures: dict[StudyKey, int] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def depth(self) -> int:
        """Return how many studies are due or worked on now."""
        now_s = self._clock()
        return sum(due_s <= now_s for due_s in self._due.values()) + len(self._active)

    def seconds_stuck(self) -> float:
        """Return how long studies are worked on without that any of it has ended, 0 where there is nothing to do."""
        if not self._active:
            return 0.0
        return self._clock() - max(self._ended_s, min(self._active.values()))

    def mark(self, key: StudyKey, *, after_s: float = 0.0) -> None:
        """Have `key` looked at in `after_s` seconds at the latest; once more at once if it is worked on now."""
        if key in self._active:
            self._dirty.add(key)
            return
        due_s = self._clock() + after_s
        if key in self._due and self._due[key] <= due_s:
            return
        self._due[key] = due_s
        heapq.heappush(self._heap, (due_s, next(self._order), key))
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled. What is being worked on is cancelled as well: every step may end anywhere."""
        try:
            while True:
                await self._slots.acquire()  # before the key: between its choice and its work nobody may mark it
                key = await self._next()
                self._active[key] = self._clock()
                task = asyncio.create_task(self._process(key), name=f"study {key}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _next(self) -> StudyKey:
        while True:
            self._changed.clear()
            wait_s = self._seconds_to_next()
            if wait_s is not None and wait_s <= 0:
                _, _, key = heapq.heappop(self._heap)
                del self._due[key]
                return key
            try:
                await asyncio.wait_for(self._changed.wait(), wait_s)
            except TimeoutError:
                continue

    def _seconds_to_next(self) -> float | None:
        """Return the seconds until the first key is due, None without any; what was marked again is dropped."""
        while self._heap:
            due_s, _, key = self._heap[0]
            if self._due.get(key) == due_s:
                return due_s - self._clock()
            heapq.heappop(self._heap)
        return None

    async def _process(self, key: StudyKey) -> None:
        began_s = self._clock()
        failure: Exception | None = None
        try:
            again_s = await self._work(key)
            self._failures.pop(key, None)
        except InfPopError as error:
            failure, again_s = error, self._pause(key)
            _log.warning("study %s: %s; again in %.1f s", key, error, again_s)
        except Exception as error:  # noqa: BLE001 - a defect must cost one study a pause, not all of them the operator
            failure, again_s = error, self._pause(key)
            _log.exception("study %s: unexpected error; again in %.1f s", key, again_s)
        finally:
            self._active.pop(key, None)
            self._ended_s = self._clock()
            self._slots.release()
        self._watch(self._ended_s - began_s, failure)
        if key in self._dirty:
            self._dirty.discard(key)
            again_s = 0.0 if key not in self._failures else again_s
        if again_s is not None:
            self.mark(key, after_s=again_s)

    def _pause(self, key: StudyKey) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(FIRST_PAUSE_S * (1 << min(failures - 1, 20)), LONGEST_PAUSE_S)
        return longest * (0.5 + self._random.random() / 2)
