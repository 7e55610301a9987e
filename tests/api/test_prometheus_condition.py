"""A Prometheus outage is reported only while it concerns a study and the operator will also report its end."""

from dataclasses import replace

import pytest

from api.status_samples import decision_of
from factories.studies import START, make_study
from infpop_operator.api.status import refused_status, to_status, waiting_status
from infpop_operator.api.status_context import PoolProblem, PrometheusHealth, StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import History, Round

DOWN = StatusContext(generation=1, prometheus=PrometheusHealth(outage="no answer since 12:03:04"))
UP = StatusContext(prometheus=PrometheusHealth())
HISTORY = History(started_at=START, rounds=(Round(pool="a100", number=1, identity="i1"),))
NO_NODES = {"v100": PoolProblem(reason="NoMatchingNodes", message="no node has the label pool=v100")}
MISTAKE = Problem(field="spec.budget.deadline", value="0s", message="is no time", remedy="Remove it")


def unreachable(status: StudyStatus) -> str | None:
    """Return the Prometheus condition, or None."""
    found = [condition for condition in status.conditions if condition.type == "PrometheusUnreachable"]
    return f"{found[0].status} {found[0].reason}" if found else None


def decided(verdict: Verdict, status_context: StatusContext) -> str | None:
    """Return the Prometheus condition in the status of a decision."""
    decision: Decision = decision_of(HISTORY, verdict=verdict, reason="NothingEligible")
    return unreachable(to_status(make_study(), decision, START, context=status_context))


@pytest.mark.parametrize("verdict", [Verdict.RUNNING, Verdict.WAITING])
def test_an_outage_is_reported_while_a_search_continues(verdict: Verdict) -> None:
    """The condition is also set while no run is live: the next run will need Prometheus."""
    assert decided(verdict, DOWN) == "True PrometheusUnreachable"
    assert decided(verdict, UP) == "False Reachable"
    assert decided(verdict, StatusContext()) is None


@pytest.mark.parametrize("verdict", [Verdict.SUCCEEDED, Verdict.STALLED])
def test_an_outage_is_not_left_at_a_search_that_has_ended(verdict: Verdict) -> None:
    """The operator does not check Prometheus for an ended search, so the condition would stay forever."""
    assert decided(verdict, DOWN) == "False NotAsked"
    assert decided(verdict, replace(DOWN, pool_problems=NO_NODES)) == "False NotAsked"


def test_an_outage_concerns_a_study_that_waits_and_none_that_is_refused() -> None:
    """A refused study sends no queries."""
    waiting = waiting_status("NoMatchingNodes", "none", START, previous=None, context=DOWN)
    refused = refused_status([MISTAKE], START, previous=None, context=DOWN)
    assert (unreachable(waiting), unreachable(refused)) == ("True PrometheusUnreachable", "False NotAsked")
