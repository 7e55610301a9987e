"""Studies whose best is measured again: killed at any point, with broken and invalid loads, and judged by the truth."""

from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories.studies import make_cell, make_study
from infpop_operator.core.decision import ConfirmationState, Verdict
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import Finished, TrialState
from infpop_operator.core.recommend import best_of_pool
from infpop_operator.core.study import Algorithm, Budget, SearchSpace
from noisy_studies import SHAPES, Published, drive_to_end, noisy_study, noisy_world, published, searched
from simulation.world import Story, World, drive, killed_after

SPACE = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(8, 16, 32))
ONE_COUNT = SearchSpace(gpu_counts=(1,), batch_sizes=tuple(range(8, 200, 8)))  # so that no tie goes to fewer GPUs
STUDIES = 60
properties = settings(max_examples=40, deadline=None)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Return the course of a study that confirms, in a world with noise and failures."""
    seed, parallel = draw(st.integers(0, 1000)), draw(st.integers(1, 3))
    world = World(
        seed=seed,
        best=(2, 16),
        noise=draw(st.sampled_from((0.0, 0.02, 0.2))),
        lost=draw(st.sampled_from((0.0, 0.2))),
        preempted=draw(st.sampled_from((0.0, 0.2))),
        crashed=draw(st.sampled_from((0.0, 0.2))),
        invalid=draw(st.sampled_from((0.0, 0.2))),
    )
    study = make_study(
        space=SPACE,
        algorithm=Algorithm(name="random", seed=seed),
        budget=Budget(
            max_trials=draw(st.integers(1, 9)),
            parallel_trials=parallel,
            max_concurrent_gpus=8,
            max_failed_trials=draw(st.sampled_from((2, 1000))),
            confirm=True,
        ),
        baseline=draw(st.sampled_from((None, make_cell(1, 8)))),
    )
    return drive(study, world)


@properties
@given(stories(), st.data())
def test_a_study_that_is_killed_makes_the_same_confirming_runs(story: Story, data: st.DataObject) -> None:
    """From any prefix of the journal: no load is made twice, and none that has a number is lost."""
    cut = data.draw(st.integers(0, len(story.journal) - 1))
    assert killed_after(story, cut) == story.journal


@properties
@given(stories())
def test_a_study_that_confirms_ends_and_says_what_its_number_is(story: Story) -> None:
    """Confirmed or with a reason why not; the search's budget of trials holds, and no name is used twice."""
    assert story.end.verdict in (Verdict.SUCCEEDED, Verdict.STALLED)
    assert len(trials_of(story.history, "a100", 1)) <= story.study.budget.max_trials
    assert max(Counter(entry.run.name for entry in story.history.ended).values(), default=1) == 1
    best = best_of_pool(story.study, story.study.pools[0], story.history)
    progress = story.end.confirmations.get("a100")
    if best is None or story.end.verdict is Verdict.STALLED:
        return
    assert progress is not None
    assert (best.confirmed is not None) == (progress.state is ConfirmationState.CONFIRMED)
    assert bool(progress.reason) == (progress.state is ConfirmationState.NOT_CONFIRMED)


@properties
@given(stories())
def test_nothing_is_measured_again_before_the_search_is_over(story: Story) -> None:
    """A confirming run starts only when no run of the search is live, and each is of a trial that has a number."""
    for step in story.steps:
        for run in step.decision.start:
            if not run.confirms:
                continue
            assert not any(not entry.run.confirms for entry in step.decision.history.active)
            by_index = {trial.index: trial for trial in trials_of(step.decision.history, run.pool, run.round)}
            assert by_index[run.trials[0].index].state is TrialState.MEASURED
            assert by_index[run.trials[0].index].configuration == run.trials[0].configuration


def test_every_load_that_was_measured_is_used_or_outvoted() -> None:
    """The GPU time of confirming runs is in the study's budget."""
    study = make_study(space=SPACE, algorithm=Algorithm(name="grid"), budget=Budget(max_trials=9, confirm=True))
    story = drive(study, World(best=(2, 16)))
    again = [entry for entry in story.history.ended if entry.run.confirms]
    assert sum(entry.gpu_seconds for entry in again) > 0
    assert all(isinstance(entry.observation, Finished) for entry in again)
    small = replace(study, budget=replace(study.budget, max_gpu_hours=0.01))
    assert not any(entry.run.confirms for entry in drive(small, World(best=(2, 16))).history.ended)


def outcomes(noise: float) -> list[Published]:
    """Return what studies publish whose configurations are all equal, on one GPU: the choice is luck."""
    found = []
    for seed in range(STUDIES):
        world = noisy_world("flat", noise=noise, seed=seed, space=ONE_COUNT)
        study = noisy_study(world, confirm=True)
        found.append(published(study, world, drive_to_end(study, world, searched(study, world))))
    return found


@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_the_published_number_is_true_where_the_choice_is_luck(noise: float) -> None:
    """Neither the number of the search (2 sigma too high) nor the one that won the choice (0.7 sigma) is published."""
    found = outcomes(noise)
    assert abs(fmean(each.error for each in found)) < 0.2
    assert fmean(each.covered is True for each in found) >= 0.9
    assert fmean(each.says_better for each in found) <= 0.05


def test_a_study_driven_as_a_whole_ends_like_one_whose_search_is_written_down() -> None:
    """The shortcut of the benchmark changes no promise: the same loads, chosen in the same way."""
    for shape in SHAPES:
        world = noisy_world(shape, noise=0.02, seed=1)
        study = noisy_study(world, confirm=True, max_trials=6)
        whole, short = drive_to_end(study, world), drive_to_end(study, world, searched(study, world))
        for decision in (whole, short):
            assert decision.verdict is Verdict.SUCCEEDED
            assert decision.confirmations["pool"].state is ConfirmationState.CONFIRMED
