"""End everything that the runner has started, directly or not."""

import ctypes
import sys
from contextlib import suppress

import psutil

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that a killed engine leaves none out of sight.

    Linux only; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(*, grace_seconds: float) -> int:
    """Ask all descendants to end, kill those that still live after `grace_seconds`, and return how many there were.

    Safe to repeat. Descendants that start others meanwhile are ended too.
    """
    seen: set[int] = set()
    children = _descendants()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    psutil.wait_procs(children, timeout=grace_seconds)
    while children:
        seen |= {child.pid for child in children}
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=grace_seconds)
        children = [child for child in _descendants() if child.pid not in seen]
    return len(seen)


def _descendants() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
