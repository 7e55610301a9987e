"""Studies driven to their end in a world with failures: what they finally recommend."""

from collections import Counter

import pytest

from factories.studies import make_pool, make_study
from infpop_operator.core import objective
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, AlgorithmName, Budget, SearchSpace
from simulation.world import Story, World, drive

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 32, 64, 128, 256))
ALGORITHMS: tuple[AlgorithmName, ...] = ("tpe", "anneal", "random", "grid")
NOISE = 0.003
GENEROUS = Budget(max_trials=20, parallel_trials=3, max_concurrent_gpus=12, max_failed_trials=1000)


def best_of(story: Story) -> Trial | None:
    """Return what the study recommends on its only pool."""
    trials = trials_of(story.end.history, "a100", 1)
    return objective.best(story.study, story.study.pools[0], trials)


def test_the_optimum_is_found_within_the_noise_for_50_seeds() -> None:
    """With a budget that covers the space, a fifth of the runs lost and noisy numbers, the best is within the tie.

    A configuration whose runs broke three times is given up; this may hit the optimum in a seed or two of the 50.
    """
    given_up = 0
    for seed in range(50):
        algorithm = Algorithm(name=ALGORITHMS[seed % 4], seed=seed, trials_per_run=(1, 1, 4, 8)[seed // 4 % 4])
        world = World(seed=seed, best=(4, 64), memory=32, noise=NOISE, lost=0.2, crashed=0.1)
        story = drive(make_study(space=SPACE, algorithm=algorithm, budget=GENEROUS), world)
        trials = trials_of(story.history, "a100", 1)
        broken = {trial.configuration for trial in trials if trial.state is TrialState.BROKEN}
        chosen = best_of(story)
        assert chosen is not None
        fitting = {cell: world.throughput(cell) for cell in cells(SPACE) if world.fits(cell)}
        reachable = max(throughput for cell, throughput in fitting.items() if cell not in broken)
        assert world.throughput(chosen.configuration) >= reachable * (1 - objective.TIE_RATIO - 2 * NOISE)
        given_up += max(fitting, key=fitting.__getitem__) in broken
    assert given_up <= 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_covering_budget_measures_everything_that_fits(algorithm: AlgorithmName) -> None:
    """Without failures each cell that fits is measured once, and each GPU count costs at most one out-of-memory."""
    world = World(memory=32)
    study = make_study(space=SPACE, algorithm=Algorithm(name=algorithm), budget=Budget(max_trials=20))
    trials = trials_of(drive(study, world).history, "a100", 1)
    measured = [trial.configuration for trial in trials if trial.state is TrialState.MEASURED]
    assert sorted(measured) == [cell for cell in cells(SPACE) if world.fits(cell)]
    failed = Counter(trial.configuration.gpu_count for trial in trials if trial.state is TrialState.INFEASIBLE)
    if algorithm == "grid":
        assert set(failed.values()) == {1}


def test_a_world_in_which_everything_breaks_stalls_with_the_reason() -> None:
    """Nothing is recommended, the failure budget ends the study, and the message names the last failure."""
    story = drive(make_study(budget=Budget(max_failed_trials=4)), World(lost=1.0))
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "TooManyFailures")
    assert "NodeLost" in story.end.message
    assert best_of(story) is None
    assert len(story.end.history.ended) == 5


def test_a_model_that_fits_nowhere_stalls_after_one_failure_for_each_gpu_count() -> None:
    """Once random proposals have failed, the smallest batches settle each GPU count."""
    story = drive(make_study(algorithm=Algorithm(name="tpe")), World(memory=0))
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "GpuOutOfMemory")
    assert len(trials_of(story.history, "a100", 1)) <= 8


def test_two_pools_are_searched_side_by_side_and_each_has_its_own_best() -> None:
    """Each pool uses its own trial budget; the smaller pool never gets more GPUs than it has."""
    pools = (make_pool(), make_pool(name="v100", fingerprint="f2", device_count=2))
    budget = Budget(max_trials=20, parallel_trials=2, max_concurrent_gpus=10)
    story = drive(make_study(space=SPACE, pools=pools, budget=budget), World(best=(4, 64)))
    small = trials_of(story.history, "v100", 1)
    assert max(trial.configuration.gpu_count for trial in small) == 2
    best = objective.best(story.study, pools[1], small)
    assert best is not None
    assert best.configuration.gpu_count == 2


def test_one_load_for_several_batches_measures_the_same_with_fewer_loads() -> None:
    """`trialsPerRun` changes what a search costs, not what it finds."""
    world = World(best=(4, 64), memory=32)

    def story(trials_per_run: int) -> Story:
        algorithm = Algorithm(name="grid", trials_per_run=trials_per_run)
        return drive(make_study(space=SPACE, algorithm=algorithm, budget=Budget(max_trials=20)), world)

    single, shared = story(1), story(8)
    assert best_of(single) is not None
    assert best_of(shared).configuration == best_of(single).configuration
    assert len(shared.history.ended) == len(SPACE.gpu_counts) < len(single.history.ended)
