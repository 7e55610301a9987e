"""A run that the study stops stays stopping until its end is observed, and its measurements until then count."""

from dataclasses import replace

import pytest

from core.planning import make_small_study
from factories.runs import make_ended, make_finish, make_held, make_history, make_loss, make_run, make_started
from factories.studies import START, at, make_cell
from infpop_operator.core.decide import absorb, decide, stop_runs
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import failures
from infpop_operator.core.model import Finished, History, Lost, Observation, Phase, Running, Waiting
from infpop_operator.core.study import Budget, Study

PAIR = make_run("pair", cells=[make_cell(1, 8), make_cell(1, 16)])
OTHER = make_run("other", cells=[make_cell(2, 8)], index=2)
STOPPING = make_held(PAIR, stopping="Suspended")
HALF = make_finish(PAIR, [5.0, None], ended=70, broken="Stopped")


def test_only_the_named_runs_are_stopping() -> None:
    """A name that is not live changes nothing."""
    history = make_history(active=(make_held(PAIR), make_started(run=OTHER)))
    stopped = stop_runs(history, {"pair": "Superseded", "gone": "Superseded"}, at(60))
    stopping = make_held(PAIR, stopping="Superseded", stopping_since=at(60))
    assert stopped.active == (stopping, make_started(run=OTHER))
    assert replace(stopped, active=history.active) == history


@pytest.mark.parametrize("reasons", [{}, {"pair": "DeadlineReached"}])
def test_the_first_reason_of_a_stop_stays(reasons: dict[str, str]) -> None:
    """A stopping run does not resume when its reason disappears."""
    history = make_history(active=(STOPPING,))
    assert stop_runs(history, reasons, at(60)) == history


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (HALF, HALF),
        (make_finish(PAIR, ended=70), make_finish(PAIR, ended=70)),
        (make_finish(PAIR, [None, None], ended=70, broken="EngineCrash"), None),
        (make_finish(PAIR, [None, None], ended=70), None),
        (make_loss("NodeLost", ended=70, detail="gone"), None),
    ],
)
def test_a_stopped_run_keeps_its_results_and_broke_for_no_other_reason(
    observation: Finished | Lost, expected: Finished | None
) -> None:
    """Without any result it is lost for the reason of the stop, and never counts as a failure."""
    history = absorb(make_history(active=(STOPPING,)), {"pair": observation})
    loss = make_loss("Suspended", ended=70, counts=False)
    ended = replace(make_ended(PAIR, expected or loss, stopped="Suspended"), held_since=at(0))
    assert (history.ended, history.active) == ((ended,), ())
    assert failures(history) == ()


@pytest.mark.parametrize("observation", [make_loss("NodeLost", ended=70), make_finish(PAIR, [None, None], ended=70)])
def test_a_run_that_is_not_stopping_ends_as_it_was_observed(observation: Finished | Lost) -> None:
    """It held no devices where none were observed."""
    history = absorb(make_history(active=(make_started(run=PAIR),)), {"pair": observation})
    assert history.ended == (replace(make_ended(PAIR, observation, began=1), held_since=at(70)),)
    assert failures(history) == history.ended


@pytest.mark.parametrize("observation", [None, Waiting(reason="Unschedulable"), Running(phase=Phase.DONE)])
def test_a_run_is_stopping_until_its_end_is_observed(observation: Observation | None) -> None:
    """Until then every decision asks to stop it, and it keeps its place in the budget."""
    study = make_small_study(budget=Budget(parallel_trials=1))
    rounds = decide(study, History(started_at=START), {}, START).history.rounds
    seen = {} if observation is None else {"pair": observation}
    decision = decide(study, make_history(rounds=rounds, active=(STOPPING,)), seen, at(100))
    assert decision.stop == decision.history.active == (STOPPING,)
    assert (decision.start, decision.verdict) == ((), Verdict.RUNNING)
    room = replace(study, budget=Budget(parallel_trials=2))
    assert len(decide(room, make_history(rounds=rounds, active=(STOPPING,)), seen, at(100)).start) == 1


def with_live_runs(study: Study, *gpu_counts: int) -> History:
    """Return the study's history with one live run for each GPU count, the oldest first."""
    runs = [make_run(f"run-{index}", cells=[make_cell(gpus, 8)], index=index) for index, gpus in enumerate(gpu_counts)]
    opened = decide(study, History(started_at=START), {}, START).history
    return replace(opened, active=tuple(make_held(run) for run in runs))


@pytest.mark.parametrize(
    ("limits", "stopped"),
    [
        (Budget(parallel_trials=4, max_concurrent_gpus=7), []),
        (Budget(parallel_trials=4, max_concurrent_gpus=4), ["run-1", "run-3"]),
        (Budget(parallel_trials=4, max_concurrent_gpus=2), ["run-0", "run-2", "run-3"]),
        (Budget(parallel_trials=2, max_concurrent_gpus=7), []),
    ],
)
def test_a_lowered_limit_stops_the_newest_runs_above_it(limits: Budget, stopped: list[str]) -> None:
    """Seven GPUs at a cap of four: what no longer fits, oldest first, is stopped; nothing starts meanwhile."""
    study = make_small_study(budget=Budget(parallel_trials=4, max_concurrent_gpus=7))
    lowered = replace(study, budget=limits)
    decision = decide(lowered, with_live_runs(study, 3, 2, 1, 1), {}, at(61))
    assert [entry.run.name for entry in decision.stop] == stopped
    assert {entry.stopping for entry in decision.stop} <= {"BudgetLowered"}
    assert decision.start == ()
    assert ("above spec.budget.maxConcurrentGPUs, now" in decision.message) is bool(stopped)


def test_a_run_above_a_lowered_limit_is_no_failure_and_is_measured_later() -> None:
    """Its trial is planned again as soon as it fits."""
    study = make_small_study(budget=Budget(parallel_trials=2, max_concurrent_gpus=4, max_failed_trials=0))
    first = decide(study, History(started_at=START), {}, at(0))
    history = replace(first.history, active=tuple(make_held(run) for run in first.start))
    lowered = replace(study, budget=replace(study.budget, max_concurrent_gpus=2))
    second = decide(lowered, history, {}, at(60))
    (stopping,) = second.stop
    third = decide(lowered, second.history, {stopping.run.name: make_loss("Killed", ended=70)}, at(70))
    assert failures(third.history) == ()
    (kept,) = third.history.active
    fourth = decide(lowered, third.history, {kept.run.name: make_finish(kept.run, [5.0], ended=80)}, at(80))
    assert [run.trials for run in fourth.start] == [stopping.run.trials]
