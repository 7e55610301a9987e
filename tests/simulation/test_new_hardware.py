"""A study whose pool gets other hardware: its second round starts from the landscape of the first."""

from dataclasses import replace
from datetime import timedelta

import pytest

from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import History, Trial, TrialState
from infpop_operator.core.prior import INHERITED
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, AlgorithmName, Budget, Configuration, Retune, SearchSpace, Study
from simulation.world import Story, World, drive, remember

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 32, 64, 128, 256, 512))
OLD = World(best=(4, 64), memory=32)


def study_on(fingerprint: str, memory: int | None, algorithm: AlgorithmName = "tpe", **changes: object) -> Study:
    """Return a study whose budget covers its space, on a pool with this hardware."""
    pool = make_pool(fingerprint=fingerprint, gpu_memory_mib=memory)
    study = make_study(
        space=SPACE,
        pools=(pool,),
        algorithm=Algorithm(name=algorithm),
        budget=Budget(max_trials=24, max_concurrent_gpus=8),
        retune=Retune(debounce=timedelta(0)),
    )
    return replace(study, **changes)


def first_round(algorithm: AlgorithmName = "tpe") -> Story:
    """Return the first round, on GPUs of 32 GiB."""
    return drive(study_on("v100", 32768, algorithm), OLD)


def second_round(first: Story, world: World, memory: int | None, algorithm: AlgorithmName = "tpe") -> Story:
    """Return the second round, after the pool has got other hardware."""
    now = first.steps[-1].now + timedelta(hours=1)
    return drive(study_on("new", memory, algorithm), world, history=first.history, now=now)


def order(history: History, number: int = 2) -> list[Configuration]:
    """Return the configurations of a round in the order of their trials."""
    return [trial.configuration for trial in trials_of(history, "a100", number)]


def trials_to(world: World, tried: list[Configuration]) -> int:
    """Return how many trials a round needed to the optimum of the world."""
    optimum = max((cell for cell in cells(SPACE) if world.fits(cell)), key=world.throughput)
    return tried.index(optimum) + 1


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
@pytest.mark.parametrize("best", [(4, 64), (8, 64), (4, 128), (2, 32)])
def test_the_optimum_of_the_new_hardware_is_found_in_few_trials(
    best: tuple[int, int], algorithm: AlgorithmName
) -> None:
    """It is where it was, or a step from there: the baseline and a handful of proposals reach it, of 24 cells."""
    world = World(best=best, memory=64)
    tried = order(second_round(first_round(algorithm), world, 40960, algorithm).history)
    assert tried[0] == make_cell(4, 64)
    assert trials_to(world, tried) <= 7


def test_earlier_numbers_are_never_results_of_the_new_round() -> None:
    """The second round has trials of its own only, measured by its own runs on its own hardware."""
    story = second_round(first_round(), World(best=(8, 64), memory=64), 40960)
    runs = {run.run.name for run in story.history.ended if run.run.round == 2}
    trials = trials_of(story.history, "a100", 2)
    assert {trial.run for trial in trials} == runs
    assert len(order(story.history)) == len(set(order(story.history)))


def oom(trials: tuple[Trial, ...]) -> dict[int, int]:
    """Return the smallest batch size that ran out of memory at each GPU count."""
    found: dict[int, int] = {}
    for trial in trials:
        if trial.reason == "GpuOutOfMemory":
            gpus, batch = trial.configuration.gpu_count, trial.configuration.batch_size
            found[gpus] = min(batch, found.get(gpus, batch))
    return found


@pytest.mark.parametrize("memory", [16384, 32768])
def test_what_did_not_fit_before_is_skipped_without_more_memory(memory: int) -> None:
    """The second round tries none of it, says so, and still measures all that fits."""
    first = first_round("grid")
    known = first.history
    story = drive(study_on("new", memory, "grid"), replace(OLD, best=(8, 64)), history=known, now=first.steps[-1].now)
    before, now = trials_of(story.history, "a100", 1), trials_of(story.history, "a100", 2)
    assert oom(before)
    assert oom(now) == {}
    inherited = [each for each in story.end.set_aside["a100"] if each.reason == INHERITED]
    assert {each.gpu_count: each.min_batch_size for each in inherited} == oom(before)
    measured = {trial.configuration for trial in now if trial.state is TrialState.MEASURED}
    assert measured == {cell for cell in cells(SPACE) if OLD.fits(cell)}


@pytest.mark.parametrize("memory", [40960, None])
def test_what_did_not_fit_before_is_tried_again_with_more_memory(memory: int | None) -> None:
    """Also if it is unknown how much memory there is: the larger batches fit now, and are measured."""
    first, world = first_round("grid"), World(best=(8, 512), memory=64)
    story = drive(study_on("new", memory, "grid"), world, history=first.history, now=first.steps[-1].now)
    measured = {each.configuration for each in trials_of(story.history, "a100", 2) if each.result is not None}
    assert {cell for cell in cells(SPACE) if world.fits(cell)} <= measured


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_restart_in_the_second_round_proposes_the_same(cut: int) -> None:
    """Whatever the journal holds when the operator restarts, the rest of the journal is the same."""
    first, world = first_round(), World(best=(8, 64), memory=64)
    whole = second_round(first, world, 40960)
    cut = min(cut, len(whole.journal) - 1)
    kept, now = whole.journal[:cut], whole.journal[cut][0]
    entries = [entry for _, entry in (*first.journal, *kept)]
    rest = drive(study_on("new", 40960), world, history=remember(entries), now=now)
    assert kept + rest.journal == whole.journal
