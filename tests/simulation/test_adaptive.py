"""Studies whose measurements end early: they find the same, and what was raced out is never what they should choose."""

import pytest

from factories.studies import make_study
from infpop_operator.core import objective
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import HAS_WORKED, Trial, TrialState
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Budget, Objective, SearchSpace
from infpop_runner.contract import Measured, MeasurementSpec, RacedOut
from simulation.world import Story, World, drive

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 32, 64, 128, 256))
BUDGET = Budget(max_trials=20, parallel_trials=2, max_concurrent_gpus=16, max_failed_trials=100)
ADAPTIVE = MeasurementSpec(mode="adaptive")


def trials(story: Story) -> tuple[Trial, ...]:
    """Return the trials of the study's only round."""
    return trials_of(story.history, "a100", 1)


def seconds(found: tuple[Trial, ...]) -> float:
    """Return how long all of them were measured."""
    return sum(trial.result.measured_seconds for trial in found if isinstance(trial.result, Measured | RacedOut))


@pytest.mark.parametrize("metric", ["throughput", "throughputPerGPU"])
@pytest.mark.parametrize("seed", range(5))
def test_a_study_that_races_its_trials_chooses_the_same(metric: str, seed: int) -> None:
    """In a fraction of the measuring time, with lost runs and several at a time."""
    world = World(seed=seed, memory=32, lost=0.2)
    full = make_study(
        space=SPACE,
        algorithm=Algorithm(name="random", seed=seed),
        budget=BUDGET,
        objective=Objective(metric=metric),
        baseline=None,
        measurement=MeasurementSpec(),
    )
    raced = make_study(
        space=SPACE,
        algorithm=full.algorithm,
        budget=BUDGET,
        objective=full.objective,
        baseline=None,
        measurement=ADAPTIVE,
    )
    slow, fast = drive(full, world), drive(raced, World(seed=seed, memory=32, lost=0.2, adaptive=True))
    best = [objective.best(story.study, story.study.pools[0], trials(story)) for story in (slow, fast)]
    assert best[0] is not None
    assert best[1] is not None
    assert best[0].configuration == best[1].configuration
    assert seconds(trials(fast)) < seconds(trials(slow)) / 2
    assert {trial.configuration for trial in trials(fast) if trial.state in HAS_WORKED} == {
        cell for cell in cells(SPACE) if world.fits(cell)
    }
    assert any(trial.state is TrialState.RACED_OUT for trial in trials(fast))
