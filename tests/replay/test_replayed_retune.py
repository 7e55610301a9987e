"""A change of hardware on recorded landscapes, replayed through the operator's own decisions."""

from dataclasses import replace
from pathlib import Path

import pytest

from factories.studies import make_cell
from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.study import AlgorithmName
from infpop_operator.replay import retune
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.world import POOL, reached, replay, replayed_study
from replay.landscape_files import peak_lines, write_file

COSTS = CostModel(samples=10, new_tokens=10, load_seconds=20.0, failure_seconds=5.0)


def read(directory: Path, *lines: str) -> dict[str, Grid]:
    """Return the grids of a file by their GPU model."""
    return {grid.gpu_model: grid for grid in read_grids(write_file(directory, *lines))}


def two_gpus(directory: Path, new: tuple[int, int] = (4, 32), **changes: object) -> tuple[Grid, Grid]:
    """Return the landscapes of one model on the old and the new GPUs."""
    grids = read(
        directory, *peak_lines("old", (2, 32)), *peak_lines("new", new, **({"top": 3000.0, "fits": 128} | changes))
    )
    return (grids["old"], grids["new"])


def run_all(old: Grid, new: Grid, options: retune.Options) -> retune.ModelResult:
    """Return the result of one pair of grids."""
    jobs = retune.jobs([(old, new)], options)
    return retune.summarise([(job, retune.run(job, options)) for job in jobs], old, new)


def test_a_replayed_round_measures_every_configuration_once(tmp_path: Path) -> None:
    """Except those above an out of memory; each run costs its GPUs for its load and its tokens."""
    old, _ = two_gpus(tmp_path)
    steps = list(replay(replayed_study(old, "grid", seed=0), old, costs=COSTS))
    tried = [step.configuration for step in steps]
    assert len(set(tried)) == len(tried) == 15
    first = next(step for step in steps if step.configuration == make_cell(2, 32))
    assert (first.rate, first.gpu_seconds) == (1000.0, 2 * (20 + 100 / 1000.0))
    failed = next(step for step in steps if step.configuration == make_cell(4, 128))
    assert (failed.rate, failed.gpu_seconds) == (None, 4 * (20 + 5))


def test_the_second_round_is_the_operators_own(tmp_path: Path) -> None:
    """`decide` opens it when the hardware changes, and measures the best of the first round first."""
    old, new = two_gpus(tmp_path)
    *_, last = replay(replayed_study(old, "grid", seed=0), old, costs=COSTS)
    *_, end = replay(replayed_study(new, "tpe", seed=0), new, last.history, costs=COSTS)
    newest = current_round(end.history, POOL)
    assert newest is not None
    assert (newest.number, newest.baseline) == (2, make_cell(2, 32))
    assert trials_of(end.history, POOL, 2)[0].configuration == make_cell(2, 32)
    assert len(trials_of(end.history, POOL, 2)) == 15


@pytest.mark.parametrize("algorithm", ["tpe", "landscape"])
def test_retuning_says_what_it_gains_and_what_it_takes(tmp_path: Path, algorithm: AlgorithmName) -> None:
    """The gain is the new best against the old best, both on the new hardware; a warm start saves `tpe` trials."""
    old, new = two_gpus(tmp_path)
    result = run_all(old, new, retune.Options(seeds=3, costs=COSTS, algorithm=algorithm))
    assert (result.baseline, result.best) == (make_cell(2, 32), make_cell(4, 32))
    assert (result.old_rate, result.baseline_rate, result.best_rate) == (1000.0, 2400.0, 3000.0)
    assert result.improvement_percent == pytest.approx(25.0)
    assert result.trials_to_99["warm"] <= 4
    assert result.trials_to_99["warm"] <= result.trials_to_99["cold"] - (algorithm == "tpe")
    assert set(result.gpu_seconds_to_99) == set(result.never) == set(retune.SEARCHES)
    assert result.never["warm"] == 0


def test_a_baseline_that_cannot_run_has_no_gain(tmp_path: Path) -> None:
    """Whether it runs out of memory, or was not recorded, is told apart."""
    old, new = two_gpus(tmp_path, new=(4, 8), fits=16)
    result = run_all(old, new, retune.Options(seeds=1, costs=COSTS))
    assert (result.baseline_rate, result.baseline_reason, result.improvement_percent) == (None, "GpuOutOfMemory", None)
    result = run_all(old, replace(new, failed=frozenset()), retune.Options(seeds=1, costs=COSTS))
    assert result.baseline_reason == "NotRecorded"


def test_0_tokens_per_second_is_no_measurement(tmp_path: Path) -> None:
    """A cell recorded with 0 tokens/s is tried, has no number, and rules out no larger batch."""
    grids = read(tmp_path, *peak_lines("old", (2, 32), fits=128))
    grid = replace(grids["old"], silent=frozenset({make_cell(2, 16)}))
    grid = replace(grid, rates={cell: rate for cell, rate in grid.rates.items() if cell != make_cell(2, 16)})
    steps = list(replay(replayed_study(grid, "grid", seed=0), grid, costs=COSTS))
    assert [step.rate for step in steps if step.configuration == make_cell(2, 16)] == [None]
    assert make_cell(2, 64) in {step.configuration for step in steps}


def test_what_did_not_fit_is_skipped_if_the_memory_is_known_not_to_be_larger(tmp_path: Path) -> None:
    """With more memory, or without knowing, it is tried again."""
    old, new = two_gpus(tmp_path)

    def batches(**memory: int) -> set[int]:
        known = retune.Options(gpu_memory_mib=tuple(memory.items()))
        study = replayed_study(old, "grid", seed=0, gpu_memory_mib=known.memory_of(old))
        *_, last = replay(study, old, costs=COSTS)
        study = replayed_study(new, "tpe", seed=0, gpu_memory_mib=known.memory_of(new))
        return {
            trial.configuration.batch_size
            for step in replay(study, new, last.history, costs=COSTS)
            for trial in trials_of(step.history, POOL, 2)
        }

    assert 128 not in batches(old=32768, NEW=32768)
    assert 128 in batches(old=32768, new=40960)
    assert 128 in batches(old=32768)


def test_the_budget_of_the_first_round_limits_what_is_known(tmp_path: Path) -> None:
    """With three trials on the old hardware the baseline is the best of three."""
    old, new = two_gpus(tmp_path)
    job = next(job for job in retune.jobs([(old, new)], retune.Options()) if job.search == "warm")
    few = retune.run(job, retune.Options(first_trials=3, costs=COSTS))
    study = replayed_study(old, "tpe", seed=job.seed, max_trials=3)
    tried = [step.configuration for step in replay(study, old, costs=COSTS)]
    assert len(tried) == 3
    assert few.baseline in tried


def test_equal_jobs_give_equal_results(tmp_path: Path) -> None:
    """Every number follows from the file, the options and the seed."""
    options = retune.Options(seeds=2, costs=COSTS)
    for job in retune.jobs([two_gpus(tmp_path)], options):
        assert retune.run(job, options) == retune.run(job, options)


def test_a_search_that_never_gets_there_says_so(tmp_path: Path) -> None:
    """It counts as one trial more than there are configurations, and costs all that it spent."""
    old, _ = two_gpus(tmp_path)
    assert reached(old, iter([(make_cell(1, 8), 7.0), (make_cell(1, 16), 8.0)])).trials is None
    assert reached(old, iter([(make_cell(1, 8), 7.0), (make_cell(1, 16), 8.0)])).gpu_seconds == 15.0
    good = reached(old, iter([(make_cell(1, 8), 7.0), (make_cell(2, 32), 8.0), (make_cell(4, 8), 9.0)]))
    assert (good.trials, good.gpu_seconds) == (2, 15.0)


def test_only_models_that_work_on_both_are_compared(tmp_path: Path) -> None:
    """A model without the other GPUs, or without any number there, is left out."""
    lines = [
        *("V,vllm,both,1,8,ok,1", "A,vllm,both,1,8,ok,1", "V,vllm,one,1,8,ok,1"),
        *("V,vllm,none,1,8,ok,1", "A,vllm,none,1,8,infeasible,", "A,hf,both,1,8,ok,1"),
    ]
    grids = read_grids(write_file(tmp_path, *lines))
    old, new = ([grid for grid in grids if grid.gpu_model == gpu] for gpu in "VA")
    assert [(was.engine, was.model) for was, _ in retune.pairs(old, new)] == [("vllm", "both")]


def test_the_document_has_a_summary_for_each_engine() -> None:
    """A gain below 1 % is none; a baseline that cannot run counts apart, and in no mean."""
    result = retune.ModelResult(
        model="m",
        engine="vllm",
        baseline=make_cell(1, 8),
        old_rate=1.0,
        baseline_rate=100.0,
        baseline_reason=None,
        best=make_cell(2, 8),
        best_rate=100.5,
        trials_to_99={"warm": 1.0, "cold": 3.0, "infpop-paper": 4.0},
        gpu_seconds_to_99={"warm": 10.4, "cold": 3.0, "infpop-paper": 4.0},
        never={"warm": 0, "cold": 0, "infpop-paper": 1},
    )
    gains = [result, replace(result, best_rate=110.0), replace(result, best_rate=130.0)]
    broken = replace(result, baseline_rate=None, baseline_reason="GpuOutOfMemory", engine="hf")
    document = retune.to_document([*gains, broken], "V100", "A100")
    assert (document["from"], document["to"]) == ("V100", "A100")
    trials = {"warm": 1.0, "cold": 3.0, "infpop-paper": 4.0}
    assert document["summary"] == {
        "vllm": {
            "models": 3,
            "mean_improvement_percent": 13.5,
            "median_improvement_percent": 10.0,
            "no_gain": 1,
            "baseline_infeasible": 0,
            "trials_to_99": trials,
        },
        "hf": {
            "models": 1,
            "mean_improvement_percent": None,
            "median_improvement_percent": None,
            "no_gain": 0,
            "baseline_infeasible": 1,
            "trials_to_99": trials,
        },
    }
    models = document["models"]
    assert isinstance(models, list)
    assert models[3] == {
        "model": "m",
        "engine": "hf",
        "baseline": {
            "gpu_count": 1,
            "batch_size": 8,
            "old_throughput": 1.0,
            "throughput": None,
            "reason": "GpuOutOfMemory",
        },
        "best": {"gpu_count": 2, "batch_size": 8, "throughput": 100.5},
        "improvement_percent": None,
        "trials_to_99": trials,
        "gpu_seconds_to_99": {"warm": 10, "cold": 3, "infpop-paper": 4},
        "never": {"warm": 0, "cold": 0, "infpop-paper": 1},
    }
