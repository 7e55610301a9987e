"""Runs that are over as far as we are concerned, while their pods still hold devices.

A run ends for us when the study wants it no more, when its time is over, or when somebody deleted its Job. Its GPUs are
free only when its pod is gone, and its last word may still come. Until then it stays among the live runs, and nothing
else is started in its place.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.adapters.kube.records import PodRecord
from infpop_operator.core.model import EndedRun, Finished, Lost, Observation, Waiting

TERMINATING = "Terminating"
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a run is ending, and since when. `stopped` is the reason of a run that the study itself ended."""

    seen: Finished | Lost
    stopped: str | None
    since: datetime


class Endings:
    """The runs of one operator that are ending. Gone with the process: what is ending then is seen again."""

    def __init__(self, *, patience: timedelta) -> None:
        self._patience = patience
        self._known: dict[str, Ending] = {}

    def begin(self, run: str, ending: Ending) -> None:
        """Remember that a run is ending; the first reason stays."""
        self._known.setdefault(run, ending)

    def names(self) -> Container[str]:
        """Return the runs that are ending."""
        return self._known.keys()

    def is_overdue(self, run: str, now: datetime) -> bool:
        """Say whether nobody waits any longer for the end of a run that is ending."""
        ending = self._known.get(run)
        return ending is not None and now - ending.since > self._patience

    def observe(self, run: str, seen: Observation, pods: Sequence[PodRecord], now: datetime) -> Observation:
        """Return how a run is, given how it looks: one that ended while its pods hold devices is terminating."""
        if isinstance(seen, Finished | Lost):
            self._begin_where_held(run, seen, pods, now)
        ending = self._known.get(run)
        if ending is None:
            return seen
        if hold_devices(pods) and not self.is_overdue(run, now):
            reason = ending.seen.reason if isinstance(ending.seen, Lost) else ending.stopped or "Ended"
            return Waiting(reason=TERMINATING, detail=f"{reason}: its pod is ending")
        return _last_word(ending, seen, [now] if hold_devices(pods) else [])

    def with_reason(self, entry: EndedRun) -> EndedRun:
        """Return the end of a run with the reason for which the study ended it, also where its end came later."""
        ending = self._known.get(entry.run.name)
        if entry.stopped is not None or ending is None or ending.stopped is None:
            return entry
        return replace(entry, stopped=ending.stopped)

    def forget(self, run: str) -> None:
        """Drop a run whose end is remembered."""
        self._known.pop(run, None)

    def _begin_where_held(self, run: str, seen: Finished | Lost, pods: Sequence[PodRecord], now: datetime) -> None:
        if run not in self._known and hold_devices(pods):
            self.begin(run, Ending(seen=seen, stopped=None, since=now))


def hold_devices(pods: Sequence[PodRecord]) -> bool:
    """Say whether a pod is on a node and has not ended there; pods that are gone are not among `pods`."""
    return any(pod.node is not None and not has_ended(pod) for pod in pods)


def has_ended(pod: PodRecord) -> bool:
    """Say whether the pod's container has come to its end."""
    exited = pod.container is not None and pod.container.exit_code is not None
    return exited or pod.phase in _OVER


def _last_word(ending: Ending, seen: Observation, held: Sequence[datetime]) -> Finished | Lost:
    """Return the result that the run left, as it was seen, or else why it was ended.

    That was when it was last seen to end, or to have `held` devices.
    """
    words = [word for word in (seen, ending.seen) if isinstance(word, Finished | Lost)]
    for word in words:
        if isinstance(word, Finished) and word.result.trials:
            return word
    ended_at = max([*(word.ended_at for word in words), *held])
    if ending.stopped is None:
        return replace(ending.seen, ended_at=ended_at)
    return Lost(reason=ending.stopped, ended_at=ended_at, counts=False)


def stopped_now(reasons: Mapping[str, str], now: datetime) -> dict[str, Ending]:
    """Return the endings of runs that the study ends now, by run, from its reasons."""
    return {
        run: Ending(seen=Lost(reason=reason, ended_at=now, counts=False), stopped=reason, since=now)
        for run, reason in reasons.items()
    }
