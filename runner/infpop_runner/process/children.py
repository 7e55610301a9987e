"""End every process that the runner has started, directly or indirectly."""

import ctypes
import os
import sys
import threading
from contextlib import suppress
from multiprocessing import resource_tracker

import psutil

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
TRACKER_SECONDS = 2.0
_ending = threading.Lock()  # the main thread and the guard thread may both end children


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that a killed engine leaves no untracked process.

    Linux only; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(*, grace_seconds: float) -> int:
    """Terminate all descendants, kill those still alive after `grace_seconds`, and return how many there were.

    Safe to repeat. It also ends processes that descendants start in the meantime. The resource tracker of
    multiprocessing, which cleans up shared memory, ends last because it cleans up after the others; no shared memory
    can be created afterwards. Only one thread runs this at a time: a second one waits, and then ends what is left.
    """
    with _ending:
        return _end_children(grace_seconds)


def _end_children(grace_seconds: float) -> int:
    ended: set[int] = set()
    while children := _descendants(without=ended):
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.terminate()
        _, alive = psutil.wait_procs(children, timeout=0.0 if ended else grace_seconds)
        for child in alive:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(alive, timeout=grace_seconds)
        ended |= {child.pid for child in children}
    _end_tracker()
    return len(ended)


def _descendants(*, without: set[int]) -> list[psutil.Process]:
    excluded = without | {_tracker_pid()}
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.pid not in excluded and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def _tracker_pid() -> int | None:
    pid: int | None = getattr(resource_tracker._resource_tracker, "_pid", None)  # noqa: SLF001 - it has no public name
    return pid


def _end_tracker() -> None:
    """Close the pipe that keeps the tracker alive, wait until it has unlinked leftover memory, and forget it."""
    tracker, pid = resource_tracker._resource_tracker, _tracker_pid()  # noqa: SLF001 - as above
    descriptor: int | None = getattr(tracker, "_fd", None)
    if pid is None or descriptor is None:
        return
    os.close(descriptor)
    tracker._fd = tracker._pid = None  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        try:
            process.wait(timeout=TRACKER_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
