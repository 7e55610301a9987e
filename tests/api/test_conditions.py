"""The conditions of a study as whole sets: which are true, for which reason, and since when."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from api.status_samples import NO_NODES, decision_of
from factories.runs import make_lost, make_started
from factories.studies import START
from infpop_operator.api.conditions import (
    ConditionState,
    as_reason,
    decided_states,
    kept_state,
    prometheus_states,
    refused_states,
    waiting_states,
    write_conditions,
)
from infpop_operator.api.status_context import PoolProblem, PrometheusHealth, StatusContext
from infpop_operator.api.status_model import Condition
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import NO_ROOM, History, Lost, Observation, Phase, Running, Waiting

STALE = ConditionState(holds=None, reason="StaleReason", message="stale message")
VALID = ConditionState(holds=True, reason="Valid", message="the study is valid")
FIRST, SECOND = make_started("study-1"), make_started("study-2", index=2)
BEGUN = History(started_at=START)
GOING = replace(BEGUN, active=(FIRST, SECOND))


def held(states: Mapping[str, ConditionState]) -> set[str]:
    """Return the conditions that are true."""
    return {name for name, state in states.items() if state.holds}


def states_of(
    decision: Decision, *, problems: Mapping[str, PoolProblem] | None = None, **context: object
) -> dict[str, ConditionState]:
    """Return the conditions for a decision."""
    status_context = StatusContext(**context)  # type: ignore[arg-type]
    return decided_states(decision, status_context, problems or {}, STALE)


PROBLEMS = {"v100": NO_NODES, "h100": PoolProblem(reason="MixedGPUs", message="of two kinds")}


@pytest.mark.parametrize(
    ("verdict", "reason", "problems", "suspended", "expected"),
    [
        (Verdict.RUNNING, "Measuring", {}, False, {"Accepted", "Reconciling"}),
        (Verdict.WAITING, "Retrying", {}, False, {"Accepted", "Reconciling"}),
        (Verdict.SUCCEEDED, "Converged", {}, False, {"Accepted", "Ready", "Succeeded"}),
        (Verdict.STALLED, "TooManyFailures", {}, False, {"Accepted", "Stalled"}),
        (Verdict.RUNNING, "Measuring", PROBLEMS, False, {"Accepted", "Reconciling"}),
        (Verdict.SUCCEEDED, "Converged", PROBLEMS, False, {"Accepted", "Reconciling"}),
        (Verdict.STALLED, "NothingEligible", PROBLEMS, False, {"Accepted", "Reconciling"}),
        (Verdict.WAITING, NO_ROOM, PROBLEMS, False, {"Accepted", "Reconciling"}),
        (Verdict.STALLED, "TooManyFailures", PROBLEMS, False, {"Accepted", "Stalled"}),
        (Verdict.RUNNING, "Measuring", {}, True, {"Accepted", "Suspended"}),
        (Verdict.SUCCEEDED, "Converged", {}, True, {"Accepted", "Succeeded", "Suspended"}),
        (Verdict.STALLED, "TooManyFailures", {}, True, {"Accepted", "Stalled", "Suspended"}),
    ],
)
def test_which_conditions_hold_follows_from_the_verdict(
    verdict: Verdict,
    reason: str,
    problems: Mapping[str, PoolProblem],
    suspended: bool,  # noqa: FBT001 - both ways of it
    expected: set[str],
) -> None:
    """Ready and Succeeded: a result exists; Stalled: there will be none; Reconciling: the study continues."""
    states = states_of(decision_of(BEGUN, verdict=verdict, reason=reason), problems=problems, suspended=suspended)
    assert held(states) == expected
    assert (states["Accepted"], states["ResultStale"]) == (VALID, STALE)
    assert set(states) == {"Accepted", "Ready", "Reconciling", "Stalled", "Succeeded", "ResultStale", "Suspended"}


@pytest.mark.parametrize(
    ("verdict", "reason", "overdue", "suspended", "expected"),
    [
        (Verdict.SUCCEEDED, "Converged", {"v100", "h100"}, False, {"Accepted", "Stalled"}),
        (Verdict.STALLED, "NothingEligible", {"v100", "h100"}, False, {"Accepted", "Stalled"}),
        (Verdict.SUCCEEDED, "Converged", {"v100"}, False, {"Accepted", "Reconciling"}),
        (Verdict.RUNNING, "Measuring", {"v100", "h100"}, False, {"Accepted", "Reconciling"}),
        (Verdict.WAITING, NO_ROOM, {"v100", "h100"}, False, {"Accepted", "Reconciling"}),
        (Verdict.SUCCEEDED, "Converged", {"v100", "h100"}, True, {"Accepted", "Suspended"}),
    ],
)
def test_a_study_that_only_waits_for_overdue_pools_is_stalled(
    verdict: Verdict,
    reason: str,
    overdue: set[str],
    suspended: bool,  # noqa: FBT001 - both ways of it
    expected: set[str],
) -> None:
    """Nothing else is left to measure, and the pools need a person; the condition says what is wrong with them."""
    decision = decision_of(BEGUN, verdict=verdict, reason=reason)
    states = states_of(decision, problems=PROBLEMS, overdue_pools=frozenset(overdue), suspended=suspended)
    assert held(states) == expected
    if "Stalled" in expected:
        assert (states["Stalled"].reason, states["Stalled"].message) == AWAITED


SUSPENDED = ("Suspended", "spec.suspend is true: no run starts until it is false")
AWAITED = ("NoMatchingNodes", "pool v100: no node has the label pool=v100; pool h100: of two kinds")
AS_READY = "the condition Ready says why"


@pytest.mark.parametrize(
    ("verdict", "problems", "suspended", "expected"),
    [
        (Verdict.SUCCEEDED, {}, False, (("Succeeded", "m"), AS_READY, AS_READY, "m")),
        (Verdict.SUCCEEDED, {}, True, (SUSPENDED, AS_READY, AS_READY, "m")),
        (Verdict.SUCCEEDED, PROBLEMS, False, (AWAITED, AWAITED[1], AS_READY, AS_READY)),
        (Verdict.RUNNING, PROBLEMS, False, (("Measuring", "m"), "m", AS_READY, AS_READY)),
    ],
)
def test_what_holds_says_why_and_what_does_not_points_to_ready(
    verdict: Verdict,
    problems: Mapping[str, PoolProblem],
    suspended: bool,  # noqa: FBT001 - both ways of it
    expected: tuple[tuple[str, str], str, str, str],
) -> None:
    """Ready has the state that is shown; a final condition keeps the decision's message; no text stands four times."""
    reason = "Converged" if verdict is Verdict.SUCCEEDED else "Measuring"
    decision = decision_of(BEGUN, verdict=verdict, reason=reason, message="m")
    states = states_of(decision, problems=problems, suspended=suspended)
    ready = (states["Ready"].reason, states["Ready"].message)
    assert (ready, *(states[name].message for name in ("Reconciling", "Stalled", "Succeeded"))) == expected


STARTING = Running(phase=Phase.STARTING)
LOADING = Running(phase=Phase.LOADING)
QUEUED, UNSCHEDULABLE = Waiting(reason="Queued", detail="d"), Waiting(reason="Unschedulable")
DECIDED = ("Measuring", "1 run in progress")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, None, ("Starting", "run study-1 on pool a100 is starting")),
        (STARTING, None, ("Starting", "run study-1 on pool a100 is starting")),
        (None, LOADING, ("ModelLoading", "run study-2 on pool a100 loads the model")),
        (LOADING, STARTING, ("ModelLoading", "run study-1 on pool a100 loads the model")),
        (STARTING, LOADING, ("ModelLoading", "run study-2 on pool a100 loads the model")),
        (STARTING, Running(phase=Phase.WARMING_UP), DECIDED),
        (STARTING, Running(phase=Phase.MEASURING), DECIDED),
        (STARTING, Running(phase=Phase.DONE), DECIDED),
        (QUEUED, None, ("Queued", "run study-1 on pool a100: d")),
        (UNSCHEDULABLE, QUEUED, ("Unschedulable", "run study-1 on pool a100: Unschedulable")),
        (QUEUED, LOADING, ("ModelLoading", "run study-2 on pool a100 loads the model")),
        (QUEUED, Running(phase=Phase.MEASURING), DECIDED),
    ],
)
def test_the_most_advanced_run_determines_the_state_of_a_study(
    first: Observation | None, second: Observation | None, expected: tuple[str, str]
) -> None:
    """While a run measures, the decision's message is shown; else a loading run's, else a waiting run's."""
    seen = {name: each for name, each in (("study-1", first), ("study-2", second)) if each is not None}
    states = states_of(decision_of(GOING), observations=seen)
    assert (states["Reconciling"].reason, states["Reconciling"].message) == expected
    stopped = states_of(decision_of(GOING, verdict=Verdict.STALLED, reason="R", message="m"), observations=seen)
    assert (stopped["Stalled"].reason, stopped["Stalled"].message) == ("R", "m")


@pytest.mark.parametrize(
    ("verdict", "message", "expected"),
    [
        (Verdict.WAITING, "study-1 is tried again", "study-1 is tried again: line\u2028separator"),
        (Verdict.WAITING, "something else", "something else"),
        (Verdict.STALLED, "study-1 is tried again", "study-1 is tried again"),
    ],
)
def test_a_wait_for_a_broken_run_says_what_broke(verdict: Verdict, message: str, expected: str) -> None:
    """The message adds everything known of the newest run end."""
    history = replace(BEGUN, ended=(make_lost(SECOND), make_lost(FIRST)))
    states = states_of(decision_of(history, verdict=verdict, reason="Retrying", message=message))
    assert states["Ready"].message == expected
    assert isinstance(make_lost(FIRST).observation, Lost)


@pytest.mark.parametrize(
    ("health", "searching", "expected"),
    [
        (None, True, {}),
        (PrometheusHealth(), True, (False, "Reachable", "Prometheus answers")),
        (PrometheusHealth(outage="refused"), True, (True, "PrometheusUnreachable", "refused")),
        (PrometheusHealth(outage="refused"), False, (False, "NotAsked", "no run needs Prometheus")),
        (PrometheusHealth(), False, (False, "NotAsked", "no run needs Prometheus")),
    ],
)
def test_an_outage_is_reported_for_searches_that_query_prometheus(
    health: PrometheusHealth | None,
    searching: bool,  # noqa: FBT001 - both ways of it
    expected: tuple[bool, str, str] | dict[str, object],
) -> None:
    """If no run queries Prometheus, the condition does not exist."""
    truth = prometheus_states(StatusContext(prometheus=health), searching=searching)
    found = {name: (state.holds, state.reason, state.message) for name, state in truth.items()}
    assert found == (expected if isinstance(expected, dict) else {"PrometheusUnreachable": expected})


def test_a_refused_study_is_stalled_and_nothing_else() -> None:
    """Every condition that holds names all problems, and Ready and Accepted do; the earlier result is kept."""
    problems = [
        Problem(field="a", value="1", message="m", remedy="r"),
        Problem(field="b", value="", message="n", remedy="s"),
    ]
    states = refused_states(problems, STALE, StatusContext(suspended=True, prometheus=PrometheusHealth(outage="o")))
    assert held(states) == {"Stalled", "Suspended"}
    text = "; ".join(map(str, problems))
    for name in ("Accepted", "Ready", "Stalled"):
        assert (states[name].reason, states[name].message) == ("InvalidSpec", text)
    for name in ("Reconciling", "Succeeded"):
        assert (states[name].reason, states[name].message) == ("InvalidSpec", AS_READY)
    assert (states["ResultStale"], states["PrometheusUnreachable"].reason) == (STALE, "NotAsked")


@pytest.mark.parametrize("suspended", [False, True])
def test_a_waiting_study_is_valid_and_progresses_unless_it_is_suspended(suspended: bool) -> None:  # noqa: FBT001
    """Each condition has the reason of the wait, or says that the user suspended the study."""
    status_context = StatusContext(suspended=suspended, prometheus=PrometheusHealth(outage="o"))
    states = waiting_states("TheReason", "the message", STALE, status_context)
    assert held(states) == {"Accepted", "PrometheusUnreachable", "Suspended" if suspended else "Reconciling"}
    why = (
        ("Suspended", "spec.suspend is true: no run starts until it is false")
        if suspended
        else ("TheReason", "the message")
    )
    for name in ("Ready", "Reconciling", "Stalled", "Succeeded"):
        shown = states[name].holds or name == "Ready"
        assert (states[name].reason, states[name].message) == (why[0], why[1] if shown else AS_READY)
    assert (states["Accepted"], states["ResultStale"]) == (VALID, STALE)
    suspension = ("Suspended", "spec.suspend is true") if suspended else ("NotSuspended", "spec.suspend is false")
    assert (states["Suspended"].reason, states["Suspended"].message) == suspension


BEFORE = Condition(
    type="Ready", status="False", observed_generation=1, reason="Before", message="before", last_transition_time=START
)
NOW = START + timedelta(hours=1)


@pytest.mark.parametrize(
    ("holds", "status", "since"), [(True, "True", NOW), (None, "Unknown", NOW), (False, "False", START)]
)
def test_a_condition_keeps_its_time_while_its_status_stays(holds: bool | None, status: str, since: object) -> None:  # noqa: FBT001
    """Reason, message and generation are still updated; the times of other conditions do not matter."""
    state = ConditionState(holds=holds, reason="New-Reason", message="new\nmessage")
    (condition,) = write_conditions({"Ready": state}, NOW, generation=7, previous=[BEFORE])
    assert condition == Condition(
        type="Ready",
        status=status,
        observed_generation=7,
        reason="NewReason",
        message="new message",
        last_transition_time=since,
    )
    (other,) = write_conditions({"Stalled": state}, NOW, generation=None, previous=[BEFORE])
    assert (other.type, other.last_transition_time, other.observed_generation) == ("Stalled", NOW, None)


@pytest.mark.parametrize(("status", "holds"), [("True", True), ("False", False), ("Unknown", None)])
def test_a_kept_condition_has_its_earlier_status(status: str, holds: bool | None) -> None:  # noqa: FBT001
    """An earlier condition is read back; one that was never written has its default."""
    known = [BEFORE, BEFORE.model_copy(update={"type": "Stalled", "status": status})]
    assert kept_state("Stalled", known, STALE) == ConditionState(holds=holds, reason="Before", message="before")
    assert kept_state("Succeeded", known, STALE) == STALE


@pytest.mark.parametrize(
    ("text", "reason"), [("Two words-3", "Twowords3"), ("", "Unknown"), ("é!", "Unknown"), ("x" * 65, "x" * 64)]
)
def test_a_reason_is_one_word(text: str, reason: str) -> None:
    """The API server accepts it: letters and digits, not empty, of bounded length."""
    assert as_reason(text) == reason


@pytest.mark.parametrize(("length", "kept"), [(1024, "m" * 1024), (1025, "m" * 1021 + "…")])
def test_a_message_is_cut_at_a_kibibyte(length: int, kept: str) -> None:
    """A message that fits is kept whole."""
    state = ConditionState(holds=True, reason="R", message="m" * length)
    (condition,) = write_conditions({"Ready": state}, NOW, generation=1, previous=[])
    assert condition.message == kept
