"""An operator that sends itself a signal, by default SIGKILL, right before or right after a chosen call.

The trap names the call: `create_job:after:3` is the moment at which the third creation of a Job has been answered.
Every call that a trap can be set at is a line of the file `trail`, up to the trap itself.
"""

import functools
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.journal_store import JournalStore

FINAL_STATUS = "final_status"  # a status with Succeeded=True; others are `replace_study_status`
_CALLS: dict[type, tuple[str, ...]] = {
    KubeClient: (
        "list_studies",
        "list_jobs",
        "list_config_maps",
        "create_job",
        "delete_job",
        "set_job_ttl",
        "create_config_map",
        "get_config_map",
        "patch_config_map",
        "replace_study_status",
        "create_event",
    ),
    JournalStore: ("record",),
}
_Call = Callable[..., Awaitable[Any]]


class _Trap:
    """Counts calls, writes the trail, and springs."""

    def __init__(self, trap: str, trap_signal: signal.Signals, trail: Path) -> None:
        self._trap = trap
        self._signal = trap_signal
        self._trail = trail
        self._counts: Counter[str] = Counter()

    def begin(self, name: str) -> str:
        """Note that a call begins, and return what it is called: its name and number."""
        self._counts[name] += 1
        self._pass(moment := f"{name}:before:{self._counts[name]}")
        return moment.replace(":before:", ":after:")

    def end(self, moment: str) -> None:
        """Note that a call was answered."""
        self._pass(moment)

    def _pass(self, moment: str) -> None:
        with self._trail.open("a") as trail:
            trail.write(f"{moment}\n")
        if moment == self._trap:
            os.kill(os.getpid(), self._signal)


def _trapped(trap: _Trap, name: str, call: _Call) -> _Call:
    @functools.wraps(call)
    async def wrapper(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - passed on
        told = _told(name, arguments)
        if told is None:
            return await call(*arguments, **keywords)
        moment = trap.begin(told)
        answer = await call(*arguments, **keywords)
        trap.end(moment)
        return answer

    return wrapper


def _told(name: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the name under which a call is counted, None for one that makes no request."""
    if name == "record":
        return name if arguments[2] else None
    if name == "replace_study_status":
        conditions = arguments[2]["conditions"]
        succeeded = any(each["type"] == "Succeeded" and each["status"] == "True" for each in conditions)
        return FINAL_STATUS if succeeded else name
    return name


def set_trap(trap: str, trap_signal: signal.Signals, trail: Path) -> None:
    """Have every call pass the trap."""
    shared = _Trap(trap, trap_signal, trail)
    for owner, names in _CALLS.items():
        for name in names:
            setattr(owner, name, _trapped(shared, name, getattr(owner, name)))
