"""What a study recommends: the best of each pool, the best pool, and the improvement."""

from dataclasses import replace

import pytest

from factories.runs import Outcome, make_ended, make_finish, make_history, make_round, make_run
from factories.studies import make_cell, make_measured, make_pool, make_study, make_trial
from infpop_operator.core.model import EndedRun, History, Trial, TrialState
from infpop_operator.core.recommend import (
    best_of_pool,
    best_of_study,
    improvement_ratio,
    measurement,
    trial_loss,
    trial_value,
)
from infpop_operator.core.study import Budget, Objective, Study

CHEAP = make_pool(name="cheap", price_per_gpu_hour=1.0)
DEAR = make_pool(name="dear", price_per_gpu_hour=4.0)
ROUNDS = (make_round(pool="cheap"), make_round(pool="dear"))
COST = Objective(metric="costPerMillionTokens")


def measured(pool: str, outcome: Outcome, *, gpus: int = 2, round_number: int = 1) -> EndedRun:
    """Return a run of one trial on two GPUs."""
    cell = make_cell(gpus, 64)
    run = make_run(f"{pool}-{round_number}-{gpus}", cells=[cell], index=gpus, pool=pool, round=round_number)
    return make_ended(run, make_finish(run, [outcome]))


def found(study: Study, *ended: EndedRun) -> tuple[str, int] | None:
    """Return the pool and the GPU count of the recommendation."""
    best = best_of_study(study, make_history(rounds=ROUNDS, ended=ended))
    return best and (best[0].name, best[1].configuration.gpu_count)


@pytest.mark.parametrize("order", [(CHEAP, DEAR), (DEAR, CHEAP)])
def test_of_equal_pools_the_one_that_is_listed_first_wins(order: tuple[object, object]) -> None:
    """The order in the study decides, not the order in which runs ended, the price or the number of GPUs."""
    study = make_study(pools=order)
    assert found(study, measured("cheap", 9.0), measured("dear", 9.0)) == (order[0].name, 2)
    assert found(study, measured("dear", 9.0), measured("cheap", 9.0)) == (order[0].name, 2)
    assert found(study, measured("dear", 9.0, gpus=4), measured("cheap", 9.0, gpus=4)) == (order[0].name, 4)


@pytest.mark.parametrize(("cheap", "dear", "expected"), [(9.0, 9.001, "dear"), (9.001, 9.0, "cheap")])
def test_between_pools_the_better_number_wins_however_close(cheap: float, dear: float, expected: str) -> None:
    """The one-per-cent tie applies only to configurations of one pool."""
    study = make_study(pools=(CHEAP, DEAR))
    best = found(study, measured("cheap", cheap), measured("dear", dear))
    assert best == (expected, 2)


def test_pools_are_compared_by_the_studys_objective_at_their_own_prices() -> None:
    """Twice the throughput at four times the price means more throughput and a higher cost."""
    ended = (measured("cheap", 100.0), measured("dear", 200.0))
    study = make_study(pools=(CHEAP, DEAR))
    assert found(study, *ended) == ("dear", 2)
    assert found(replace(study, objective=COST), *ended) == ("cheap", 2)


def test_a_pool_without_an_eligible_trial_is_passed_over() -> None:
    """If no pool has an eligible trial, nothing is recommended."""
    study = make_study(pools=(CHEAP, DEAR))
    assert found(study, measured("cheap", "GpuOutOfMemory"), measured("dear", 1.0)) == ("dear", 2)
    assert found(study, measured("cheap", "GpuOutOfMemory")) is None
    assert found(study, measured("gone", 5.0)) is None
    assert found(replace(study, pools=(DEAR,)), measured("cheap", 9.0), measured("dear", 1.0)) == ("dear", 2)


def again(number: int, rate: float) -> EndedRun:
    """Return a load that measures the trial of the pool `cheap` again."""
    run = make_run(f"again-{number}", cells=[make_cell(2, 64)], index=2, pool="cheap", attempt=number, confirms=True)
    return make_ended(run, make_finish(run, [rate]))


@pytest.mark.parametrize(("objective", "cheap_wins", "dear_wins"), [(Objective(), 103.0, 106.0), (COST, 400.0, 450.0)])
@pytest.mark.parametrize("order", [(CHEAP, DEAR), (DEAR, CHEAP)])
def test_the_largest_number_of_a_search_beats_a_confirmed_one_only_above_its_interval(
    order: tuple[object, object], objective: Objective, cheap_wins: float, dear_wins: float
) -> None:
    """A search's best is too high by chance. 95 tokens/s from fresh loads are 86 to 104; the other costs four times."""
    study = make_study(pools=order, objective=objective, budget=Budget(max_trials=1, confirm=True))
    rounds = tuple(replace(entry, confirms=True) for entry in ROUNDS)

    def chosen(rate: float) -> str:
        ended = (measured("cheap", 100.0), again(1, 94.0), again(2, 96.0), measured("dear", rate))
        best = best_of_study(study, make_history(rounds=rounds, ended=ended))
        assert best is not None
        assert (best[1].confirmed is not None) == (best[0] is CHEAP)
        return best[0].name

    assert (chosen(cheap_wins), chosen(dear_wins)) == ("cheap", "dear")


def history_of_two_rounds() -> History:
    """Return two rounds of a pool with a trial each, and one trial outside the search space."""
    rounds = (make_round(pool="cheap"), make_round(pool="cheap", number=2))
    ended = (
        measured("cheap", 900.0, gpus=4),
        measured("cheap", 5.0, gpus=2, round_number=2),
        measured("cheap", 99.0, gpus=16, round_number=2),
    )
    return make_history(rounds=rounds, ended=ended)


def test_only_the_newest_round_of_a_pool_is_recommended_from() -> None:
    """Older numbers belong to other hardware or settings; trials outside the space are shown, not recommended."""
    study, history = make_study(pools=(CHEAP,)), history_of_two_rounds()
    best = best_of_pool(study, CHEAP, history)
    assert best is not None
    assert best.configuration == make_cell(2, 64)
    assert best_of_pool(study, DEAR, history) is None


def trial_of(gpus: int, rate: float) -> Trial:
    """Return a measured trial."""
    return make_trial(make_cell(gpus, 8), rate)


@pytest.mark.parametrize(
    ("objective", "expected", "lost"),
    [
        (Objective(), 400.0, -400.0),
        (Objective(metric="throughputPerGPU"), 100.0, -100.0),
        (COST, 1.0 * 4 / 3600 / 400 * 1e6, 1.0 * 4 / 3600 / 400 * 1e6),
        (Objective(metric="queue", goal="Minimize"), 7.0, 7.0),
        (Objective(metric="queue", goal="Maximize"), 7.0, -7.0),
    ],
)
def test_a_trial_is_worth_what_the_objective_says(objective: Objective, expected: float, lost: float) -> None:
    """GPU count, price and extra metrics come from the trial and its pool."""
    study, trial = make_study(objective=objective), replace(trial_of(4, 400.0), extra_metrics={"queue": 7.0})
    assert trial_value(study, CHEAP, trial) == pytest.approx(expected)
    assert trial_loss(study, CHEAP, trial) == pytest.approx(lost)


@pytest.mark.parametrize(
    ("objective", "expected"), [(Objective(), 0.5), (Objective(metric="throughputPerGPU"), -0.25), (COST, -1 / 3)]
)
def test_an_improvement_is_relative_to_the_old_trial(objective: Objective, expected: float) -> None:
    """1.5 times the throughput on twice the GPUs is a quarter less for each GPU and a third more cost."""
    study = make_study(objective=objective)
    ratio = improvement_ratio(study, DEAR, new=trial_of(2, 150.0), old=trial_of(1, 100.0))
    assert ratio == pytest.approx(expected)


def test_a_trial_without_a_number_has_no_measurement() -> None:
    """Asking for one raises an error."""
    measured_trial = make_trial(make_cell(1, 8), make_measured(5.0))
    assert measurement(measured_trial) == make_measured(5.0)
    with pytest.raises(TypeError, match="trial 3 was not measured"):
        measurement(make_trial(make_cell(1, 8), TrialState.BROKEN, index=3))
