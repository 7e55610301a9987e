"""Whole studies of the search that knows landscapes, with its companions and the runs that skip some of them."""

from functools import cache

import pytest

from factories.studies import make_study
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import Finished
from infpop_operator.core.objective import best
from infpop_operator.core.study import AUTO, Algorithm, Budget, SearchSpace, Study
from infpop_runner.contract import Skipped
from simulation.world import Story, World, drive, killed_after

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(1, 4, 16, 64, 256, 512))
SEEDS = range(3)


def make_landscape_study(seed: int, **changes: object) -> Study:
    """Return a study that leaves everything to the search."""
    algorithm = Algorithm(name="landscape", seed=seed, trials_per_run=AUTO)
    budget = Budget(max_trials=14, max_failed_trials=100)
    return make_study(**{"space": SPACE, "algorithm": algorithm, "budget": budget} | changes)


def make_world(seed: int) -> World:
    """Return a world with noise, failures and an edge of memory; in every other one the engine survives that."""
    return World(
        seed=seed,
        best=((4, 64), (8, 256), (1, 16))[seed % 3],
        noise=0.01,
        lost=0.15,
        crashed=0.15,
        survives=seed % 2 == 0,
    )


@cache
def story(seed: int) -> Story:
    """Return a study driven to its end without interference."""
    return drive(make_landscape_study(seed), make_world(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_study_that_is_killed_goes_on_with_the_same_proposals(seed: int) -> None:
    """From any prefix of its journal: the same cells, in the same order, under the same conditions."""
    whole = story(seed)
    for cut in range(0, len(whole.journal), 3):
        assert killed_after(whole, cut) == whole.journal, cut


@pytest.mark.parametrize("seed", SEEDS)
def test_a_study_ends_within_its_budget_with_a_good_configuration(seed: int) -> None:
    """Lost runs, crashed engines and skipped trials cost no trial; no configuration is measured twice."""
    whole = story(seed)
    trials = trials_of(whole.history, "a100", 1)
    assert whole.end.verdict is Verdict.SUCCEEDED
    assert len(trials) <= whole.study.budget.max_trials
    assert len({trial.configuration for trial in trials}) == len(trials)
    chosen = best(whole.study, whole.study.pools[0], trials)
    assert chosen is not None
    assert whole.world.throughput(chosen.configuration) >= 0.8 * 1000.0


def test_loads_are_shared_and_left_early() -> None:
    """Where loading takes much longer than measuring, a run has several trials, not always in ascending order."""
    runs = [ended for seed in SEEDS for ended in story(seed).history.ended]
    results = [
        result
        for ended in runs
        if isinstance(ended.observation, Finished)
        for result in ended.observation.result.trials
    ]
    assert any(len(ended.run.trials) > 1 for ended in runs)
    assert any(ended.run.in_order for ended in runs)
    assert any(isinstance(result, Skipped) for result in results)
    calm = drive(make_landscape_study(0), World(best=(4, 64)))
    assert len(calm.history.ended) < len(trials_of(calm.history, "a100", 1))
