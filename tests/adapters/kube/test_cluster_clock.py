"""The operator's time is the API server's, to about a second, whatever this machine's clock shows."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from infpop_operator.adapters.kube.cluster_clock import HOLD_S, ClusterClock

TRUE = datetime(2026, 3, 4, 5, 6, 7, 250_000, UTC)  # the API server's time when the monotonic clock shows 0


class Machine:
    """A machine whose clock is wrong by `wrong_s`, and an API server whose clock is wrong by `server_wrong_s`."""

    def __init__(self, wrong_s: float = 0.0) -> None:
        self.passed_s = 0.0
        self.wrong_s = wrong_s
        self.server_wrong_s = 0.0
        self.jumps: list[float] = []
        self.clock = ClusterClock(
            lambda: TRUE + timedelta(seconds=self.passed_s + self.wrong_s), lambda: 7000.0 + self.passed_s
        )
        self.clock.on_jump = self.jumps.append

    def ask(self, seconds: float = 0.2) -> None:
        """Make a request that the API server answers in the middle of so many seconds."""
        sent_s = 7000.0 + self.passed_s
        self.passed_s += seconds / 2
        date = format_datetime((TRUE + timedelta(seconds=self.passed_s + self.server_wrong_s)).replace(microsecond=0))
        self.passed_s += seconds / 2
        self.clock.see(date, sent_s=sent_s)

    def error_s(self) -> float:
        """Return how far the clock is from the true time."""
        return (self.clock() - TRUE).total_seconds() - self.passed_s


@pytest.mark.parametrize("wrong_s", [0.0, -600.0, 86_400.0])
def test_one_response_is_enough(wrong_s: float) -> None:
    """Before the first response the machine's time counts; after it the API server's, to a second."""
    machine = Machine(wrong_s)
    assert machine.error_s() == pytest.approx(wrong_s)
    machine.ask()
    assert abs(machine.error_s()) <= 0.7


def test_more_responses_make_it_more_precise() -> None:
    """Each response bounds the time; together they bound it to less than the second of a `Date`."""
    machine = Machine()
    for _ in range(20):
        machine.ask(0.33)
    assert abs(machine.error_s()) <= 0.2


def test_a_slow_response_does_not_make_it_worse() -> None:
    """A response of half a minute bounds the time less than those before it."""
    machine = Machine()
    for _ in range(5):
        machine.ask(0.3)
    before_s = machine.error_s()
    machine.ask(30.0)
    assert machine.error_s() == pytest.approx(before_s)
    assert machine.jumps == []


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_response_without_a_date_changes_nothing(date: str | None) -> None:
    """A proxy may leave it out."""
    machine = Machine(-600.0)
    machine.clock.see(date, sent_s=7000.0)
    assert machine.error_s() == pytest.approx(-600.0)


def test_a_jump_of_the_machines_clock_changes_nothing_but_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log says by how much the two clocks differ, once for each jump."""
    machine = Machine()
    for machine.wrong_s in (0.0, 86_400.0, 86_400.0, 0.0):
        machine.ask()
        assert abs(machine.error_s()) <= 0.7
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" from ")[0] for line in lines] == [
        "this machine's clock differs by +86400 s",
        "this machine's clock differs by +0 s",
    ]
    assert machine.jumps == []


def test_small_steps_of_the_api_servers_clock_are_followed() -> None:
    """NTP moves a clock, and several API servers differ by seconds: that is no jump."""
    machine = Machine()
    for machine.server_wrong_s in (0.0, 3.0, -3.0, 3.0):
        machine.ask()
        assert abs(machine.error_s() - machine.server_wrong_s) <= 0.7
    assert machine.jumps == []


def test_a_jump_forward_counts_when_it_lasts() -> None:
    """A clock that is set back again within ten minutes has moved nothing; the jump is noticed once."""
    machine = Machine()
    machine.ask()
    machine.server_wrong_s = 86_400.0
    for _ in range(5):
        machine.ask()
        assert abs(machine.error_s()) <= 0.7
    machine.passed_s += HOLD_S
    machine.ask()
    assert abs(machine.error_s() - 86_400.0) <= 0.7
    assert [round(jump_s) for jump_s in machine.jumps] == [86_400]


def test_a_short_jump_forward_moves_nothing() -> None:
    """Ten minutes count from the newest jump, not from one that was put right."""
    machine = Machine()
    for machine.server_wrong_s in (0.0, 86_400.0, 0.0):
        machine.ask()
    machine.passed_s += HOLD_S
    machine.server_wrong_s = 86_400.0
    machine.ask()
    assert abs(machine.error_s()) <= 0.7
    assert len(machine.jumps) == 2


def test_a_jump_backward_counts_at_once() -> None:
    """The times of new objects are before it: on the old time they would seem to be a day old."""
    machine = Machine()
    machine.ask()
    machine.server_wrong_s = -86_400.0
    machine.ask()
    assert abs(machine.error_s() + 86_400.0) <= 0.7
    assert [round(jump_s) for jump_s in machine.jumps] == [-86_400]


@pytest.mark.parametrize("apart_s", [60.0, -60.0])
def test_api_servers_whose_clocks_differ_report_a_jump_once_in_ten_minutes(
    apart_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """They answer in turn, so each response seems to be a jump; the log does not fill with them either."""
    machine = Machine()
    for turn in range(150):
        machine.server_wrong_s = apart_s * (turn % 2)
        machine.passed_s += 7.8
        machine.ask()
    assert machine.passed_s == pytest.approx(2 * HOLD_S)
    assert len(machine.jumps) == 2
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("the clock of the API server jumped") for line in lines) == 2


def test_a_larger_jump_after_a_small_one_is_reported() -> None:
    """The first report says less than what may be wrong now."""
    machine = Machine()
    for machine.server_wrong_s in (0.0, -60.0, -86_400.0):
        machine.ask()
    assert [round(jump_s) for jump_s in machine.jumps] == [-60, -86_340]


def test_a_jump_backward_while_a_jump_forward_waits_is_reported() -> None:
    """It counts at once, and a later jump forward waits for its own ten minutes."""
    machine = Machine()
    machine.ask()
    for wrong_s in (100.0, -3600.0):
        machine.server_wrong_s = wrong_s
        machine.ask()
    assert [round(jump_s, -2) for jump_s in machine.jumps] == [100.0, -3600.0]
    machine.passed_s += HOLD_S
    machine.server_wrong_s = 400.0
    machine.ask()
    assert machine.error_s() == pytest.approx(-3600.0, abs=2)
    assert round(machine.jumps[-1], -2) == 4000.0
