"""What shares the load of the search's choice with `trialsPerRun: auto`, and what becomes of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from core.planning import ONE_LOAD, SPACE, make_small_study, next_run
from core.planning import planned as planned_next
from factories.runs import make_ended, make_finish, make_history, make_loss, make_result, make_run
from factories.studies import make_cell, make_pool
from infpop_operator.core import plan_companions
from infpop_operator.core.history import broken_reason, missing_trials, suspect, trials_of
from infpop_operator.core.model import EndedRun, Finished, PlannedTrial, Run, TrialState
from infpop_operator.core.objective import loss_at, throughput_at
from infpop_operator.core.search import Companion, SearchRequest
from infpop_operator.core.study import AUTO, Algorithm, Budget, Configuration, Constraint, Objective, Study
from infpop_runner.contract import BrokenReason, Skipped

AUTO_GRID = Algorithm(name="grid", trials_per_run=AUTO)
Answer = Sequence[tuple[int, float | None]]  # batch sizes, each with the loss that it needs


def make_auto_study(**changes: object) -> Study:
    """Return a grid search that chooses the companions."""
    return make_small_study(**{"algorithm": AUTO_GRID} | changes)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets what the search answers when it is asked for companions."""

    def give(*batches: tuple[int, float | None]) -> None:
        def ask(request: SearchRequest, first: Configuration, most: int) -> tuple[Companion, ...]:
            cells = [(replace(first, batch_size=batch), needs) for batch, needs in batches]
            assert all(cell in request.open_cells for cell, _ in cells)
            return tuple(Companion(configuration=cell, needs_loss=needs) for cell, needs in cells[:most])

        monkeypatch.setattr(plan_companions, "companions", ask)

    return give


def planned(run: Run) -> list[tuple[int, float | None]]:
    """Return the batch size of each trial in the order of the runner, with the throughput that it needs."""
    return [(trial.configuration.batch_size, trial.needs_tokens_per_second) for trial in run.sequence]


def test_a_grid_shares_a_load_between_all_that_is_left_of_it() -> None:
    """The whole space is to be measured, so every other load would cost more."""
    study = make_auto_study()
    first = next_run(study)
    assert planned(first) == [(batch, None) for batch in SPACE.batch_sizes]
    second = next_run(study, make_ended(first, make_finish(first)))
    assert ({cell.configuration.gpu_count for cell in second.trials}, len(second.trials)) == ({1}, 4)


@pytest.mark.parametrize("name", ["tpe", "anneal", "random"])
def test_a_search_that_cannot_say_what_a_load_is_worth_measures_one_trial(name: str) -> None:
    """`auto` is then the same as 1, down to the name of the run."""
    auto, one = (make_small_study(algorithm=Algorithm(name=name, trials_per_run=count)) for count in (AUTO, 1))
    assert next_run(auto) == next_run(one)
    assert len(next_run(auto).trials) == 1


@pytest.mark.parametrize(("budget", "expected"), [(1, 1), (3, 3), (20, 4)])
def test_companions_never_exceed_the_trial_budget(answer: Callable[..., None], budget: int, expected: int) -> None:
    """Each of them may become a trial."""
    answer((16, None), (32, None), (64, None))
    study = make_auto_study(budget=Budget(max_trials=budget), baseline=make_cell(2, 8))
    assert len(next_run(study).trials) == expected


def test_a_grid_that_the_budget_cuts_short_leaves_each_load_its_share() -> None:
    """Four trials for two loads are two for each."""
    study = make_auto_study(budget=Budget(max_trials=4))
    first = next_run(study)
    second = next_run(study, make_ended(first, make_finish(first)))
    assert [(run.gpu_count, len(run.trials)) for run in (first, second)] == [(2, 2), (1, 2)]


def test_a_grid_goes_up_from_a_baseline_in_the_middle() -> None:
    """What is smaller is measured on another load, again from the smallest batch size up."""
    study = make_auto_study(baseline=make_cell(2, 32))
    first = next_run(study)
    second = next_run(study, make_ended(first, make_finish(first)))
    assert [planned(run) for run in (first, second)] == [[(32, None), (64, None)], [(8, None), (16, None)]]


def test_no_run_has_more_trials_than_the_contract_allows() -> None:
    """Eight results share a termination message."""
    space = replace(SPACE, batch_sizes=tuple(2**power for power in range(11)))
    assert len(next_run(make_auto_study(space=space)).trials) == 8


def test_companions_come_in_the_order_of_the_search(answer: Callable[..., None]) -> None:
    """The choice of the search is the first; its runner is told to keep the order."""
    answer((64, None), (16, None))
    run = next_run(make_auto_study())
    assert (planned(run), run.in_order) == ([(8, None), (64, None), (16, None)], True)
    answer((16, None), (64, None))
    run = next_run(make_auto_study())
    assert (planned(run), run.in_order) == ([(8, None), (16, None), (64, None)], False)


def test_the_baseline_has_companions_of_the_search_as_well(answer: Callable[..., None]) -> None:
    """It is measured first on its load; one outside the search space shares its load with nothing."""
    answer((16, None))
    assert planned(next_run(make_auto_study(baseline=make_cell(1, 32)))) == [(32, None), (16, None)]
    assert planned(next_run(make_auto_study(baseline=make_cell(1, 48)))) == [(48, None)]


def test_a_bound_on_memory_makes_batch_sizes_ascend(answer: Callable[..., None]) -> None:
    """After a larger batch the memory of a smaller one may not be known, and the bound could not be judged."""
    answer((64, None), (16, 0.0), (8, None))
    bound = Objective(constraints=(Constraint(metric="gpuMemoryPeakBytes", maximum=2.0**35),))
    run = next_run(make_auto_study(objective=bound, baseline=make_cell(2, 16)))
    assert planned(run) == [(16, None), (64, None)]


PRICED = make_pool(price_per_gpu_hour=3.6)


@pytest.mark.parametrize(
    ("objective", "needs_loss", "expected"),
    [
        (Objective(), -812.34567, 812.346),
        (Objective(), 0.0, 1e-9),
        (Objective(metric="throughputPerGPU"), -400.0, 800.0),
        (Objective(metric="costPerMillionTokens"), 2.5, 800.0),
    ],
)
def test_a_needed_loss_travels_as_a_throughput(
    answer: Callable[..., None], objective: Objective, needs_loss: float, expected: float
) -> None:
    """The runner knows neither prices nor objectives; at one GPU count a throughput says the same."""
    answer((16, needs_loss), (32, None))
    run = next_run(make_auto_study(objective=objective, pools=(PRICED,)))
    assert run.gpu_count == 2
    assert planned(run) == [(8, None), (16, expected), (32, None)]


@pytest.mark.parametrize(
    "objective",
    [
        Objective(metric="tokensPerJoule", power_metric="power"),
        Objective(metric="power", goal="Minimize"),
    ],
)
def test_what_depends_on_a_loss_that_no_runner_knows_is_left_for_another_run(
    answer: Callable[..., None], objective: Objective
) -> None:
    """Metrics of other exporters arrive after the run; what is worthwhile in any case needs none of them."""
    answer((16, -1.0), (32, None))
    assert planned(next_run(make_auto_study(objective=objective))) == [(8, None), (32, None)]


@pytest.mark.parametrize("metric", ["throughput", "throughputPerGPU", "costPerMillionTokens"])
def test_a_loss_and_its_throughput_are_each_others_inverse(metric: str) -> None:
    """What is reached on one side is reached on the other."""
    for rate in (0.07, 1.0, 4321.5):
        loss = loss_at(Objective(metric=metric), rate, 4, 3.6)
        assert loss is not None
        assert throughput_at(Objective(metric=metric), loss, 4, 3.6) == pytest.approx(rate)


def test_no_throughput_makes_a_cost_of_nothing() -> None:
    """What needs it is never worthwhile."""
    assert throughput_at(Objective(metric="costPerMillionTokens"), 0.0, 1, 3.6) is None
    assert throughput_at(Objective(), 5.0, 1, None) == 0.0


# What becomes of companions: a run in the order 16, 64, 8, 32, the last two only if an earlier one is fast enough.
ORDERED = replace(
    make_run("ordered", cells=[make_cell(2, batch) for batch in (16, 64, 8, 32)]),
    in_order=True,
)
NEEDY = replace(
    ORDERED,
    trials=(*ORDERED.trials[:2], *(replace(each, needs_tokens_per_second=90.0) for each in ORDERED.trials[2:])),
)


def skipped(trial: PlannedTrial) -> Skipped:
    """Return the result of a trial that was not worthwhile."""
    return Skipped(index=trial.index, batch_size=trial.configuration.batch_size, detail="too slow")


def ended_with(run: Run, *outcomes: object, broken: BrokenReason | None = None) -> EndedRun:
    """Return the end of a run, with "skipped" among the outcomes of its trials."""
    numbers = [None if outcome == "skipped" else outcome for outcome in outcomes]
    result = make_result(run, numbers, broken=broken)  # type: ignore[arg-type]
    left = (skipped(trial) for trial, outcome in zip(run.trials, outcomes, strict=True) if outcome == "skipped")
    result = result.model_copy(update={"trials": (*result.trials, *left)})
    return make_ended(run, Finished(result=result, ended_at=result.ended_at))


def states(*ended: EndedRun) -> dict[int, TrialState]:
    """Return the state of each trial, by batch size."""
    trials = trials_of(make_history(ended=ended), "a100", 1)
    return {trial.configuration.batch_size: trial.state for trial in trials}


def test_a_skipped_trial_is_none_and_its_cell_is_open_again() -> None:
    """It uses no budget, is no failure, and may be chosen for a later run."""
    ended = ended_with(NEEDY, 80.0, 70.0, "skipped", "skipped")
    assert broken_reason(ended) is None
    assert states(ended) == {16: TrialState.MEASURED, 64: TrialState.MEASURED}
    run = next_run(make_auto_study(), ended)
    assert [(trial.index, trial.configuration) for trial in run.trials] == [(4, make_cell(2, 8)), (5, make_cell(2, 32))]
    plan = planned_next(make_auto_study(budget=Budget(max_trials=2)), ended)
    assert (plan.next_run, plan.ended) == (None, "MaxTrialsReached")
    assert planned_next(make_auto_study(budget=Budget(max_trials=3)), ended).next_run is not None


def test_what_an_out_of_memory_decides_does_not_depend_on_the_order() -> None:
    """Larger batches are certain, whether they were to come before or after; a smaller one is owed."""
    ended = ended_with(ORDERED, "GpuOutOfMemory", None, 100.0, None)
    assert broken_reason(ended) is None
    assert states(ended) == {16: TrialState.INFEASIBLE, 8: TrialState.MEASURED}
    owing = ended_with(ORDERED, 100.0, "GpuOutOfMemory", None, None)
    assert broken_reason(owing) == ("RunnerError", "the result omits trials 3, 4 without a reason")


def test_the_engine_died_on_the_first_trial_without_a_result_in_the_order_of_the_run() -> None:
    """Not on one that it left out after an out-of-memory, although that comes before."""
    first = ended_with(ORDERED, 100.0, None, None, None, broken="EngineCrash")
    assert suspect(first) == ORDERED.trials[1]
    after = ended_with(ORDERED, "GpuOutOfMemory", None, None, None, broken="EngineCrash")
    assert suspect(after) == ORDERED.trials[2]
    assert missing_trials(after) == ORDERED.trials[2:3]
    assert states(after) == {16: TrialState.INFEASIBLE, 8: TrialState.BROKEN}


def test_an_uncertain_trial_that_a_broken_run_did_not_come_to_is_open() -> None:
    """Only the trial that the engine died on is tried again, and then in any case."""
    ended = ended_with(NEEDY, 100.0, 95.0, None, None, broken="EngineCrash")
    assert states(ended) == {16: TrialState.MEASURED, 64: TrialState.MEASURED, 8: TrialState.BROKEN}
    run = next_run(make_auto_study(), ended)
    assert (planned(run), run.attempt) == ([(8, None)], 2)


@pytest.mark.parametrize("stopped", [True, False])
def test_what_a_run_had_not_begun_with_is_tried_again_as_it_was_planned(*, stopped: bool) -> None:
    """A run that is lost before its first result has a retry with the same order and the same conditions."""
    ended = ended_with(NEEDY, None, None, None, None, broken="Stopped") if stopped else make_ended(NEEDY, make_loss())
    assert set(states(ended)) == {16, 64, 8, 32}
    run = next_run(make_auto_study(space=ONE_LOAD), ended)
    assert (run.trials, run.in_order, run.attempt) == (NEEDY.trials, True, 2)


def test_a_run_that_was_stopped_after_a_result_leaves_the_uncertain_open() -> None:
    """What was certain is tried again; the search decides about the rest."""
    ended = ended_with(NEEDY, 100.0, None, None, None, broken="Stopped")
    assert states(ended) == {16: TrialState.MEASURED, 64: TrialState.BROKEN}


def test_a_retry_measures_its_first_trial_in_any_case() -> None:
    """If what came first is ruled out by now, no retry loads an engine only to skip everything."""
    alone = make_run("alone", cells=[make_cell(2, 12)], index=9)
    lost = make_ended(replace(NEEDY, trials=NEEDY.trials[:3]), make_loss())
    too_large = make_ended(alone, make_finish(alone, ["GpuOutOfMemory"]))
    assert planned(next_run(make_auto_study(), lost, too_large)) == [(8, None)]
