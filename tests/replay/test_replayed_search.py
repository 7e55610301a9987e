"""Searches on recorded landscapes: what they count, and how it is summarised."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from factories.studies import make_cell
from infpop_operator.core.study import Configuration
from infpop_operator.replay import search
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.search import Attempt, Course, course
from infpop_operator.replay.search_results import GridResult, p90, summary, to_document
from infpop_operator.replay.world import replay, replayed_study
from replay.landscape_files import peak_lines, write_file

COSTS = CostModel(samples=10, new_tokens=10, load_seconds=20.0, failure_seconds=5.0)
OPTIONS = search.Options(seeds=2, costs=COSTS)


def one_grid(directory: Path, *lines: str) -> Grid:
    """Return the only grid of a file."""
    (grid,) = read_grids(write_file(directory, *lines))
    return grid


def attempts(grid: Grid, *found: tuple[Configuration, float | None]) -> Iterable[Attempt]:
    """Yield trials of these configurations with these numbers, 10 GPU-seconds each."""
    for cell, number in found:
        yield Attempt(configuration=cell, rate=grid.rates.get(cell), number=number, gpu_seconds=10.0)


def four(directory: Path) -> Grid:
    """Return a landscape with an optimum of 100, and 99.5, 96 and 50 beside it."""
    rates = ((8, 50), (16, 96), (32, 99.5), (64, 100))
    return one_grid(directory, *(f"A,vllm,m,1,{batch},ok,{rate}" for batch, rate in rates))


def test_a_course_counts_until_each_share_of_the_optimum(tmp_path: Path) -> None:
    """Failures and repeats count until 99 %; after the optimum nothing is asked for any more."""
    grid = four(tmp_path)
    found = [
        (make_cell(1, 8), 50.0),
        (make_cell(2, 8), None),
        (make_cell(1, 8), 50.0),
        (make_cell(1, 16), 96.0),
        (make_cell(1, 32), 99.5),
        (make_cell(2, 16), None),
        (make_cell(1, 64), 100.0),
        (make_cell(1, 16), 96.0),
    ]
    result = course(grid, attempts(grid, *found))
    assert result.curve == pytest.approx((0.5, 0.5, 0.5, 0.96, 0.995, 0.995, 1.0))
    assert result.trials == {0.95: 4, 0.99: 5, 1.0: 7}
    assert result.gpu_seconds == {0.95: 40.0, 0.99: 50.0, 1.0: 70.0}
    assert (result.failures, result.duplicates) == (1, 1)


def test_with_noise_a_search_is_judged_by_what_is_recorded_for_its_best_number(tmp_path: Path) -> None:
    """A lucky number of a slow configuration hides a good one."""
    grid = four(tmp_path)
    found = [(make_cell(1, 16), 103.0), (make_cell(1, 64), 101.0), (make_cell(1, 32), 104.0)]
    result = course(grid, attempts(grid, *found), noisy=True)
    assert result.curve == pytest.approx((0.96, 0.96, 0.995))
    assert result.trials == {0.95: 1, 0.99: 3, 1.0: None}
    assert result.gpu_seconds[1.0] == 30.0


@pytest.mark.parametrize("name", ["tpe", "grid", "random", "anneal", "infpop-paper"])
def test_equal_jobs_give_equal_courses_and_every_search_gets_there(tmp_path: Path, name: search.SearchName) -> None:
    """Through the operator's own decisions no configuration is measured twice."""
    grid = one_grid(tmp_path, *peak_lines("A", (2, 32)))
    job = search.Job(search=name, grid=grid, seed=1)
    result = search.run(job, OPTIONS)
    assert result == search.run(job, OPTIONS)
    assert max(result.curve) == 1.0 or name == "infpop-paper"
    assert result.duplicates == 0 or name == "infpop-paper"


def test_a_run_of_several_trials_loads_once(tmp_path: Path) -> None:
    """Its first trial pays for the load, the others for their measurement alone."""
    grid = one_grid(tmp_path, *peak_lines("A", (2, 32)))
    study = replayed_study(grid, "grid", seed=0, trials_per_run=3, costs=COSTS)
    first, second, third, fourth = list(replay(study, grid, costs=COSTS))[:4]
    cells = [step.configuration for step in (first, second, third, fourth)]
    assert len({cell.gpu_count for cell in cells[:3]}) == 1
    seconds = [step.gpu_seconds / step.configuration.gpu_count for step in (first, second, third, fourth)]
    assert [value > 20 for value in seconds] == [True, False, False, True]
    assert first.history == second.history == third.history != fourth.history


def test_the_replayed_study_has_the_workload_of_the_costs_and_the_names_of_the_file(tmp_path: Path) -> None:
    """All repeats together are one pass; an engine that InfPop does not have is the simulated one."""
    lines = ["A100,vllm,Bloom-1b7,1,8,ok,10", "A100,hf,Phi-1,1,8,ok,10", "A100,TGI,Phi-1,1,8,ok,10"]
    by_engine = {grid.engine: grid for grid in read_grids(write_file(tmp_path, *lines))}
    short = CostModel(samples=51, new_tokens=7, short=True)
    study = replayed_study(by_engine["vllm"], "tpe", seed=0, costs=short)
    assert (study.workload.samples, study.workload.max_new_tokens, study.measurement.mode) == (17, 7, "adaptive")
    assert study.model_facts is not None
    assert (study.engine.name, study.model_facts.parameters) == ("vllm", 1.7e9)
    names = [replayed_study(by_engine[name], "tpe", seed=0).engine.name for name in ("hf", "TGI")]
    assert names == ["hf-pipeline", "simulated"]


def test_a_configuration_that_hardly_generates_anything_is_replayed_at_its_cost(tmp_path: Path) -> None:
    """Its cost is as recorded, though no calendar holds its time."""
    grid = one_grid(tmp_path, "A,vllm,m,1,8,ok,1e-12", "A,vllm,m,1,16,ok,50")
    study = replayed_study(grid, "grid", seed=0, costs=COSTS)
    steps = list(replay(study, grid, costs=COSTS))
    assert [step.configuration.batch_size for step in steps] == [8, 16]
    assert steps[0].gpu_seconds == pytest.approx(100 / 1e-12)  # 10 sequences of 10 tokens


def test_the_budget_caps_a_search(tmp_path: Path) -> None:
    """One that did not get there counts as one trial more."""
    grid = one_grid(tmp_path, *peak_lines("A", (1, 128), fits=128))
    options = replace(OPTIONS, max_trials=2, seeds=1)
    result = search.run(search.Job(search="grid", grid=grid, seed=0), options)
    assert len(result.curve) == 2
    counted = GridResult(grid=grid, cap=options.cap(grid), courses=(result,), paper=(result,))
    assert (counted.trials(1.0), counted.not_reached(1.0)) == ([3], [0])


def make_course(trials: int | None, seconds: float) -> Course:
    """Return a course that reaches every share at once."""
    shares = search.SHARES
    return Course(
        curve=(0.5, 1.0),
        trials=dict.fromkeys(shares, trials),
        gpu_seconds=dict.fromkeys(shares, seconds),
        failures=1,
        duplicates=0,
    )


def test_costs_are_compared_grid_by_grid(tmp_path: Path) -> None:
    """The geometric mean of the ratios is not ruled by the slowest landscape; the worst one is named."""
    grid = four(tmp_path)
    other = replace(grid, engine="hf", model="n")
    results = [
        GridResult(
            grid=grid,
            cap=8,
            courses=(make_course(2, 10.0), make_course(None, 30.0)),
            paper=(make_course(4, 40.0), make_course(4, 40.0)),
        ),
        GridResult(grid=other, cap=8, courses=(make_course(4, 8000.0),) * 2, paper=(make_course(4, 1000.0),) * 2),
    ]
    found = cast("dict[str, Any]", summary(results))
    assert found["trials_to_99"] == {"mean": 4.75, "median": 4.0, "p90": 9}
    assert found["gpu_seconds_to_99"] == {"mean": 4010.0, "geometric_mean": 400.0}
    assert found["cost_ratio_to_paper"]["geometric_mean"] == 2.0
    assert found["cost_ratio_to_paper"]["worst"] == 8.0
    assert found["cost_ratio_to_paper"]["worst_grid"] == {"gpu_model": "A", "engine": "hf", "model": "n"}
    assert found["not_reached_99"] == [{"gpu_model": "A", "engine": "vllm", "model": "m", "seeds": [1]}]
    assert found["best_so_far"] == [0.5, *[1.0] * 7]


def test_the_document_has_a_summary_of_all_and_of_each_engine(tmp_path: Path) -> None:
    """Those of vllm and hf come first, whatever the file calls them; a grid on which nothing works is left out."""
    lines = [*("G,TGI,m,1,8,ok,1", "G,vLLM,m,1,8,ok,1", "G,transformers,m,1,8,ok,1"), "G,vLLM,none,1,8,infeasible,"]
    grids = read_grids(write_file(tmp_path, *lines))
    options = replace(OPTIONS, seeds=1)
    jobs = search.jobs(grids, ("grid", search.PAPER), options)
    assert {job.grid.model for job in jobs} == {"m"}
    results = [
        GridResult(grid=grid, cap=1, courses=(make_course(1, 1.0),), paper=(make_course(1, 1.0),))
        for grid in grids
        if grid.rates
    ]
    left_out = [grid for grid in grids if not grid.rates]
    document = cast("dict[str, Any]", to_document("grid", results, options, left_out=left_out))
    assert list(document["summary"]) == ["all", "vllm", "hf", "tgi"]
    assert document["left_out"] == [{"gpu_model": "G", "engine": "vLLM", "model": "none"}]
    assert document["grids"][0]["optimum"] == {"gpu_count": 1, "batch_size": 8, "throughput": 1.0}


def test_nine_of_ten_values_are_at_most_the_90th_percentile() -> None:
    """It is one of the values."""
    assert [p90(values) for values in ([7], list(range(1, 11)), list(range(20, 0, -1)), [1] * 8 + [5, 9])] == [
        *(7, 9, 18, 5),
    ]
