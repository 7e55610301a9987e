"""The Events about measuring the best again: one when a round has confirmed it, or has not."""

from factories.events import transitions
from infpop_operator.api.status_model import Confirmation, PoolStatus, StudyStatus
from infpop_operator.cluster.events import StudyEvent

CONFIRMING = Confirmation(state="Confirming", loads=1, planned=4, message="confirming the best: 1 of at most 4 loads")
CONFIRMED = Confirmation(state="Confirmed", loads=2, message="the best is confirmed on 2 fresh loads")
NOT_CONFIRMED = Confirmation(state="NotConfirmed", reason="NoRoom", message="the best is not confirmed: NoRoom")


def of(confirmation: Confirmation | None, number: int = 1) -> StudyStatus:
    """Return a status in which a round is so far."""
    return StudyStatus(pools=[PoolStatus(name="a100", round=number, confirmation=confirmation)])


def told(before: StudyStatus | None, after: StudyStatus) -> list[StudyEvent]:
    """Return the Events about measuring the best again."""
    return [event for event in transitions(before, after) if event.reason in {"Confirmed", "NotConfirmed"}]


def test_a_confirmed_best_is_told_once() -> None:
    """The message has the pool, the round and the number; the way there is no news."""
    assert told(of(None), of(CONFIRMING)) == []
    (event,) = told(of(CONFIRMING), of(CONFIRMED))
    message = "pool a100, round 1: the best is confirmed on 2 fresh loads"
    assert event == StudyEvent(type="Normal", reason="Confirmed", message=message)
    assert told(of(CONFIRMED), of(CONFIRMED)) == []


def test_what_is_not_confirmed_is_a_warning() -> None:
    """The user may have to act, so the message has the reason."""
    (event,) = told(of(CONFIRMING), of(NOT_CONFIRMED))
    assert (event.type, event.reason) == ("Warning", "NotConfirmed")
    assert event.message.endswith("NoRoom")


def test_each_round_has_its_own_event() -> None:
    """A later round that is confirmed is told even if its words are those of the last one."""
    assert len(told(of(CONFIRMED), of(CONFIRMED, number=2))) == 1
