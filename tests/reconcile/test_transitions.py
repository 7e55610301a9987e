"""Which condition transitions of a study become Events, of which type, and which do not."""

from datetime import UTC, datetime, timedelta

import pytest

from factories.events import transitions
from infpop_operator.api.status_model import Condition, StudyStatus
from infpop_operator.cluster.events import StudyEvent, broken_runs
from infpop_operator.core.model import EndedRun, Lost, PlannedTrial, Run
from infpop_operator.core.study import Configuration

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status(**conditions: tuple[str, str]) -> StudyStatus:
    """Return a status with these conditions: status and reason; the message is the reason in words."""
    return StudyStatus(
        conditions=[
            Condition(type=kind, status=value, reason=reason, message=f"it is {reason}", last_transition_time=NOW)
            for kind, (value, reason) in conditions.items()
        ]
    )


def told(before: StudyStatus | None, after: StudyStatus) -> list[tuple[str, str]]:
    """Return type and reason of the Events."""
    return [(each.type, each.reason) for each in transitions(before, after)]


WORKING = {"Accepted": ("True", "Valid"), "Ready": ("False", "Measuring"), "Stalled": ("False", "Measuring")}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Ready": ("False", "ModelLoading")}, []),
        ({"Ready": ("False", "Starting")}, []),
        ({"Ready": ("False", "ImagePull")}, [("Warning", "ImagePull")]),
        ({"Ready": ("True", "Succeeded")}, [("Normal", "Succeeded")]),
        (
            {"Ready": ("False", "TooManyFailures"), "Stalled": ("True", "TooManyFailures")},
            [("Warning", "TooManyFailures")],
        ),
        ({"Ready": ("False", "Suspended"), "Suspended": ("True", "Suspended")}, [("Normal", "Suspended")]),
        ({"Accepted": ("False", "InvalidSpec"), "Ready": ("False", "InvalidSpec")}, [("Warning", "InvalidSpec")]),
        ({"ResultStale": ("True", "NewerRound")}, [("Warning", "NewerRound")]),
        ({"Succeeded": ("True", "MaxTrialsReached")}, []),
    ],
)
def test_a_turn_is_reported_once_and_by_its_reason(
    change: dict[str, tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    """A fact is reported in one Event, however many conditions show it; progress is not reported."""
    before, after = status(**WORKING), status(**(WORKING | change))
    assert told(before, after) == expected
    assert told(after, after) == []


def test_the_end_of_a_wait_is_no_news() -> None:
    """No Event is written when a study continues after a wait, or Stalled ends."""
    assert told(status(**(WORKING | {"Ready": ("False", "ImagePull")})), status(**WORKING)) == []
    stalled = WORKING | {"Stalled": ("True", "TooManyFailures"), "Ready": ("False", "TooManyFailures")}
    assert told(status(**stalled), status(**WORKING)) == []


def test_what_a_pause_and_a_new_result_end_is_reported_as_good_news() -> None:
    """The end of a suspension or of a stale result is a normal Event, not a warning."""
    before = WORKING | {"Suspended": ("True", "Suspended"), "ResultStale": ("True", "NewerRound")}
    after = WORKING | {"Suspended": ("False", "NotSuspended"), "ResultStale": ("False", "Current")}
    assert told(status(**before), status(**after)) == [("Normal", "NotSuspended"), ("Normal", "Current")]


def test_the_same_state_for_another_reason_is_news_of_ready_alone() -> None:
    """A wait that becomes another wait is reported; another reason for the same state of other conditions is not."""
    before = status(**(WORKING | {"Ready": ("False", "Unschedulable")}))
    after = status(**(WORKING | {"Ready": ("False", "ImagePull"), "Stalled": ("False", "ImagePull")}))
    assert told(before, after) == [("Warning", "ImagePull")]


def test_the_first_status_reports_true_conditions() -> None:
    """For a new study, true conditions and the reason to wait are reported; conditions that never held are not."""
    first = status(**(WORKING | {"Ready": ("False", "NoMatchingNodes"), "Suspended": ("False", "NotSuspended")}))
    assert told(None, first) == [("Normal", "Valid"), ("Warning", "NoMatchingNodes")]
    assert told(None, status(Accepted=("False", "InvalidSpec"))) == [("Warning", "InvalidSpec")]


def test_a_run_that_broke_is_reported_unless_the_study_ended_it() -> None:
    """Each broken run is a warning with everything known of it; a run that the study stopped is not reported."""
    trial = PlannedTrial(index=0, configuration=Configuration(gpu_count=1, batch_size=8))
    run = Run(name="study-1", pool="a100", round=1, attempt=1, trials=(trial,))
    lost = Lost(reason="Preempted", detail="kubectl drain", ended_at=NOW + timedelta(seconds=5), counts=False)
    ended = EndedRun(run=run, started_at=NOW, observation=lost)
    stopped = EndedRun(run=run, started_at=NOW, observation=lost, stopped="Suspended")
    message = "run study-1 on pool a100 (1 GPU, batch size 8): Preempted: kubectl drain"
    assert broken_runs([ended, stopped]) == (StudyEvent(type="Warning", reason="RunBroken", message=message),)


@pytest.mark.parametrize(
    ("kind", "on_true", "on_false"),
    [
        ("Accepted", "Normal", "Warning"),
        ("Ready", "Normal", "Warning"),
        ("Stalled", "Warning", None),
        ("Suspended", "Normal", "Normal"),
        ("ResultStale", "Warning", "Normal"),
        ("PrometheusUnreachable", "Warning", "Normal"),
        ("Succeeded", None, None),
        ("Reconciling", None, None),
    ],
)
def test_each_condition_has_its_events(kind: str, on_true: str | None, on_false: str | None) -> None:
    """It is a warning if the user must act, and nothing if another condition reports it; the second pass is silent."""
    false, true = status(**{kind: ("False", "Off")}), status(**{kind: ("True", "On")})
    assert told(false, true) == ([] if on_true is None else [(on_true, "On")])
    assert told(true, false) == ([] if on_false is None else [(on_false, "Off")])
    assert told(true, true) == []
    assert told(false, false) == []


@pytest.mark.parametrize("kind", ["Accepted", "Stalled", "Suspended", "ResultStale", "PrometheusUnreachable"])
def test_a_condition_that_becomes_unknown_is_no_news(kind: str) -> None:
    """Only changes to true or false are reported."""
    assert told(status(**{kind: ("True", "On")}), status(**{kind: ("Unknown", "Nothing")})) == []


@pytest.mark.parametrize(
    "reason", ["Starting", "ContainerCreating", "ModelLoading", "WarmingUp", "Measuring", "Done", "Resumed"]
)
def test_the_progress_of_a_run_is_no_news(reason: str) -> None:
    """Every run passes through these phases; only what a run waits for is reported."""
    before = status(Ready=("False", "Unschedulable"))
    assert told(before, status(Ready=("False", reason))) == []
    assert told(status(Ready=("False", reason)), before) == [("Warning", "Unschedulable")]


def test_a_broken_run_names_all_its_batch_sizes() -> None:
    """A reason without details has no colon after it."""
    trials = tuple(
        PlannedTrial(index=index, configuration=Configuration(gpu_count=4, batch_size=8 << index)) for index in range(2)
    )
    run = Run(name="study-1", pool="a100", round=1, attempt=1, trials=trials)
    entry = EndedRun(run=run, started_at=NOW, observation=Lost(reason="NodeLost", ended_at=NOW))
    (event,) = broken_runs([entry])
    assert event.message == "run study-1 on pool a100 (4 GPUs, batch size 8, 16): NodeLost"
