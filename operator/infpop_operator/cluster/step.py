"""Turn a decision into what has to be done on the cluster. Pure: looking and doing are in `reconcile` and `runs`."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from infpop_operator.adapters.kube.records import JobRecord
from infpop_operator.core.model import Decision, EndedRun, History, Round, Run, StartedRun, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to remember, then to create."""

    rounds: tuple[Round, ...]
    ended: tuple[EndedRun, ...]
    start: tuple[Run, ...]


def plan_step(before: History, decision: Decision, ending: Container[str], *, any_ending: bool) -> Step:
    """Return the step that carries out `decision`.

    A run that is to stop keeps its place in history until its pod is gone, so that its last word is heard and its GPUs
    are free before others are asked for: while one is ending, nothing is started.

    Args:
        before: the history that was decided on.
        decision: what `core.decide` made of it.
        ending: runs that `decision` stops and whose pods hold devices yet.
        any_ending: whether there are such runs, those of earlier looks included.
    """
    known = {entry.run.name for entry in before.ended}
    return Step(
        rounds=tuple(entry for entry in decision.history.rounds if entry not in before.rounds),
        ended=tuple(
            entry for entry in decision.history.ended if entry.run.name not in known and entry.run.name not in ending
        ),
        start=() if any_ending else decision.start,
    )


def as_told(decision: Decision, history: History, *, any_ending: bool) -> Decision:
    """Return the decision as it is told, with what is remembered by now.

    A study whose last runs are still ending has not come to its end: they may have a last word.
    """
    decision = replace(decision, history=history)
    if not any_ending or decision.verdict not in (Verdict.SUCCEEDED, Verdict.STALLED):
        return decision
    message = f"{decision.message}; the last runs are ending"
    return replace(decision, verdict=Verdict.RUNNING, reason="Terminating", message=message)


def with_devices_held(history: History, held: Mapping[str, StartedRun]) -> History:
    """Return the history with the time since when each live run holds its devices, as far as it is known."""
    return replace(history, active=tuple(held.get(entry.run.name, entry) for entry in history.active))


class Leftovers(NamedTuple):
    """Jobs that nobody waits for: `living` ones hold something, `ended` ones have no time to live yet."""

    living: tuple[JobRecord, ...]
    ended: tuple[JobRecord, ...]


def leftovers(jobs: Sequence[JobRecord], history: History, exited: frozenset[str]) -> Leftovers:
    """Return the Jobs of runs that have ended.

    Args:
        jobs: the Jobs of the study that exist.
        history: with everything that is remembered.
        exited: uids of Jobs whose container has exited: the Job controller is about to end them by itself.
    """
    active = {entry.run.name for entry in history.active}
    idle = tuple(job for job in jobs if job.run not in active and not job.deleting)
    return Leftovers(
        living=tuple(job for job in idle if job.end is None and job.uid not in exited),
        ended=tuple(job for job in idle if job.end is not None and job.ttl_seconds is None),
    )
