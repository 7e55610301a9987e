"""What holds for every sequence of hardware, edits, requests, absences and restarts of the operator."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from core.retuning import A100, H100, MINUTE, V100, Timeline, away, make_tuned_study, on
from infpop_operator.core.decide import decide
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.history_diff import apply, changes
from infpop_operator.core.model import History, StartedRun
from infpop_operator.core.study import Pool, Retune, Study

POOLS: dict[str, Pool] = {"v": V100, "a": A100, "h": H100}
DEBOUNCE, MAX_PER_DAY, DAY = 10 * MINUTE, 2, timedelta(hours=24)
GONE = "gone"  # the pool has no nodes, or a mix of several kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is true from a time on."""

    after: timedelta
    hardware: str
    revision: str | None
    request: str | None
    lost: bool


hardware = st.sampled_from(["v", "a", "h", GONE])
steps = st.builds(
    Event,
    after=st.sampled_from([timedelta(seconds=1), MINUTE, 5 * MINUTE, 11 * MINUTE, timedelta(hours=3), DAY]),
    hardware=hardware,
    revision=st.just(None),
    request=st.just(None),
    lost=st.booleans(),
)
edits = st.builds(
    Event,
    after=st.sampled_from([timedelta(seconds=1), 11 * MINUTE, timedelta(hours=3)]),
    hardware=hardware,
    revision=st.sampled_from([None, "r1", "r2"]),
    request=st.sampled_from([None, "x", "y"]),
    lost=st.booleans(),
)


def study_of(study: Study, event: Event, history: History) -> Study:
    """Return the study as the operator resolves it."""
    model = study.model.model_copy(update={"revision": event.revision})
    study = replace(study, model=model, retune=replace(study.retune, requested=event.request))
    return away(study, history) if event.hardware == GONE and history.rounds else on(study, _pool(event.hardware))


def _pool(name: str) -> Pool:
    return POOLS.get(name, V100)


def started_by_hardware(timeline: Timeline) -> list[datetime]:
    """Return when changed hardware opened or resumed a round, according to every record in the journal."""
    found = {
        entry.resumed_at or entry.opened_at
        for entry in timeline.journal
        if getattr(entry, "trigger", None) == "PoolChanged"
    }
    return sorted(each for each in found if each is not None)


@settings(max_examples=150)
@given(st.lists(steps, max_size=14))
def test_rounds_follow_hardware_that_has_settled(events: list[Event]) -> None:
    """One round for each change that lasted, none before the debounce, no more than the limit in any 24 hours."""
    timeline = Timeline(study=make_tuned_study(retune=Retune(debounce=DEBOUNCE, max_per_day=MAX_PER_DAY)))
    timeline.look()
    seen, since = "v", timeline.now
    for event in events:
        before = timeline.newest
        timeline.look(study_of(timeline.study, event, timeline.history), after=event.after, lost=event.lost)
        if event.hardware != seen:
            seen, since = event.hardware, timeline.now
        newest = timeline.newest
        if (newest.number, newest.resumed) != (before.number, before.resumed):
            assert newest.identity != before.identity
            assert timeline.now - since >= DEBOUNCE
            assert newest.hardware is not None
            assert newest.hardware.fingerprint == seen
    opened = started_by_hardware(timeline)
    assert all(sum(at - DAY < other <= at for other in opened) <= MAX_PER_DAY for at in opened)
    identities = [entry.identity for entry in timeline.history.rounds]
    assert len(set(identities)) == len(identities)


@settings(max_examples=150)
@given(st.lists(steps | edits, max_size=14))
def test_a_run_starts_only_on_what_its_round_measures(events: list[Event]) -> None:
    """Whatever the user and the nodes do: the run's round is the newest, of the hardware that is there."""
    timeline = Timeline(study=make_tuned_study(retune=Retune(debounce=DEBOUNCE, max_per_day=MAX_PER_DAY)))
    for event in events:
        study = study_of(timeline.study, event, timeline.history)
        decision = timeline.look(study, after=event.after, lost=event.lost)
        for run in decision.start:
            assert run.round == timeline.newest.number
            assert timeline.newest.identity == measurement_identity(study, study.pools[0])
            assert timeline.newest.change is None
            assert event.hardware != GONE or not timeline.history.rounds[:-1]


@settings(max_examples=100)
@given(st.lists(steps | edits, max_size=10), st.integers(0, 9))
def test_a_decision_made_twice_changes_nothing(events: list[Event], policy: int) -> None:
    """An operator that is killed after it recorded any part of a decision makes the rest of it, and nothing twice."""
    wanted = Retune(debounce=DEBOUNCE, policy="OnPoolChange" if policy else "Manual")
    timeline = Timeline(study=make_tuned_study(retune=wanted))
    for event in events:
        before = timeline.history
        timeline.look(study_of(timeline.study, event, before), after=event.after, lost=event.lost)
        entries = changes(before, timeline.history)
        for cut in range(len(entries) + 1):
            part = apply(before, entries[:cut])
            again = decide(timeline.study, part, timeline.seen, timeline.now)
            starts = (StartedRun(run=run, started_at=timeline.now, held_since=timeline.now) for run in again.start)
            whole = apply(part, [*changes(part, again.history), *starts])
            assert len(whole.rounds) == len(timeline.history.rounds)
            assert [entry.number for entry in whole.rounds] == [entry.number for entry in timeline.history.rounds]
        assert decide(timeline.study, timeline.history, {}, timeline.now).history == timeline.history


@settings(max_examples=100)
@given(st.lists(steps, max_size=10), st.sampled_from("vah"))
def test_hardware_that_stays_is_measured_in_the_end(events: list[Event], last: str) -> None:
    """The operator is woken when the round is due, and no earlier wake is needed."""
    timeline = Timeline(study=make_tuned_study(retune=Retune(debounce=DEBOUNCE, max_per_day=MAX_PER_DAY)))
    timeline.look()
    for event in events:
        timeline.look(study_of(timeline.study, event, timeline.history), after=event.after, lost=event.lost)
    decision = timeline.look(on(timeline.study, POOLS[last]), after=MINUTE)
    due = decision.retunes_at.get("gpus")
    if due is not None:
        assert decision.wake_at is not None
        assert decision.wake_at <= due
        assert due <= timeline.now + DAY
        timeline.now = due
        timeline.look()
    assert timeline.newest.identity == measurement_identity(timeline.study, POOLS[last])
    assert timeline.newest.change is None
