"""When the liveness probe reports the operator as dead."""

from dataclasses import replace

import pytest

from factories.studies import START
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.service import Service
from infpop_operator.settings import Settings


@pytest.mark.parametrize(
    ("tick_seconds", "silent_seconds", "alive"),
    [
        (1.0, 119.0, True),
        (1.0, 120.0, False),
        (15.0, 119.0, True),
        (15.0, 120.0, False),
        (60.0, 479.0, True),
        (60.0, 480.0, False),
    ],
)
def test_a_tick_may_be_late_by_two_minutes_or_by_eight_ticks(
    tick_seconds: float, silent_seconds: float, *, alive: bool
) -> None:
    """An operator that waits for its API server, or for CPU time on a busy Node, is not killed for a late tick."""
    now_seconds = 1000.0
    settings = replace(Settings(), tick_seconds=tick_seconds)

    def monotonic() -> float:
        return now_seconds

    metrics = OperatorMetrics(monotonic)
    service = Service(None, None, settings, metrics=metrics, clock=lambda: START, monotonic=monotonic)
    now_seconds += silent_seconds
    assert service.is_alive() is alive


@pytest.mark.parametrize(("stuck_seconds", "alive"), [(599.0, True), (600.0, False)])
def test_a_reconcile_may_take_ten_minutes(stuck_seconds: float, *, alive: bool) -> None:
    """An operator whose tick works but whose reconciles never finish is killed as well."""
    now_seconds = 1000.0

    def monotonic() -> float:
        return now_seconds

    settings = replace(Settings(), tick_seconds=3600.0)
    metrics = OperatorMetrics(monotonic)
    service = Service(None, None, settings, metrics=metrics, clock=lambda: START, monotonic=monotonic)
    service.queue._active[StudyKey("serving", "study")] = now_seconds
    now_seconds += stuck_seconds
    assert service.is_alive() is alive
