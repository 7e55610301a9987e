"""What a journal records of one step, and what its entries add up to."""

from dataclasses import replace
from datetime import timedelta

from core.retuning import A100, MINUTE, on, tuned
from factories.runs import make_finished, make_started
from factories.studies import START
from infpop_operator.adapters.journal import encode_entry
from infpop_operator.core.history_diff import apply, changes
from infpop_operator.core.model import History, Round

ROUND = Round(pool="a100", number=1, identity="i1")
FIRST, SECOND, THIRD = make_started("study-1"), make_started("study-2", index=2), make_started("study-3", index=4)
BEFORE = History(started_at=START, rounds=(ROUND,), active=(FIRST, SECOND))


def test_changes_are_rounds_then_ends_then_starts_and_stops() -> None:
    """A round is recorded before its runs, and an ended run before the run that replaces it."""
    opened = replace(ROUND, number=2)
    stopping = replace(SECOND, stopping="Superseded")
    after = replace(BEFORE, rounds=(ROUND, opened), ended=(make_finished(FIRST),), active=(stopping, THIRD))
    assert changes(BEFORE, after) == (opened, make_finished(FIRST), stopping, THIRD)


def test_an_unchanged_history_has_no_changes() -> None:
    """The time since when a run holds its devices is observed again, so it is not a change of its own."""
    held = replace(BEFORE, active=(replace(FIRST, held_since=START + timedelta(minutes=1)), SECOND))
    assert changes(BEFORE, held) == ()


def test_a_history_with_its_changes_is_the_next_history() -> None:
    """Recording a step neither loses nor adds anything."""
    stopping = replace(SECOND, stopping="Suspended", held_since=START)
    after = replace(
        BEFORE, rounds=(ROUND, replace(ROUND, number=2)), ended=(make_finished(FIRST),), active=(stopping, THIRD)
    )
    assert apply(BEFORE, changes(BEFORE, after)) == after


def test_a_step_that_was_recorded_twice_counts_once() -> None:
    """An operator that was killed while recording records the step again."""
    entries = (ROUND, FIRST, SECOND, make_finished(FIRST))
    once = apply(History(started_at=START), entries)
    assert apply(once, entries) == once
    assert [entry.run.name for entry in once.active] == ["study-2"]
    assert [entry.run.name for entry in once.ended] == ["study-1"]


def test_a_round_may_be_recorded_again_under_an_identity_that_is_known_only_now() -> None:
    """It names the identity before; a record with any other identity, or an older record, changes nothing."""
    better = replace(ROUND, identity="i2", before="i1")
    after = apply(BEFORE, [better])
    assert after.rounds == (better,)
    assert apply(after, [ROUND, replace(ROUND, identity="i3"), replace(ROUND, identity="i3", before="i1")]) == after


def test_a_round_that_is_recorded_again_lacks_only_the_subject_that_is_known() -> None:
    """Nodes that flap record their round again and again; what it measures is recorded once, or if it differs."""
    told = replace(ROUND, subject=(("GPU", "A100"),))
    before = replace(BEFORE, rounds=(told,))
    again = replace(told, requested="now", resumed=1)
    other = replace(told, subject=(("GPU", "A100"), ("GPU driver", "570")))
    better = replace(told, identity="i2", before="i1")
    for after, recorded in ((again, replace(again, subject=())), (other, other), (better, better)):
        entries = changes(before, replace(before, rounds=(after,)))
        assert entries == (recorded,)
        assert apply(before, entries) == apply(before, (*entries, *entries)) == replace(before, rounds=(after,))


def test_a_day_of_flapping_nodes_keeps_the_journal_small() -> None:
    """Nodes that change each minute record about half a kilobyte for each change and return."""
    timeline = tuned()
    v100, recorded = timeline.study, len(timeline.journal)
    for _ in range(10):
        timeline.look(on(v100, A100), after=MINUTE)
        timeline.look(v100, after=MINUTE)
    assert sum(len(encode_entry(entry)) for entry in timeline.journal[recorded:]) < 20 * 600


def test_the_newest_record_of_a_run_says_whether_it_is_stopping() -> None:
    """A stop is a second record of the run, which keeps its place."""
    stopping = replace(FIRST, stopping="Suspended")
    assert apply(BEFORE, [stopping]).active == (stopping, SECOND)
