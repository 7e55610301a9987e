"""The entries of a study's journal: diff two histories into entries, and apply entries to a history.

Both drivers record `changes`, and on loading rebuild the history with `apply`. A study therefore continues from its
journal as if it had not been interrupted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from infpop_operator.core.model import EndedRun, History, Round, StartedRun
from infpop_operator.core.subject import Subject

Entry = Round | StartedRun | EndedRun


def changes(before: History, after: History) -> tuple[Entry, ...]:
    """Return the entries to record, in order: rounds, runs that ended, runs that started or are stopping.

    The rounds are those that were opened and those of which more is known or whose pool has changed. A round that is
    recorded again lacks its subject, the longest part of it, unless that changed: nodes may flap all day.

    The time when a run began to hold its devices has no entry of its own: it is recorded with the run's next entry, and
    is observed again until then.
    """
    ended = {entry.run.name for entry in before.ended}
    stopping = {entry.run.name: entry.stopping for entry in before.active}
    subjects = {(entry.pool, entry.number, entry.identity): entry.subject for entry in before.rounds}
    return (
        *(_shortened(entry, subjects) for entry in after.rounds if entry not in before.rounds),
        *(entry for entry in after.ended if entry.run.name not in ended),
        *(
            entry
            for entry in after.active
            if entry.run.name not in stopping or stopping[entry.run.name] != entry.stopping
        ),
    )


def _shortened(entry: Round, subjects: Mapping[tuple[str, int, str], Subject]) -> Round:
    is_known = subjects.get((entry.pool, entry.number, entry.identity)) == entry.subject
    return replace(entry, subject=()) if is_known else entry


def apply(history: History, entries: Iterable[Entry]) -> History:
    """Return `history` with the entries applied.

    An entry that was recorded twice counts once, and a run that ended stays ended. A round is recorded again when more
    is known about its hardware: the newest record replaces the first, in the same position, and keeps its subject if
    it has none. A round that is resumed moves to the end.
    """
    rounds = {(entry.pool, entry.number): entry for entry in history.rounds}
    ended = {entry.run.name: entry for entry in history.ended}
    active = {entry.run.name: entry for entry in history.active}
    for entry in entries:
        match entry:
            case Round():
                known = rounds.setdefault((entry.pool, entry.number), entry)
                if entry.resumed < known.resumed or known.identity not in {entry.identity, entry.before}:
                    continue
                if entry.resumed > known.resumed:
                    del rounds[entry.pool, entry.number]
                has_same_subject = not entry.subject and entry.identity == known.identity
                rounds[entry.pool, entry.number] = replace(entry, subject=known.subject) if has_same_subject else entry
            case StartedRun() if entry.run.name not in ended:
                active[entry.run.name] = entry  # the newest record has the current `stopping`
            case StartedRun():
                pass
            case EndedRun():
                active.pop(entry.run.name, None)
                ended.setdefault(entry.run.name, entry)
    return replace(history, rounds=tuple(rounds.values()), ended=tuple(ended.values()), active=tuple(active.values()))
