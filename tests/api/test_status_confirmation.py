"""What a status says about a best that is measured again: how far that is, the number, its interval, or why not."""

from datetime import timedelta

from core.confirming import FOUR, ONE, Play, lost, make_confirming_study, searched
from factories.studies import START
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.decision import Decision

NOW = START + timedelta(hours=1)


def status_of(play: Play, decision: Decision) -> StudyStatus:
    """Return the status after the last decision of a play."""
    return to_status(play.study, decision, NOW)


def ended(*rates: float, loads: dict[int, list[object]]) -> StudyStatus:
    """Return the status of a study that has ended, with the configuration of one GPU as its baseline."""
    study = make_confirming_study(baseline=ONE)
    play = Play(study=study, history=searched(study, *rates), loads=loads)  # type: ignore[arg-type]
    return status_of(play, play.to_end())


def test_a_confirmed_best_has_the_mean_of_its_loads_and_an_interval() -> None:
    """The rows of the study, its pool and its round agree; the trial keeps what the search measured."""
    status = ended(50.0, 60.0, 100.0, loads={0: [50], 2: [98, 99]})
    assert status.best is not None
    assert (status.best.gpu_count, status.best.throughput) == (FOUR.gpu_count, "98.5")
    assert status.best.confirmed is not None
    assert status.best.confirmed.loads == 2
    assert status.best.confirmed.interval == status.best.interval
    low, high = (float(end) for end in (status.best.interval or "").split(" to "))
    assert low < 98.5 < high
    (pool,), (row,) = status.pools, status.rounds
    assert pool.best == status.best
    assert row.best is not None
    assert row.best.throughput == "98.5"
    assert status.trials[2].throughput == "100"


def test_the_message_says_on_how_many_loads_and_what_they_measured() -> None:
    """`kubectl describe` shows it without a look at the journal."""
    status = ended(50.0, 60.0, 100.0, loads={0: [50], 2: [98, 99]})
    confirmation = status.pools[0].confirmation
    assert confirmation is not None
    assert (confirmation.state, confirmation.loads, confirmation.planned) == ("Confirmed", 2, None)
    assert confirmation.message is not None
    assert confirmation.message.startswith("the best is confirmed on 2 fresh loads: 98.5 tokens/s (")
    ready = next(condition for condition in status.conditions if condition.type == "Ready")
    assert ready.status == "True"
    assert "confirmed on 2 fresh loads" in ready.message


def test_the_improvement_has_an_interval() -> None:
    """Both sides were measured side by side, so it is known how sure the improvement is."""
    (pool,) = ended(50.0, 60.0, 100.0, loads={0: [50], 2: [98, 99]}).pools
    assert pool.improvement_percent == "97.0"
    assert pool.improvement_interval is not None
    low, high = (float(end) for end in pool.improvement_interval.split(" to "))
    assert 0 < low < 97.0 < high


def test_a_study_that_confirms_is_not_ready() -> None:
    """It says how far it is, and which of its live runs measures again."""
    study = make_confirming_study()
    play = Play(study=study, history=searched(study, 50.0, 60.0, 100.0), loads={2: [98, 99]})
    decision = play.to_end(lambda play: len(play.runs) == 1)
    status = status_of(play, decision)
    ready = next(condition for condition in status.conditions if condition.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "Confirming")
    confirmation = status.pools[0].confirmation
    assert confirmation is not None
    assert (confirmation.state, confirmation.loads, confirmation.planned) == ("Confirming", 1, 2)
    assert status.pools[0].ended is None


def test_a_best_that_is_not_confirmed_says_why() -> None:
    """The number is that of the search, and the reason is in the row, the condition and its message."""
    status = ended(50.0, 60.0, 100.0, loads={0: [50], 2: [lost(), lost(), lost()]})
    assert status.best is not None
    assert (status.best.throughput, status.best.confirmed) == ("100", None)
    confirmation = status.pools[0].confirmation
    assert confirmation is not None
    assert (confirmation.state, confirmation.reason) == ("NotConfirmed", "NodeLost")
    assert status.pools[0].ended == "MaxTrialsReached"
