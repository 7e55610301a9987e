"""The time of the cluster, by the clock of its API server.

The operator compares its time with times that the API server and controllers beside it have written. The clock of its
own machine may be minutes off, or jump; the difference would be charged as GPU-hours, or end a run. So the operator's
time is the API server's: the `Date` of each response bounds it to a second, and from one response to the next the
monotonic clock of this process carries it on.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_log = logging.getLogger(__name__)

JUMP_S = 30.0  # a smaller step is the work of NTP, or one of several API servers with a clock of its own
HOLD_S = 600.0  # a clock that NTP has to set back is wrong for minutes
_RESOLUTION_S = 1.0  # of a `Date`, which is cut to the second


@dataclass(frozen=True, slots=True)
class _Offset:
    """Bounds of the API server's time minus the monotonic clock, in seconds."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


class ClusterClock:
    """Returns the time of the API server; before its first response, the time of this machine.

    A jump of the API server's clock is logged and passed to `on_jump`, in seconds. A jump backward counts immediately:
    the times of all new objects are before it. A jump forward counts when it has lasted for ten minutes: until then it
    may be a mistake that is put right, which no run has to pay for; meanwhile no other jump forward is reported. Within
    ten minutes of a report only a larger jump is reported: several API servers whose clocks differ may answer in turn,
    and each change between them is a jump.

    Args:
        wall: returns the time of this machine, with a time zone.
        monotonic: returns seconds that never go back.
    """

    def __init__(self, wall: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self.on_jump: Callable[[float], None] = lambda _seconds: None
        self.monotonic = monotonic
        self._wall = wall
        self._offset: _Offset | None = None
        self._ahead_since_s: float | None = None
        self._reported: tuple[float, float] | None = None  # when a jump was reported last, and its size
        self._logged_s = 0.0  # the difference from this machine's clock that was logged last

    def __call__(self) -> datetime:
        """Return the time, in UTC."""
        if self._offset is None:
            return self._wall()
        return datetime.fromtimestamp(self.monotonic() + self._offset.middle, UTC)

    def see(self, date: str | None, *, sent_s: float) -> None:
        """Take in the `Date` header of a response, whose request was sent at `sent_s` of the monotonic clock."""
        try:
            seconds = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return  # a proxy may leave the header out
        seen = _Offset(seconds - self.monotonic(), seconds + _RESOLUTION_S - sent_s)
        self._offset = seen if self._offset is None else self._next(self._offset, seen)
        self._compare_with_wall()

    def _next(self, known: _Offset, seen: _Offset) -> _Offset:
        """Return the offset after another response."""
        low, high = max(known.low, seen.low), min(known.high, seen.high)
        if low <= high:
            self._ahead_since_s = None
            return _Offset(low, high)
        jump_s = seen.middle - known.middle
        if abs(jump_s) < JUMP_S:
            self._ahead_since_s = None
            return seen
        now_s = self.monotonic()
        if (jump_s < 0 or self._ahead_since_s is None) and self._is_news(jump_s):
            _log.warning("the clock of the API server jumped by %+.0f s", jump_s)
            self.on_jump(jump_s)
        if jump_s < 0:
            self._ahead_since_s = None
            return seen
        self._ahead_since_s = now_s if self._ahead_since_s is None else self._ahead_since_s
        if now_s - self._ahead_since_s < HOLD_S:
            return known
        self._ahead_since_s = None
        return seen

    def _is_news(self, jump_s: float) -> bool:
        """Return whether to report a jump, and remember it then."""
        now_s, size_s = self.monotonic(), abs(jump_s)
        if self._reported is not None:
            reported_at_s, reported_s = self._reported
            if now_s - reported_at_s < HOLD_S and size_s < reported_s + JUMP_S:
                return False
        self._reported = (now_s, size_s)
        return True

    def _compare_with_wall(self) -> None:
        ahead_s = (self._wall() - self()).total_seconds()
        if abs(ahead_s - self._logged_s) >= JUMP_S:
            message = (
                "this machine's clock differs by %+.0f s from the API server's (before: %+.0f s), whose time counts"
            )
            _log.warning(message, ahead_s, self._logged_s)
            self._logged_s = ahead_s
