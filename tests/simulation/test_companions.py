"""Studies whose search shares loads in any order and under any condition: what still holds, whatever breaks."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories.studies import make_study
from infpop_operator.core import plan_companions
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import Finished
from infpop_operator.core.search import Companion, SearchRequest
from infpop_operator.core.space import cells
from infpop_operator.core.study import AUTO, Algorithm, Budget, Configuration, Study
from infpop_runner.contract import Skipped
from simulation.strategies import SPACES, studies, worlds
from simulation.world import Story, World, drive, killed_after

properties = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", autouse=True)
def _any_companions() -> Iterator[None]:
    """Let each search answer with any open cells of the load, in any order, often under a condition."""

    def ask(request: SearchRequest, first: Configuration, most: int) -> tuple[Companion, ...]:
        chance = Random(f"{request.seed} {request.index} {first.load_key}")
        cells = [cell for cell in request.open_cells if cell.load_key == first.load_key and cell != first]
        chosen = chance.sample(cells, min(len(cells), chance.randrange(most + 1)))
        needs = (chance.choice([None, -chance.uniform(200, 1000), -chance.uniform(50, 300)]) for _ in chosen)
        return tuple(Companion(configuration=cell, needs_loss=loss) for cell, loss in zip(chosen, needs, strict=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_companions, "companions", ask)
        yield


def make_covering_study(seed: int) -> Study:
    """Return a random search whose budget covers its space."""
    algorithm = Algorithm(name="random", seed=seed, trials_per_run=AUTO)
    return make_study(space=SPACES[0], algorithm=algorithm, budget=Budget(max_trials=40))


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw a study that leaves companions to its search, and drive it through a world."""
    return drive(draw(sharing_studies()), draw(worlds))


@st.composite
def sharing_studies(draw: st.DrawFn) -> Study:
    """Draw a study with `trialsPerRun: auto`."""
    study = draw(studies())
    return replace(study, algorithm=replace(study.algorithm, trials_per_run=AUTO))


@properties
@given(stories())
def test_a_study_ends_with_a_reason_within_its_budget(story: Story) -> None:
    """Nothing loops, however often a trial is skipped: a run uses the budget for what it measured, never for a skip."""
    assert story.end.verdict in (Verdict.SUCCEEDED, Verdict.STALLED)
    assert story.end.reason
    for step in story.steps:
        for entry in step.after.rounds:
            assert len(trials_of(step.after, entry.pool, entry.number)) <= story.study.budget.max_trials


@properties
@given(stories())
def test_no_run_is_for_nothing(story: Story) -> None:
    """The first trial of a run is measured in any case, and no result consists of skipped trials alone."""
    for step in story.steps:
        for run in step.decision.start:
            assert run.sequence[0].needs_tokens_per_second is None
    for ended in story.history.ended:
        if isinstance(ended.observation, Finished) and ended.observation.result.trials:
            assert not all(isinstance(result, Skipped) for result in ended.observation.result.trials)


@properties
@given(stories())
def test_a_configuration_is_measured_once(story: Story) -> None:
    """However often it was planned and skipped: its results other than that are those of one trial."""
    for entry in story.history.rounds:
        trials = trials_of(story.history, entry.pool, entry.number)
        assert max(Counter(trial.configuration for trial in trials).values(), default=1) == 1


@properties
@given(stories(), st.data())
def test_a_study_that_is_killed_goes_on_with_the_same_proposals(story: Story, data: st.DataObject) -> None:
    """From any prefix of the journal: the order and the conditions of a run are recorded with it."""
    cut = data.draw(st.integers(0, len(story.journal) - 1))
    assert killed_after(story, cut) == story.journal


def test_a_generous_budget_measures_what_was_skipped_in_the_end() -> None:
    """A skipped cell is open: it is chosen again until it is measured or ruled out."""
    for seed in range(12):
        world = World(seed=seed, memory=64, survives=bool(seed % 2))
        study = make_covering_study(seed)
        story = drive(study, world)
        trials = trials_of(story.history, "a100", 1)
        skips = [
            result
            for ended in story.history.ended
            if isinstance(ended.observation, Finished)
            for result in ended.observation.result.trials
            if isinstance(result, Skipped)
        ]
        measured = {trial.configuration for trial in trials if trial.result is not None}
        assert {cell for cell in cells(study.space) if world.fits(cell)} <= measured
        assert skips
