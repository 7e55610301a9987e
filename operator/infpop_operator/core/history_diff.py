"""The steps of a journal: what changed between two histories, and a history with further steps.

Both drivers record `changes` and load what `apply` makes of all that was recorded, so a study goes on from its journal
as it would have gone on without an interruption.
"""

from collections.abc import Iterable
from dataclasses import replace

from infpop_operator.core.model import EndedRun, History, Round, StartedRun

Entry = Round | StartedRun | EndedRun


def changes(before: History, after: History) -> tuple[Entry, ...]:
    """Return what has to be recorded of a step, in order: new rounds, runs that ended, runs that started or stop.

    Since when a run holds its devices is recorded with the next of these: until then it is observed again.
    """
    rounds = {(entry.pool, entry.number) for entry in before.rounds}
    ended = {entry.run.name for entry in before.ended}
    stopping = {entry.run.name: entry.stopping for entry in before.active}
    return (
        *(entry for entry in after.rounds if (entry.pool, entry.number) not in rounds),
        *(entry for entry in after.ended if entry.run.name not in ended),
        *(
            entry
            for entry in after.active
            if entry.run.name not in stopping or stopping[entry.run.name] != entry.stopping
        ),
    )


def apply(history: History, entries: Iterable[Entry]) -> History:
    """Return `history` with further steps; one that was recorded twice counts once, and what ended stays ended."""
    rounds = {(entry.pool, entry.number): entry for entry in history.rounds}
    ended = {entry.run.name: entry for entry in history.ended}
    active = {entry.run.name: entry for entry in history.active}
    for entry in entries:
        match entry:
            case Round():
                rounds.setdefault((entry.pool, entry.number), entry)
            case StartedRun() if entry.run.name not in ended:
                active[entry.run.name] = entry  # the newest says whether it is stopping
            case StartedRun():
                pass
            case EndedRun():
                active.pop(entry.run.name, None)
                ended.setdefault(entry.run.name, entry)
    return replace(history, rounds=tuple(rounds.values()), ended=tuple(ended.values()), active=tuple(active.values()))
