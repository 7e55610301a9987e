"""Study budgets at, below and above their limits; room for another run; back-off pauses; wake-up times."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from factories.runs import (
    make_ended,
    make_finish,
    make_held,
    make_history,
    make_loss,
    make_round,
    make_run,
)
from factories.studies import SPACE, START, at, make_cell, make_pool, make_study
from infpop_operator.core.budget import Exhausted, beyond_live_runs, exhausted, has_room, pause_end, retry_at, wake_at
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.model import INTERRUPTED, EndedRun, HeldGPUs, History, Run
from infpop_operator.core.study import Budget, Configuration, ExtraParameter
from infpop_runner.contract import Broken

HOUR = 3600.0
TWO_POOLS = (make_pool(device_count=4), make_pool(name="v100", fingerprint="f2", device_count=2))


def run_on(gpu_count: int, name: str = "next", **changes: object) -> Run:
    """Return a run of one trial on this many GPUs."""
    return make_run(name, cells=(make_cell(gpu_count, 8),), **changes)


def live(*gpu_counts: int, began: float = 0, **changes: object) -> History:
    """Return a history with a live run on each number of GPUs."""
    runs = (run_on(gpus, f"live-{number}", **changes) for number, gpus in enumerate(gpu_counts))
    return make_history(active=tuple(make_held(run, since=began) for run in runs))


def broke(count: int, *, pool: str = "a100", **changes: object) -> tuple[EndedRun, ...]:
    """Return runs that broke one after another, one second apart."""
    return tuple(
        make_ended(run_on(1, f"broken-{number}", pool=pool), make_loss(ended=number, **changes))
        for number in range(1, count + 1)
    )


def exhausted_with(limits: Budget, history: History, seconds: float) -> Exhausted | None:
    """Return the budget that is exhausted this many seconds after the study's start."""
    return exhausted(make_study(budget=limits), history, at(seconds))


@pytest.mark.parametrize(("seconds", "spent"), [(HOUR - 0.001, False), (HOUR, True), (HOUR + 0.001, True)])
def test_a_deadline_is_reached_at_its_second(seconds: float, *, spent: bool) -> None:
    """The deadline counts from the study's start; it ends live runs and asks for no user action."""
    found = exhausted_with(Budget(deadline=timedelta(hours=1)), make_history(), seconds)
    expected = Exhausted(
        reason="DeadlineReached",
        message="the deadline of 1:00:00 has passed",
        field="spec.budget.deadline",
        stops_runs=True,
    )
    assert found == (expected if spent else None)
    later = replace(make_history(), started_at=at(HOUR))
    assert exhausted_with(Budget(deadline=timedelta(hours=1)), later, seconds) is None


@pytest.mark.parametrize(("seconds", "spent"), [(HOUR / 4 - 0.001, False), (HOUR / 4, True), (HOUR / 4 + 0.001, True)])
def test_gpu_hours_are_spent_at_their_second(seconds: float, *, spent: bool) -> None:
    """The ten GPU-hours are summed over all GPUs; they end live runs and ask for no user action."""
    past = make_ended(run_on(8), make_loss(ended=HOUR))
    history = replace(live(8), ended=(past,))
    found = exhausted_with(Budget(max_gpu_hours=10), history, seconds)
    assert found == (
        Exhausted(
            reason="GPUHoursSpent", message="10 GPU-hours are spent", field="spec.budget.maxGPUHours", stops_runs=True
        )
        if spent
        else None
    )


@pytest.mark.parametrize(("broken", "spent"), [(1, False), (2, False), (3, True), (4, True)])
def test_one_failure_more_than_allowed_is_too_many(broken: int, *, spent: bool) -> None:
    """Healthy live runs continue; the study needs user action, and the message says what broke and what to raise."""
    history = replace(live(1), ended=broke(broken, detail="gone"))
    found = exhausted_with(Budget(max_failed_trials=2), history, 100)
    message = (
        f"{broken} runs broke, more than spec.budget.maxFailedTrials 2; last: NodeLost: gone."
        " Fix the cause and raise spec.budget.maxFailedTrials to continue"
    )
    expected = Exhausted(
        reason="TooManyFailures", message=message, field="spec.budget.maxFailedTrials", stops_runs=False, stalls=True
    )
    assert found == (expected if spent else None)


def test_the_last_failure_is_the_one_that_is_reported() -> None:
    """A reason without a detail is shown alone."""
    first = make_ended(run_on(1, "first"), make_loss("Evicted"))
    last = make_ended(run_on(1, "last"), make_finish(run_on(1, "last"), [None], broken="LoadTimeout"))
    limits = Budget(max_failed_trials=0)
    assert _message(limits, make_history(ended=(first,))).startswith("1 run broke, more than ")
    assert "last: LoadTimeout: LoadTimeout of last. Fix" in _message(limits, make_history(ended=(first, last)))
    assert "last: Evicted. Fix" in _message(limits, make_history(ended=(last, first)))


def _message(limits: Budget, history: History) -> str:
    found = exhausted_with(limits, history, 100)
    assert found is not None
    return found.message


def lasting(name: str, cell: Configuration, pool: str = "a100") -> EndedRun:
    """Return a run that broke for a cause that stays until a person acts."""
    run = make_run(name, cells=(cell,), pool=pool)
    finish = make_finish(run, [None], broken="StorageUnavailable", load_seconds=None)
    broken = Broken(reason="StorageUnavailable", detail="full", retry="never")
    return make_ended(run, replace(finish, result=finish.result.model_copy(update={"broken": broken})))


LOADED = make_ended(run_on(2, "loaded"), make_finish(run_on(2, "loaded")))
EAGER = ExtraParameter(name="eager", values=(True, False))
FULL = lasting("full", make_cell(1, 8))
LAZY, HASTY = (lasting(f"eager-{value}", make_cell(1, 8, eager=value)) for value in (True, False))


@pytest.mark.parametrize(
    ("pools", "extra", "ended", "stops"),
    [
        (1, (), (FULL,), True),
        (1, (), (LOADED, FULL), False),  # another run works
        (2, (), (FULL,), False),  # the disk of one pool may be full
        (2, (), (FULL, lasting("other", make_cell(1, 8), "v100")), True),
        (2, (), (LOADED, FULL, lasting("other", make_cell(1, 8), "v100")), False),
        (1, (EAGER,), (LAZY,), False),  # this value may be the reason
        (1, (EAGER,), (LAZY, lasting("again", make_cell(2, 8, eager=True))), False),
        (1, (EAGER,), (LAZY, HASTY), True),
        (1, (ExtraParameter(name="eager", values=(True,)),), (LAZY,), True),
    ],
)
def test_a_cause_that_stays_stops_a_study_only_if_it_breaks_every_run(
    pools: int, extra: tuple[ExtraParameter, ...], ended: tuple[EndedRun, ...], *, stops: bool
) -> None:
    """If something works, or another pool or extra value may, it is a failure like others."""
    rounds = (make_round(), make_round(pool="v100"))
    study = make_study(pools=TWO_POOLS[:pools], space=replace(SPACE, extra=extra))
    found = exhausted(study, make_history(rounds=rounds, ended=ended), at(100))
    assert (found is not None) == stops
    assert found is None or "every run would break: StorageUnavailable: full." in found.message


def test_the_deadline_is_reported_before_the_gpu_hours_and_these_before_the_failures() -> None:
    """Of several exhausted budgets, the first in this order gives the reason."""
    history = replace(live(1), ended=broke(2))
    limits = Budget(deadline=timedelta(seconds=10), max_gpu_hours=10 / HOUR, max_failed_trials=1)
    reasons = [
        exhausted_with(each, history, 60)
        for each in (limits, replace(limits, deadline=None), replace(limits, deadline=None, max_gpu_hours=None))
    ]
    assert [each and each.reason for each in reasons] == ["DeadlineReached", "GPUHoursSpent", "TooManyFailures"]


def test_without_limits_no_time_is_too_long() -> None:
    """A study without a deadline and without a GPU-hours limit never ends because of either."""
    assert exhausted_with(Budget(), live(8), 1e9) is None


@pytest.mark.parametrize(
    ("limits", "stops"),
    [
        (Budget(parallel_trials=2, max_failed_trials=1), []),
        (Budget(parallel_trials=2, deadline=timedelta(seconds=100)), ["DeadlineReached"]),
        (Budget(parallel_trials=2, max_gpu_hours=100 / HOUR), ["GPUHoursSpent"]),
        (Budget(parallel_trials=2), []),
    ],
)
def test_failures_leave_healthy_runs_alone_and_spent_time_ends_them(limits: Budget, stops: list[str]) -> None:
    """Live measurements are not thrown away because other runs broke."""
    first = decide(make_study(budget=limits), History(started_at=START), {}, START).history
    history = replace(first, active=(make_held(run_on(1, "healthy")),), ended=broke(2))
    decision = decide(make_study(budget=limits), history, {}, at(101))
    assert [started.stopping for started in decision.stop] == stops
    if not stops:
        assert [started.run.name for started in decision.history.active] == ["healthy"]
        assert decision.verdict is Verdict.RUNNING


@pytest.mark.parametrize(("limit", "room"), [(1, False), (2, False), (3, True), (4, True)])
def test_parallel_trials_are_live_runs_and_the_next_one(limit: int, *, room: bool) -> None:
    """With two live runs and a limit of three, there is room for one more."""
    assert has_room(make_study(budget=Budget(parallel_trials=limit)), live(1, 1), run_on(1)) is room


@pytest.mark.parametrize(("limit", "room"), [(6, False), (7, True), (8, True)])
def test_concurrent_gpus_are_those_of_all_pools(limit: int, *, room: bool) -> None:
    """With live runs of one and four GPUs and a limit of seven, there is room for two more GPUs."""
    history = live(1, 4, pool="elsewhere")
    limits = Budget(parallel_trials=9, max_concurrent_gpus=limit)
    assert has_room(make_study(budget=limits), history, run_on(2)) is room


@pytest.mark.parametrize(("devices", "room"), [(6, False), (7, True), (8, True), (None, True)])
def test_a_pool_holds_as_many_runs_as_it_has_devices(devices: int | None, *, room: bool) -> None:
    """Devices of all the pool's nodes count, not only those available to one run; an unknown number limits nothing."""
    pool = make_pool(device_count=4, total_device_count=devices)
    study = make_study(pools=(pool,), budget=Budget(parallel_trials=9, max_concurrent_gpus=99))
    assert has_room(study, live(1, 4), run_on(2)) is room


@pytest.mark.parametrize(("devices", "room"), [(3, False), (4, True), (None, True)])
def test_a_run_needs_one_node_that_has_its_devices_now(devices: int | None, *, room: bool) -> None:
    """Eight devices on two nodes are no room for a run of more than either has."""
    pool = make_pool(device_count=8, usable_device_count=devices, total_device_count=8)
    study = make_study(pools=(pool,), budget=Budget(parallel_trials=9, max_concurrent_gpus=99))
    assert has_room(study, live(), run_on(4)) is room


def test_live_runs_of_another_pool_take_no_devices_of_this_one() -> None:
    """Each pool counts its own devices."""
    study = make_study(pools=TWO_POOLS, budget=Budget(parallel_trials=9, max_concurrent_gpus=99))
    assert has_room(study, live(4), run_on(2, pool="v100"))
    assert not has_room(study, live(1, pool="v100"), run_on(2, pool="v100"))


@pytest.mark.parametrize(
    ("broken", "pause_s"),
    [(0, None), (1, None), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 320), (8, 360), (9, 360), (400, 360)],
)
def test_the_first_retry_is_at_once_and_each_later_pause_is_twice_as_long(broken: int, pause_s: float | None) -> None:
    """The pause starts when the newest run broke, and is at most six minutes however many runs broke."""
    expected = None if pause_s is None else at(broken + pause_s)
    assert retry_at(make_history(ended=broke(broken)), "a100") == expected


@pytest.mark.parametrize(
    ("now_s", "ends_s"), [(3, 23), (22, 23), (23, None), (-337, 23), (-338, None), (-86_400, None)]
)
def test_a_clock_that_was_set_back_prolongs_no_pause(now_s: float, ends_s: float | None) -> None:
    """An end that is further away than the longest pause is from before the clock was set back: the pause is over."""
    history = make_history(ended=broke(3))
    assert pause_end(history, "a100", at(now_s)) == (None if ends_s is None else at(ends_s))


def test_preemptions_pause_a_pool_and_interruptions_do_not() -> None:
    """The scheduler would preempt the next run again; a run that the user ended may start again without a pause."""
    assert retry_at(make_history(ended=broke(3, counts=False)), "a100") == at(3 + 20)
    interrupted = make_ended(run_on(1), make_loss(INTERRUPTED, ended=9, counts=False))
    assert retry_at(make_history(ended=(*broke(3), interrupted)), "a100") is None
    again = make_ended(run_on(1, "again"), make_loss(ended=20))
    assert retry_at(make_history(ended=(*broke(3), interrupted, again)), "a100") is None


def test_a_pause_is_that_of_its_pool() -> None:
    """Other pools continue meanwhile."""
    history = make_history(ended=(*broke(2), *broke(3, pool="v100")))
    assert retry_at(history, "a100") == at(2 + 10)
    assert retry_at(history, "v100") == at(3 + 20)
    assert retry_at(history, "h100") is None


def woken(history: History, *starts: Run, seconds: float = 100, **limits: object) -> datetime | None:
    """Return when a study of two pools asks for its next decision."""
    study = make_study(pools=TWO_POOLS, budget=replace(Budget(), **limits))
    return wake_at(study, history, starts, at(seconds))


def test_time_alone_changes_nothing_without_a_limit_or_a_pause() -> None:
    """A study that waits only for runs sets no wake-up time."""
    assert woken(live(1)) is None
    assert woken(make_history(), max_gpu_hours=1.0) is None


def test_a_study_is_woken_at_the_end_of_the_first_pause_that_is_not_over() -> None:
    """Pauses of every pool count; one that ends now or has ended needs no wake-up."""
    history = make_history(rounds=(make_round(),), ended=(*broke(3), *broke(4, pool="v100")))
    assert woken(history, seconds=5) == at(3 + 20)
    assert woken(history, seconds=23) == at(4 + 40)
    assert woken(history, seconds=44) is None


def test_a_study_is_woken_at_its_deadline() -> None:
    """The deadline counts from the study's start, with or without live runs."""
    assert woken(live(1), deadline=timedelta(hours=1)) == at(HOUR)
    assert woken(make_history(started_at=at(50)), deadline=timedelta(hours=1)) == at(HOUR + 50)
    assert woken(live(1), seconds=HOUR, deadline=timedelta(hours=1)) is None


def test_a_study_is_woken_when_its_gpu_hours_will_be_spent() -> None:
    """Live runs and runs that start now both spend GPU-hours; a microsecond later the budget is certainly spent."""
    just_after = timedelta(microseconds=1)
    assert woken(live(1), max_gpu_hours=1.0) == at(HOUR) + just_after
    assert woken(live(1, 2), max_gpu_hours=1.0) == at(100 + (HOUR - 300) / 3) + just_after
    assert woken(live(1), run_on(2), max_gpu_hours=1.0) == at(100 + (HOUR - 100) / 3) + just_after
    assert woken(make_history(), run_on(2), max_gpu_hours=1.0) == at(100 + HOUR / 2) + just_after
    assert woken(live(1), seconds=HOUR - 1, max_gpu_hours=1.0) == at(HOUR) + just_after
    assert woken(live(1), seconds=HOUR, max_gpu_hours=1.0) is None


def test_the_first_of_all_instants_wakes_a_study() -> None:
    """The wake-up is the earliest of deadline, GPU-hours and pauses."""
    history = replace(live(1), ended=broke(8))
    assert woken(history, deadline=timedelta(seconds=200), max_gpu_hours=1.0) == at(200)
    assert woken(history, deadline=timedelta(hours=9), max_gpu_hours=150 / HOUR) == at(114) + timedelta(microseconds=1)
    assert woken(history, deadline=timedelta(hours=9), max_gpu_hours=9.0) == at(8 + 360)


HELD = HeldGPUs(run="ended", pool="a100", gpu_count=2, holder="2 GPUs are still held by Pod ended-x on node n1")


@pytest.mark.parametrize(
    ("held", "room"), [((), True), ((HELD,), False), ((replace(HELD, pool=None, gpu_count=1),), True)]
)
def test_gpus_that_an_ended_run_still_holds_count(held: tuple[HeldGPUs, ...], *, room: bool) -> None:
    """Three of eight GPUs are live, and a run of four fits only beside one more."""
    study = make_study(budget=Budget(parallel_trials=9, max_concurrent_gpus=8))
    assert has_room(study, live(1, 2), run_on(4), held) is room


def test_gpus_that_an_ended_run_still_holds_are_those_of_its_pool() -> None:
    """The other pool has its devices."""
    study = make_study(pools=TWO_POOLS, budget=Budget(parallel_trials=9, max_concurrent_gpus=99))
    devices = TWO_POOLS[0].total_device_count
    assert devices is not None
    full = (replace(HELD, pool=TWO_POOLS[0].name, gpu_count=devices),)
    assert not has_room(study, live(), run_on(1, pool=TWO_POOLS[0].name), full)
    assert has_room(study, live(), run_on(1, pool=TWO_POOLS[1].name), full)


def test_a_live_run_holds_its_own_gpus_once() -> None:
    """Only what a second Pod of it holds is counted beside it."""
    (run,) = live(2).active
    own = replace(HELD, run=run.run.name)
    assert beyond_live_runs((own,), (run,)) == ()
    assert beyond_live_runs((replace(own, gpu_count=4),), (run,)) == (own,)
    assert beyond_live_runs((HELD,), (run,)) == (HELD,)
