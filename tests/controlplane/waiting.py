"""Wait for a condition with a deadline: the only way in which cluster tests let time pass."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.05


def wait_for(condition: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """Return the first value of `condition` that is neither None nor false.

    Args:
        condition: called about twenty times a second, on this thread; its exceptions are raised.
        seconds: the deadline; the condition is called at least once, and once more at the end.
        what: a description of the condition, for the error message.

    Raises:
        TimeoutError: the deadline passed.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        late = time.monotonic() >= deadline
        if value := condition():
            return value
        if late:
            raise TimeoutError(f"{what}: not within {seconds:g} s, last seen {value!r}")
        pause.wait(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
