"""The Events about a pool that changes: noticed, changed back, held, answered by a new round or by an earlier one."""

from datetime import timedelta

from factories.events import transitions
from factories.studies import START
from infpop_operator.api.status_model import Condition, PoolChange, PoolStatus, RoundRow, StudyStatus
from infpop_operator.cluster.events import StudyEvent

GPU = "GPU V100 → A100"
CHANGE = PoolChange(reason="HardwareChanged", what=[GPU], since=START, retunes_at=START + timedelta(minutes=10))
SINCE = f"{GPU} since 2026-01-01 00:00:00 UTC"


def pool(*, change: PoolChange | None = None, number: int = 1, name: str = "a100", **changes: object) -> PoolStatus:
    """Return the row of a pool."""
    return PoolStatus(name=name, round=number, gpu="V100", image="runner:1", change=change).model_copy(update=changes)


def told(before: StudyStatus | None, after: StudyStatus) -> list[tuple[str, str, str]]:
    """Return the Events between two statuses; a second look at the same status has none."""
    assert transitions(after, after) == ()
    return [(event.type, event.reason, event.message) for event in transitions(before, after)]


def of(*pools: PoolStatus, rounds: tuple[RoundRow, ...] = (), **conditions: tuple[str, str]) -> StudyStatus:
    """Return a status with these pools, rounds, and conditions."""
    shown = [
        Condition(type=kind, status=status, reason=reason, message="m", last_transition_time=START)  # type: ignore[arg-type]
        for kind, (status, reason) in conditions.items()
    ]
    return StudyStatus(pools=list(pools), rounds=list(rounds), conditions=shown)


def test_changed_hardware_is_reported_once() -> None:
    """The condition ResultStale repeats it and has no Event of its own; the debounce going on is no news."""
    before = of(pool(), ResultStale=("False", "Current"))
    after = of(pool(change=CHANGE), ResultStale=("True", "HardwareChanged"))
    assert told(before, after) == [("Warning", "HardwareChanged", f"pool a100: {SINCE}")]
    later = CHANGE.model_copy(update={"retunes_at": START + timedelta(minutes=11)})
    assert told(after, of(pool(change=later), ResultStale=("True", "HardwareChanged"))) == []


def test_hardware_that_changes_again_is_reported_again() -> None:
    """Each change of hardware is an Event, also while an earlier one waits for its round."""
    again = CHANGE.model_copy(update={"what": ["GPU V100 → H100"], "since": START + timedelta(minutes=1)})
    ((kind, reason, message),) = told(of(pool(change=CHANGE)), of(pool(change=again)))
    assert (kind, reason) == ("Warning", "HardwareChanged")
    assert message == "pool a100: GPU V100 → H100 since 2026-01-01 00:01:00 UTC"


def test_a_change_of_the_spec_has_its_own_reason() -> None:
    """GitOps changed the image: nothing happened to the nodes."""
    change = CHANGE.model_copy(update={"reason": "SpecChanged", "what": ["image a → b"]})
    assert [reason for _, reason, _ in told(of(pool()), of(pool(change=change)))] == ["SpecChanged"]


def test_a_flap_is_reported_as_restored() -> None:
    """The pool goes on in the same round; ResultStale has its own Event, that the best is current."""
    before = of(pool(change=CHANGE), ResultStale=("True", "HardwareChanged"))
    assert told(before, of(pool(), ResultStale=("False", "Current"))) == [
        ("Normal", "Current", "m"),
        ("Normal", "HardwareRestored", f"pool a100: changed back, its results are current again; it was: {SINCE}"),
    ]
    spec = of(pool(change=CHANGE.model_copy(update={"reason": "SpecChanged"})))
    assert [reason for _, reason, _ in told(spec, of(pool()))] == ["SpecRestored"]


def test_a_change_without_a_round_is_reported_with_its_reason() -> None:
    """The user has to act, or wait; the reason is told again only if it becomes another one."""
    held = CHANGE.model_copy(update={"held_by": "spec.retune.policy is Manual"})
    assert told(of(pool()), of(pool(change=held))) == [
        ("Warning", "HardwareChanged", f"pool a100: {SINCE}"),
        ("Warning", "RetuneHeld", "pool a100: spec.retune.policy is Manual"),
    ]
    spent = held.model_copy(update={"held_by": "the deadline has passed"})
    assert told(of(pool(change=held)), of(pool(change=spent))) == [
        ("Warning", "RetuneHeld", "pool a100: the deadline has passed")
    ]
    assert told(of(pool(change=held)), of(pool(change=CHANGE))) == []
    requested = PoolChange(reason="Requested", held_by="the deadline has passed")
    assert told(of(pool()), of(pool(change=requested))) == [
        ("Warning", "RetuneHeld", "pool a100: the deadline has passed")
    ]
    assert told(of(pool(change=requested)), of(pool())) == []


def test_a_new_round_says_what_changed() -> None:
    """The round answers the change, so nothing is said to be restored."""
    opened = RoundRow(pool="a100", round=2, opened_at=START, cause=[GPU, "image a → b"])
    after = of(pool(number=2, gpu="A100"), rounds=(RoundRow(pool="a100", round=1), opened))
    assert told(of(pool(change=CHANGE)), after) == [
        ("Normal", "RoundStarted", f"pool a100: round 2 began on A100 (runner:1): {GPU}, image a → b")
    ]
    assert told(None, after) == told(of(pool(change=CHANGE)), after)


def test_a_round_that_continues_is_reported_once_for_each_return() -> None:
    """It may return several times; a round that goes on as it is has no Event."""
    first, second = RoundRow(pool="a100", round=1), RoundRow(pool="a100", round=2)
    back = first.model_copy(update={"resumed_at": START})
    before, after = of(pool(number=2), rounds=(first, second)), of(pool(), rounds=(second, back))
    message = "pool a100: round 1 on V100 (runner:1) continues since 2026-01-01 00:00:00 UTC; its earlier trials count"
    assert told(before, after) == [("Normal", "RoundResumed", message)]
    again = of(pool(), rounds=(second, back.model_copy(update={"resumed_at": START + timedelta(days=1)})))
    assert [reason for _, reason, _ in told(after, again)] == ["RoundResumed"]


def test_a_pool_that_can_no_longer_be_tuned_is_reported() -> None:
    """Several GPU models in one pool are an Event even while the study goes on with its other pools, or has ended."""
    mixed = pool(reason="MixedGPUs", message="2 kinds of GPUs")
    here, after = of(pool(), Ready=("True", "Succeeded")), of(mixed, Ready=("True", "Succeeded"))
    assert told(here, after) == [("Warning", "MixedGPUs", "pool a100: 2 kinds of GPUs")]
    assert told(after, of(mixed.model_copy(update={"message": "3 kinds"}), Ready=("True", "Succeeded"))) == []
    waits = of(mixed, Ready=("False", "MixedGPUs"))
    assert told(here, waits) == [("Warning", "MixedGPUs", "m")]


def test_each_pool_reports_its_own_change() -> None:
    """Two pools that swap their hardware are two changes."""
    before, after = of(pool(), pool(name="v100")), of(pool(change=CHANGE), pool(name="v100", change=CHANGE))
    messages = [message for _, _, message in told(before, after)]
    assert messages == [f"pool a100: {SINCE}", f"pool v100: {SINCE}"]
    assert transitions(before, after)[0] == StudyEvent(type="Warning", reason="HardwareChanged", message=messages[0])
