"""The queue of studies to reconcile.

A key that is marked many times is processed once; a key that is marked while it is processed is processed once more; no
key is processed twice at the same time. After a failure the queue retries with a pause that doubles, and with jitter so
that studies which failed together are not retried together. The queue owns all retries: nothing below it repeats a
request.
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
    """Calls `work` for marked keys.

    Args:
        work: reconciles one study; returns the seconds after which to call it again even if nothing changed, or None.
        workers: how many studies are reconciled at the same time.
        clock: returns monotonic seconds.
        random: provides the jitter of pauses.
        watch: called after each reconcile with its duration in seconds and its error, None if it succeeded.
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
        self._active: dict[StudyKey, float] = {}  # the start of each reconcile in flight
        self._last_end_s = clock()
        self._dirty: set[StudyKey] = set()
        self._failures: dict[StudyKey, int] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def depth(self) -> int:
        """Return how many studies are due or being reconciled now."""
        now_s = self._clock()
        return sum(due_s <= now_s for due_s in self._due.values()) + len(self._active)

    def seconds_stuck(self) -> float:
        """Return how long since any in-flight reconcile finished, 0 if none is in flight."""
        if not self._active:
            return 0.0
        return self._clock() - max(self._last_end_s, min(self._active.values()))

    def mark(self, key: StudyKey, *, after_s: float = 0.0) -> None:
        """Reconcile `key` in at most `after_s` seconds; if it is being reconciled now, once more right after that."""
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
        """Process keys until cancelled; reconciles in flight are cancelled too, which is safe at any point."""
        try:
            while True:
                await self._slots.acquire()  # before choosing the key: it must not be marked between choice and work
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
        """Return the seconds until the first key is due, None if no key is marked; drop outdated heap entries."""
        while self._heap:
            due_s, _, key = self._heap[0]
            if self._due.get(key) == due_s:
                return due_s - self._clock()
            heapq.heappop(self._heap)
        return None

    async def _process(self, key: StudyKey) -> None:
        started_s = self._clock()
        failure: Exception | None = None
        try:
            delay_s = await self._work(key)
            self._failures.pop(key, None)
        except InfPopError as error:
            failure, delay_s = error, self._pause(key)
            _log.warning("study %s: %s; retrying in %.1f s", key, error, delay_s)
        except Exception as error:  # noqa: BLE001 - a defect must delay one study, not end the operator for all
            failure, delay_s = error, self._pause(key)
            _log.exception("study %s: unexpected error; retrying in %.1f s", key, delay_s)
        finally:
            self._active.pop(key, None)
            self._last_end_s = self._clock()
            self._slots.release()
        self._watch(self._last_end_s - started_s, failure)
        if key in self._dirty:
            self._dirty.discard(key)
            delay_s = 0.0 if key not in self._failures else delay_s
        if delay_s is not None:
            self.mark(key, after_s=delay_s)

    def _pause(self, key: StudyKey) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(FIRST_PAUSE_S * (1 << min(failures - 1, 20)), LONGEST_PAUSE_S)
        return longest * (0.5 + self._random.random() / 2)
