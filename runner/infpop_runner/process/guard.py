"""Watch a run from a thread: deadlines of its phases, stop signals, and whether its parent is still alive.

The main thread may be inside an engine call for minutes, so Python's own signal handlers would run too late. The guard
thread waits for all three at the same time, and ends the run through one callback, whatever the main thread is doing.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

TimeoutReason = Literal["LoadTimeout", "MeasureTimeout"]
EndReason = Literal["LoadTimeout", "MeasureTimeout", "Stopped"]


class Guard:
    """Ends the run at a deadline, at a stop signal, or when the parent is gone. One per process.

    `start` must be called from the main thread. The guard's thread calls `on_end` once, with the reason why the run
    must end and a sentence; `on_end` ends the process.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        lifeline: int | None,
        on_end: Callable[[EndReason, str], None],
    ) -> None:
        self._clock = clock
        self._lifeline = lifeline
        self._on_end = on_end
        self._lock = threading.Lock()
        self._phase: tuple[TimeoutReason, float, float] | None = None  # reason, deadline, allowed seconds
        self._ended = False  # decided once, under the lock; after that no phase may end
        self._poked, self._poke = os.pipe()
        self._signalled, self._signal = os.pipe()

    def start(self) -> None:
        """Start watching."""
        for end in (self._poke, self._signal):
            os.set_blocking(end, False)
        if self._lifeline is not None:
            os.set_inheritable(self._lifeline, False)  # noqa: FBT003 - positional-only in the standard library
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave_to_guard)
        signal.set_wakeup_fd(self._signal, warn_on_full_buffer=False)
        # A forked engine process must not report its own signals to this one.
        os.register_at_fork(after_in_child=_forget_wakeup)
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    @contextmanager
    def phase(self, reason: TimeoutReason, seconds: float) -> Iterator[None]:
        """End the run with `reason` if the block takes longer than `seconds`.

        A block that ends before its deadline never counts as late. If the guard has decided that the block is late, or
        ends the run for another reason, the block never returns: `on_end` ends the process.
        """
        self._set((reason, self._clock() + seconds, seconds))
        try:
            yield
        finally:
            self._set(None)

    def _set(self, phase: tuple[TimeoutReason, float, float] | None) -> None:
        with self._lock:
            ended = self._ended
            self._phase = phase
        if ended:
            threading.Event().wait()
        with suppress(BlockingIOError):  # full of unread pokes: the guard wakes anyway
            os.write(self._poke, b"\0")

    def _watch(self) -> None:
        watched = [self._poked, self._signalled] + ([] if self._lifeline is None else [self._lifeline])
        while True:
            ready, _, _ = select.select(watched, [], [], self._seconds_left())
            if ended := self._end_reason(ready):
                self._on_end(*ended)
                return

    def _seconds_left(self) -> float | None:
        with self._lock:
            return None if self._phase is None else max(0.0, self._phase[1] - self._clock())

    def _end_reason(self, ready: list[int]) -> tuple[EndReason, str] | None:
        if self._poked in ready:
            os.read(self._poked, 4096)
        stopped = self._stop_cause(ready)
        with self._lock:
            late = self._phase is not None and self._clock() >= self._phase[1]
            self._ended = late or stopped is not None
            if stopped is None and self._phase is not None and late:
                return self._phase[0], f"longer than {self._phase[2]:g} s"
        return None if stopped is None else ("Stopped", stopped)

    def _stop_cause(self, ready: list[int]) -> str | None:
        if self._signalled in ready and (name := _first_stop_signal(os.read(self._signalled, 4096))):
            return f"received {name}"
        if self._lifeline is not None and self._lifeline in ready and not os.read(self._lifeline, 4096):
            return "the parent process of this run is gone"
        return None


def _first_stop_signal(numbers: bytes) -> str | None:
    stops = [number for number in numbers if number in (signal.SIGTERM, signal.SIGINT)]
    return signal.Signals(stops[0]).name if stops else None


def _leave_to_guard(_number: int, _frame: object) -> None:
    """Do nothing: the wake-up descriptor has already notified the guard."""


def _forget_wakeup() -> None:
    with suppress(ValueError):  # not in the main thread: then Python handles no signal here either
        signal.set_wakeup_fd(-1)
