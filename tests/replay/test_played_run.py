"""What a replayed run reports and costs: loads, shared loads, failures, skipped trials and noise."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import pytest

from factories.studies import make_cell
from infpop_operator.core.model import PlannedTrial
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.played_run import Played, measured_number, play
from infpop_runner.contract import Infeasible, Measured, Skipped
from replay.landscape_files import HEADER, peak_lines, write_file

COSTS = CostModel(samples=100, new_tokens=10, load_seconds=20.0, failure_seconds=5.0)


def read(directory: Path, *lines: str, header: str = HEADER) -> Grid:
    """Return the only grid of a file."""
    (grid,) = read_grids(write_file(directory, *lines, header=header))
    return grid


def order(gpus: int, *batches: int, needs: Sequence[float | None] = ()) -> list[tuple[PlannedTrial, float | None]]:
    """Return trials of one load, in this order."""
    each = zip(batches, (*needs, *[None] * (len(batches) - len(needs))), strict=True)
    return [
        (PlannedTrial(index=index, configuration=make_cell(gpus, batch)), need)
        for index, (batch, need) in enumerate(each)
    ]


def kinds(played: Sequence[Played]) -> list[type]:
    """Return the kinds of the results."""
    return [type(each.result) for each in played]


def test_trials_of_one_run_share_its_load(tmp_path: Path) -> None:
    """The first pays for the load, each for its measurement; without a load phase nothing is larger than memory."""
    grid = read(tmp_path, "A,vllm,m,1,8,ok,10", "A,vllm,m,1,16,ok,20")
    played = play(order(1, 16, 8), grid, costs=COSTS)
    assert [each.number for each in played] == [20.0, 10.0]
    assert [each.seconds for each in played] == [20 + 1000 / 20, 1000 / 10]
    assert [each.load_seconds for each in played] == [20.0, 20.0]


def test_a_batch_above_one_that_ran_out_of_memory_is_not_tried(tmp_path: Path) -> None:
    """It has no result and costs nothing; a smaller one still runs."""
    grid = read(tmp_path, *peak_lines("A", (1, 8), engine="hf", fits=16))
    played = play(order(1, 8, 32, 64, 16), grid, costs=COSTS)
    assert [each.result.batch_size for each in played] == [8, 32, 16]
    assert kinds(played) == [Measured, Infeasible, Measured]
    assert played[1].seconds == 5.0


@pytest.mark.parametrize(("engine", "expected"), [("hf", Measured), ("vllm", Skipped)])
def test_smaller_batches_go_on_after_an_out_of_memory_that_the_engine_survives(
    tmp_path: Path, engine: str, expected: type
) -> None:
    """A pipeline does; vLLM's engine core ends, and what was left of the run stays open."""
    grid = read(tmp_path, *(f"A,{engine},m,1,{batch},{end}" for batch, end in ((8, "ok,10"), (16, "infeasible,"))))
    assert kinds(play(order(1, 16, 8), grid, costs=COSTS)) == [Infeasible, expected]


def test_a_gpu_count_at_which_nothing_works_does_not_load(tmp_path: Path) -> None:
    """Each trial fails in the load phase, with a load of its own, and no engine was loaded."""
    grid = read(tmp_path, "A,vllm,m,2,8,ok,10", "A,vllm,m,1,8,infeasible,", "A,vllm,m,1,16,infeasible,")
    played = play(order(1, 8, 16), grid, costs=COSTS)
    phases = [each.result.phase for each in played if isinstance(each.result, Infeasible)]
    assert phases == ["load", "load"]
    assert [(each.seconds, each.load_seconds) for each in played] == [(25.0, None), (25.0, None)]


def test_out_of_memory_below_a_batch_that_works_is_not_blamed_on_the_batch(tmp_path: Path) -> None:
    """Batch 1 fails and batch 2 works: the failure is one of the load, and the larger batch is still tried."""
    grid = read(tmp_path, "A,vllm,m,2,1,infeasible,", "A,vllm,m,2,2,ok,10", "A,vllm,m,2,4,infeasible,")
    small, works, large = play(order(2, 1, 2, 4), grid, costs=COSTS)
    assert isinstance(small.result, Infeasible)
    assert isinstance(large.result, Infeasible)
    assert (small.result.phase, works.number, large.result.phase) == ("load", 10.0, "measure")


def test_a_trial_that_needs_more_than_the_run_has_reached_is_skipped_for_nothing(tmp_path: Path) -> None:
    """One that needs less is measured."""
    grid = read(tmp_path, *(f"A,vllm,m,1,{batch},ok,{batch}" for batch in (8, 16, 32)))
    played = play(order(1, 8, 16, 32, needs=(None, 8.5, 8.0)), grid, costs=COSTS)
    assert kinds(played) == [Measured, Skipped, Measured]
    assert [each.was_tried for each in played] == [True, False, True]
    assert played[1].seconds == 0.0


def test_a_short_measurement_takes_20_seconds_or_three_batches_but_never_more_than_a_pass(tmp_path: Path) -> None:
    """A cell of 1 token/s costs three batches, a fast one its full pass."""
    grid = read(tmp_path, *(f"A,hf,m,1,{batch},ok,{rate}" for batch, rate in ((1, 1), (2, 10), (64, 1), (8, 1000))))
    short = replace(COSTS, short=True)
    seconds = [short.measuring(grid, batch, rate) for batch, rate in ((1, 1.0), (2, 10.0), (64, 1.0), (8, 1000.0))]
    assert seconds == [30.0, 20.0, 1000.0, 1.0]
    assert short.measuring(grid, 1, None) == 5.0


@pytest.mark.parametrize(("option", "tokens"), [(None, 128), (7, 7)])
def test_the_files_own_workload_is_what_costs(tmp_path: Path, option: int | None, tokens: int) -> None:
    """Its output tokens are generated for each prompt, unless the option says otherwise."""
    grid = read(tmp_path, "A,vllm,m,1,8,ok,10,128", header=f"{HEADER},output_tokens")
    assert CostModel(new_tokens=option).tokens(grid) == tokens
    assert CostModel(new_tokens=option).tokens(replace(grid, new_tokens=None)) == (option or 5)


def test_noise_follows_from_seed_and_attempt(tmp_path: Path) -> None:
    """It has the standard deviation that was asked for, and every attempt has its own number."""
    grid = read(tmp_path, "A,vllm,m,1,8,ok,100")
    cell = make_cell(1, 8)

    def numbers(seed: int) -> list[float]:
        found = (measured_number(grid, cell, noise=0.05, seed=seed, attempt=attempt) for attempt in range(300))
        return [number for number in found if number is not None]

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)
    assert stdev(numbers(1)) == pytest.approx(5.0, rel=0.15)
    assert measured_number(grid, cell, noise=0.0, seed=1, attempt=0) == 100.0
    assert measured_number(grid, make_cell(2, 8), noise=0.05, seed=1, attempt=0) is None
