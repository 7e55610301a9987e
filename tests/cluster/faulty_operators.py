"""Operators with a fault from their start: watches that report nothing, or a clock that fails on demand."""

import time
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from infpop_operator.cluster.service import Service
from infpop_operator.handlers import operator

ClockFault = Literal["jumps", "raises"]
_JUMP_SECONDS = 9 * 3600


def deafen(kinds: Collection[str]) -> None:
    """Make the operator's watches report nothing about these kinds of objects."""
    hear = Service.seen

    def hear_others(service: Service, kind: Any, body: Any, **how: Any) -> None:  # noqa: ANN401 - passed on
        if kind not in kinds:
            hear(service, kind, body, **how)

    Service.seen = hear_others  # type: ignore[assignment]


def break_clock(broken: Path, fault: ClockFault) -> None:
    """Have the operator's monotonic clock jump or raise as soon as the file `broken` is there."""

    def monotonic() -> float:
        if broken.exists() and fault == "raises":
            raise RuntimeError("the clock is broken")
        return time.monotonic() + (_JUMP_SECONDS if broken.exists() else 0)

    operator.time = SimpleNamespace(monotonic=monotonic)  # type: ignore[attr-defined]
