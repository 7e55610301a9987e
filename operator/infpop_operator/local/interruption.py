"""Turn signals into a wish that the loop looks at: the first asks for a clean end, the second for a fast one."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Listens to SIGINT, SIGTERM and SIGHUP inside its `with` block; the handlers from before come back after it."""

    def __init__(self) -> None:
        self._hurry: Callable[[], None] | None = None
        self._requests = 0
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Start to listen."""
        listened = [number for number in _SIGNALS if not _is_ignored_by_wish(number)]
        self._before = {number: signal.signal(number, self._handle) for number in listened}
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_requested(self) -> bool:
        """Say whether the user wants to stop."""
        return self._requests > 0

    def on_hurry(self, hurry: Callable[[], None]) -> None:
        """Call `hurry` when the user asks again."""
        self._hurry = hurry

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._requests += 1
        if self._requests > 1 and self._hurry is not None:
            self._hurry()


def _is_ignored_by_wish(number: signal.Signals) -> bool:
    """`nohup` has us ignore SIGHUP: then the end of the terminal is no wish to stop."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
