"""The next run of a pool's round: a retry first, then the baseline, then what the search proposes."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.planning import (
    ALONE,
    FOUR,
    LATER,
    LOAD,
    ONE_LOAD,
    SPACE,
    chosen,
    make_small_study,
    measured,
    next_run,
    planned,
)
from factories.runs import Outcome, make_ended, make_finish, make_history, make_loss, make_round, make_run, make_started
from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.fingerprint import run_name
from infpop_operator.core.model import Finished, Missing
from infpop_operator.core.plan import plan_pool
from infpop_operator.core.plan_view import view_of
from infpop_operator.core.search import SearchRequest, SearchTrial, propose
from infpop_operator.core.search_trials import search_trials
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Budget, Configuration, Constraint, Objective, Study
from infpop_runner.contract import EngineSpec, ModelFacts


def test_a_pool_without_a_round_cannot_be_planned() -> None:
    """The decision opens the round before it plans."""
    with pytest.raises(ValueError, match="pool a100 has no round"):
        planned(make_small_study(), rounds=(make_round(pool="v100"),))


@pytest.mark.parametrize("baseline", [make_cell(1, 32), make_cell(3, 7)])
def test_the_baseline_is_measured_before_the_search_is_asked(baseline: Configuration) -> None:
    """The baseline may lie outside the search space; once it is measured, the search decides."""
    study = make_small_study(baseline=baseline)
    assert chosen(next_run(study)) == [baseline]
    assert chosen(next_run(study, measured([baseline]))) == [LOAD[0]]
    assert chosen(next_run(make_small_study())) == [LOAD[0]]


def test_a_plan_without_the_search_says_only_how_far_the_round_is() -> None:
    """It has no new run, but retries and the end of the round are the same."""
    study = make_small_study(budget=Budget(max_trials=1))
    lost = make_ended(ALONE, make_loss())
    for ended in ((), (lost,), (measured([LOAD[0]]),)):
        history = make_history(ended=ended)
        full = plan_pool(study, study.pools[0], history, LATER)
        assert plan_pool(study, study.pools[0], history, LATER, asks_search=False) == (
            full if ended else replace(full, next_run=None)
        )


def test_a_later_round_begins_with_the_best_of_the_one_before() -> None:
    """The baseline of the study's current spec replaces the one that the first round recorded."""
    study, earlier = make_small_study(baseline=make_cell(1, 32)), make_cell(1, 64)
    second = make_round(number=2, baseline=earlier)
    assert chosen(next_run(study, rounds=(make_round(), second))) == [earlier]
    assert chosen(next_run(study, rounds=(make_round(baseline=earlier),))) == [make_cell(1, 32)]


def test_a_planned_run_has_its_pool_and_trials_and_is_named_after_them() -> None:
    """Pool and round are those of the plan; a first attempt is not a longer measurement."""
    study = make_small_study(pools=(make_pool(name="v100"),))
    run = next_run(study, rounds=(make_round(pool="v100", number=3),))
    expected = make_run("", cells=LOAD[:1], pool="v100", round=3)
    assert run == replace(expected, name=run_name(study, expected))


def test_a_broken_trial_is_tried_again_before_anything_else() -> None:
    """The retry comes before an unmeasured baseline, and also after the last trial of the budget was planned."""
    study = make_small_study(baseline=make_cell(1, 32), budget=Budget(max_trials=1))
    run = next_run(study, make_ended(ALONE, make_loss()))
    again = replace(ALONE, attempt=2)
    assert run == replace(again, name=run_name(study, again))


@pytest.mark.parametrize(("limit", "expected"), [(1, [make_cell(1, 8)]), (2, [LOAD[0]]), (3, [LOAD[0]])])
def test_no_run_holds_more_gpus_than_the_study_may(limit: int, expected: list[Configuration]) -> None:
    """A lowered limit gives up the broken trials above it, and a baseline above it is not measured."""
    study = make_small_study(budget=Budget(max_concurrent_gpus=limit))
    assert chosen(next_run(study)) == expected
    works = measured([make_cell(1, 128)], index=9)
    lost = make_ended(ALONE, make_loss())
    assert chosen(next_run(study, works, lost)) == expected
    large = replace(study, baseline=make_cell(4, 8))
    assert chosen(next_run(large)) == expected


def test_model_facts_of_a_run_rule_cells_out() -> None:
    """Three attention heads cannot be split over two GPUs."""
    study = make_small_study(engine=EngineSpec(name="vllm"))
    run = make_run(cells=[make_cell(1, 8)])
    known = make_ended(run, make_finish(run, model=ModelFacts(attention_heads=3)))
    assert chosen(next_run(study)) == [make_cell(2, 8)]
    assert chosen(next_run(study, known)) == [make_cell(1, 16)]


@pytest.mark.parametrize(("limit", "expected"), [(2, 1), (3, 2), (4, 3), (5, 3), (9, 3)])
def test_a_run_has_no_more_trials_than_are_left(limit: int, expected: int) -> None:
    """`trialsPerRun` is cut at `maxTrials`."""
    algorithm = Algorithm(name="grid", trials_per_run=3)
    study = make_small_study(algorithm=algorithm, budget=Budget(max_trials=limit))
    run = next_run(study, measured([make_cell(1, 8)]))
    assert [trial.index for trial in run.trials] == list(range(1, 1 + expected))
    assert set(chosen(run)) <= set(LOAD)


def test_the_trials_of_a_run_share_its_load() -> None:
    """A run is short if fewer cells of its load are open; the baseline's run is filled with cells of its own load."""
    study = make_small_study(algorithm=FOUR)
    assert chosen(next_run(study, measured(LOAD[:1], index=4))) == list(LOAD[1:])
    assert next_run(study, measured(LOAD[:1], index=4)).trials[0].index == 5
    baseline = make_small_study(algorithm=FOUR, baseline=make_cell(1, 32))
    assert chosen(next_run(baseline)) == [make_cell(1, batch) for batch in (32, 8, 16, 64)]
    outside = make_small_study(algorithm=FOUR, baseline=make_cell(3, 8))
    assert chosen(next_run(outside)) == [make_cell(3, 8)]


@pytest.mark.parametrize(("parallel", "waits"), [(1, True), (2, True), (3, False)])
def test_a_pool_waits_while_as_many_runs_live_as_may(parallel: int, *, waits: bool) -> None:
    """Live runs of every pool count; a configuration that is being measured is not proposed again."""
    study = make_small_study(budget=Budget(parallel_trials=parallel))
    active = (make_started(run=ALONE), make_started(run=make_run("elsewhere", cells=LOAD[1:2], pool="v100")))
    wanted = planned(study, active=active)
    assert wanted.ended is None
    assert (wanted.next_run and chosen(wanted.next_run)) == (None if waits else [make_cell(1, 8)])


def test_a_retry_does_not_wait_for_live_runs() -> None:
    """The budgets decide whether there is room for the retry."""
    assert (
        next_run(
            make_small_study(space=ONE_LOAD), make_ended(ALONE, make_loss()), active=(make_started(index=5),)
        ).trials
        == ALONE.trials
    )


def asked(study: Study, records: Sequence[SearchTrial], index: int) -> Configuration | None:
    """Return what the search proposes for these records."""
    tried = {record.configuration for record in records}
    question = SearchRequest(
        space=study.space,
        trials=tuple(records),
        open_cells=tuple(cell for cell in cells(study.space) if cell not in tried),
        index=index,
        seed=study.algorithm.seed,
        algorithm=study.algorithm.name,
        max_trials=study.budget.max_trials,
    )
    return propose(question)


def test_the_search_gets_only_certain_results() -> None:
    """A broken bound is a failure whatever its number; a number that cannot be compared is left out."""
    bound = Constraint(metric="throughputPerGPU", minimum=10.0)
    study = make_small_study(
        objective=Objective(metric="queue", goal="Maximize", constraints=(bound,)), baseline=make_cell(3, 8)
    )
    queue = {0: 7.0, 1: 8.0, 2: Missing(reason="Stale"), 4: Missing(reason="Stale")}
    cell = [*cells(SPACE)[:3], make_cell(3, 8), *cells(SPACE)[4:]]
    rates: list[Outcome] = [100.0, 9.0, 100.0, 100.0, 9.0, "NotRecorded"]
    ended = [measured([cell[index]], rate, index=index) for index, rate in enumerate(rates)]
    ended += [make_ended(make_run("lost", cells=[cell[6]], index=6), make_loss())]
    ended = [
        replace(end, observation=replace(end.observation, extra_metrics={index: {"queue": queue.get(index, 1.0)}}))
        if isinstance(end.observation, Finished)
        else end
        for index, end in enumerate(ended)
    ]
    live = make_started(run=make_run("live", cells=[cell[7]], index=7))
    view = view_of(study, study.pools[0], make_history(ended=tuple(ended), active=(live,)))
    assert search_trials(study, study.pools[0], view.trials, also=[make_cell(2, 8)]) == (
        SearchTrial(configuration=cell[0], state="measured", loss=-7.0, seconds=1.0),
        SearchTrial(configuration=cell[1], state="failed", seconds=1.0),
        SearchTrial(configuration=cell[4], state="failed", seconds=1.0),
        SearchTrial(configuration=cell[5], state="failed"),
        SearchTrial(configuration=cell[7], state="pending"),
        SearchTrial(configuration=make_cell(2, 8), state="pending"),
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_search_is_asked_with_the_studys_own_seed_budget_and_results(seed: int) -> None:
    """Numbers, failures and pending trials reach the search in their order, as losses of the study's own objective."""
    study = make_study(
        algorithm=Algorithm(name="tpe", seed=seed), budget=Budget(max_trials=6, parallel_trials=2), baseline=None
    )
    cell = {index: cells(study.space)[number] for index, number in enumerate((40, 30, 20, 10))}
    ended = (
        measured([cell[0]], 900.0, index=0),
        measured([cell[1]], 300.0, index=1),
        measured([cell[2]], "NotRecorded", index=2),
    )
    live = make_started(run=make_run("live", cells=[cell[3]], index=3))
    records = (
        SearchTrial(configuration=cell[0], state="measured", loss=-900.0),
        SearchTrial(configuration=cell[1], state="measured", loss=-300.0),
        SearchTrial(configuration=cell[2], state="failed"),
        SearchTrial(configuration=cell[3], state="pending"),
    )
    (answer,) = chosen(next_run(study, *ended, active=(live,)))
    assert answer == asked(study, records, 4)


@pytest.mark.parametrize("seed", range(4))
def test_each_trial_of_a_run_is_asked_for_with_its_own_index(seed: int) -> None:
    """The trials already chosen for the run are pending trials to the search."""
    study = make_study(algorithm=Algorithm(name="random", seed=seed, trials_per_run=3))
    first, second, third = chosen(next_run(study))
    opened = tuple(cell for cell in cells(study.space) if cell.gpu_count == first.gpu_count)
    question = SearchRequest(
        space=study.space,
        trials=(),
        open_cells=cells(study.space),
        index=0,
        seed=seed,
        algorithm="random",
        max_trials=20,
    )
    assert propose(question) == first
    for index, (answer, before) in enumerate(((second, (first,)), (third, (first, second))), start=1):
        pending = tuple(SearchTrial(configuration=cell, state="pending") for cell in before)
        left = tuple(cell for cell in opened if cell not in before)
        assert propose(replace(question, trials=pending, open_cells=left, index=index)) == answer
