"""Studies whose loads run out of memory: what they still measure, and what that costs."""

from factories.studies import make_study
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import trials_of
from infpop_operator.core.load_memory import while_loading
from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Budget, SearchSpace
from simulation.world import Story, World, drive

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 32, 64, 128, 256))
BUDGET = Budget(max_trials=20, parallel_trials=2, max_concurrent_gpus=16, max_failed_trials=100)


def trials(story: Story) -> tuple[Trial, ...]:
    """Return the trials of the study's only round."""
    return trials_of(story.history, "a100", 1)


def test_a_load_that_fits_with_small_batches_alone_loses_no_configuration() -> None:
    """An engine that is sized by its batch runs out of memory while it is loaded: what is smaller is still measured."""

    def loads(gpu_count: int, batch_size: int) -> bool:
        return batch_size <= 16 * gpu_count

    world = World(memory=1024, loads=loads)
    for seed, name in enumerate(("grid", "random", "tpe")):
        story = drive(
            make_study(space=SPACE, algorithm=Algorithm(name=name, seed=seed), budget=BUDGET, baseline=None), world
        )
        measured = {trial.configuration for trial in trials(story) if trial.state is TrialState.MEASURED}
        assert measured == {cell for cell in cells(SPACE) if loads(cell.gpu_count, cell.batch_size)}


def test_weights_that_fit_on_no_single_gpu_cost_two_or_three_loads_there() -> None:
    """The other GPU counts are searched, and the study says nothing else about the one."""
    world = World(memory=1024, loads=lambda gpu_count, _batch_size: gpu_count > 1)
    for seed, name in enumerate(("grid", "random", "tpe")):
        story = drive(
            make_study(space=SPACE, algorithm=Algorithm(name=name, seed=seed), budget=BUDGET, baseline=None), world
        )
        failed = [trial for trial in trials(story) if while_loading(trial)]
        assert {trial.configuration.gpu_count for trial in failed} == {1}
        assert len(failed) in {2, 3, 4}  # two at a time: the fourth may be on its way
        assert story.end.verdict is Verdict.SUCCEEDED
