"""Turn signals into a stop request that the loop checks: the first asks for a clean end, the second for a fast one."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Handles SIGINT, SIGTERM and SIGHUP inside its `with` block, and restores the previous handlers after it."""

    def __init__(self) -> None:
        self._hurry: Callable[[], None] | None = None
        self._requests = 0
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        handled = [number for number in _SIGNALS if not _is_deliberately_ignored(number)]
        self._before = {number: signal.signal(number, self._handle) for number in handled}
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_requested(self) -> bool:
        """Return whether the user has asked to stop."""
        return self._requests > 0

    def on_hurry(self, hurry: Callable[[], None]) -> None:
        """Call `hurry` when the user asks to stop a second time."""
        self._hurry = hurry

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._requests += 1
        if self._requests > 1 and self._hurry is not None:
            self._hurry()


def _is_deliberately_ignored(number: signal.Signals) -> bool:
    """Return whether the user started InfPop under `nohup`, so that closing the terminal (SIGHUP) must not stop it."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
