"""Turn a decision into what has to be done on the cluster. Pure: looking and doing are in `reconcile`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from infpop_operator.adapters.kube.records import JobRecord
from infpop_operator.core.model import Decision, EndedRun, Finished, History, Lost, Observation, Round, Run, StartedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to remember, then to create. `stopping` are runs whose Job goes away first; they are remembered later."""

    rounds: tuple[Round, ...]
    ended: tuple[EndedRun, ...]
    start: tuple[Run, ...]
    stopping: tuple[JobRecord, ...]


def plan_step(before: History, decision: Decision, jobs: Mapping[str, JobRecord], given_up: frozenset[str]) -> Step:
    """Return the step that carries out `decision`.

    A run that is to stop keeps its place in history until its Job is gone, so that its last word is heard and its GPUs
    are free before others are asked for: while one is stopping, nothing is started.

    Args:
        before: the history that was decided on.
        decision: what `core.decide` made of it.
        jobs: the Jobs that exist, by run.
        given_up: runs whose Job was told to go so long ago that it is not waited for any more.
    """
    stops = {stop.run for stop in decision.stop}
    stopping = tuple(jobs[run] for run in sorted(stops) if run in jobs and run not in given_up)
    waiting = {job.run for job in stopping}
    known = {entry.run.name for entry in before.ended}
    opened = {(entry.pool, entry.number) for entry in before.rounds}
    return Step(
        rounds=tuple(entry for entry in decision.history.rounds if (entry.pool, entry.number) not in opened),
        ended=tuple(
            entry for entry in decision.history.ended if entry.run.name not in known and entry.run.name not in waiting
        ),
        start=() if stopping else decision.start,
        stopping=stopping,
    )


def with_devices_held(history: History, held: Mapping[str, StartedRun]) -> History:
    """Return the history with the time since when each live run holds its devices, as far as it is known."""
    return replace(history, active=tuple(held.get(entry.run.name, entry) for entry in history.active))


def ends_of_stopped(observations: Mapping[str, Observation], reasons: Mapping[str, str]) -> dict[str, Observation]:
    """Return the observations, with runs that were told to stop ended for that reason, whatever it looked like."""
    return {
        run: _asked(seen, reasons[run]) if run in reasons and isinstance(seen, Finished | Lost) else seen
        for run, seen in observations.items()
    }


def _asked(seen: Finished | Lost, reason: str) -> Finished | Lost:
    if isinstance(seen, Finished) and seen.result.trials:
        return seen
    return Lost(reason=reason, ended_at=seen.ended_at, counts=False)


def leftovers(
    jobs: Sequence[JobRecord], history: History, exited: frozenset[str]
) -> tuple[tuple[JobRecord, ...], tuple[JobRecord, ...]]:
    """Return the Jobs that nobody waits for: those that still hold something, and those that ended without a TTL.

    Args:
        jobs: the Jobs of the study that exist.
        history: with everything that is remembered.
        exited: uids of Jobs whose container has exited: the Job controller is about to end them by itself.
    """
    active = {entry.run.name for entry in history.active}
    idle = tuple(job for job in jobs if job.run not in active and not job.deleting)
    living = tuple(job for job in idle if job.end is None and job.uid not in exited)
    ended = tuple(job for job in idle if job.end is not None and job.ttl_seconds is None)
    return (living, ended)
