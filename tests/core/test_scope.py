"""A study that is changed while it runs: what still counts, and what is compared with what."""

from dataclasses import replace
from datetime import timedelta

from factories.landscapes import landscape
from factories.runs import make_ended, make_history, make_round, make_run
from factories.studies import make_cell, make_pool, make_study, make_trials
from infpop_operator.core.counting import current_trials
from infpop_operator.core.decide import decide
from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.model import Round
from infpop_operator.core.recommend import best_of_study
from infpop_operator.core.scope import baseline_of, earlier_best, in_scope
from infpop_operator.core.study import Algorithm, Budget, Configuration, Plateau, SearchSpace, Study
from simulation.world import Story, World, drive

WIDE = SearchSpace(gpu_counts=(1, 4), batch_sizes=(16, 64))
NARROW = SearchSpace(gpu_counts=(1,), batch_sizes=(16, 32, 64))
GRID = Algorithm(name="grid")
WORLD = World(best=(4, 64), memory=64)


def finish(study: Study, *, after: Story | None = None, world: World = WORLD) -> Story:
    """Drive the study to its end, continuing from the end of another story where given."""
    if after is None:
        return drive(study, world)
    return drive(study, world, history=after.history, now=after.steps[-1].now + timedelta(minutes=1))


def configurations(story: Story) -> set[Configuration]:
    """Return the configurations that a story planned."""
    runs = [run for step in story.steps for run in step.decision.start]
    return {trial.configuration for run in runs for trial in run.trials}


def test_what_left_the_search_space_is_no_longer_recommended() -> None:
    """A study that may no longer use four GPUs gets the best of one GPU; the older numbers stay in the history."""
    study = make_study(space=WIDE, algorithm=GRID)
    first = finish(study)
    assert best_of_study(study, first.history)[1].configuration == make_cell(4, 64)
    narrowed = replace(study, space=NARROW)
    second = finish(narrowed, after=first)
    assert best_of_study(narrowed, second.history)[1].configuration == make_cell(1, 64)
    assert configurations(second) == {make_cell(1, 32)}
    assert len(trials_of(second.history, "a100", 1)) == 5
    assert len(current_trials(narrowed, study.pools[0], second.history)) == 3


def test_what_left_the_search_space_uses_no_budget_and_makes_no_plateau() -> None:
    """A changed space is searched with the whole budget."""
    budget = Budget(max_trials=4, plateau=Plateau(trials=3, improvement_ratio=0.5))
    study = make_study(space=WIDE, algorithm=GRID, budget=budget)
    first = finish(study)
    elsewhere = replace(study, space=SearchSpace(gpu_counts=(2,), batch_sizes=(1, 2, 4, 8)))
    second = finish(elsewhere, after=first)
    assert configurations(second) == {make_cell(2, batch) for batch in (1, 2, 4, 8)}


def test_a_search_gets_no_results_from_outside_its_space() -> None:
    """A story in a changed space continues like one that never left it."""
    study = make_study(space=WIDE, budget=Budget(max_trials=10))
    moved = replace(study, space=SearchSpace(gpu_counts=(2, 8), batch_sizes=(16, 64)))
    assert configurations(finish(moved, after=finish(study))) == configurations(finish(moved))


def test_a_baseline_that_is_added_in_the_first_round_is_measured_next() -> None:
    """A baseline that the user adds later is compared all the same, also after another change of it."""
    study = make_study(budget=Budget(max_trials=2))
    first = finish(study)
    longer = Budget(max_trials=6)
    for cell in (make_cell(4, 48), make_cell(2, 24)):
        changed = replace(study, baseline=cell, budget=longer)
        decision = decide(changed, first.history, {}, first.steps[-1].now)
        assert decision.start[0].trials[0].configuration == cell
        first = finish(changed, after=first)
        assert cell in {trial.configuration for trial in current_trials(changed, study.pools[0], first.history)}


def test_a_later_round_is_compared_with_the_best_before_it() -> None:
    """After a round with a best, that best is the baseline; otherwise the study's current baseline is."""
    study = make_study(baseline=make_cell(1, 8))
    known = Round(pool="a100", number=2, identity="i", baseline=make_cell(4, 64))
    assert baseline_of(study, known) == make_cell(4, 64)
    assert baseline_of(study, replace(known, baseline=None)) == make_cell(1, 8)
    assert baseline_of(study, replace(known, number=1)) == make_cell(1, 8)


def test_the_best_before_a_round_is_known_from_the_second_round_on() -> None:
    """The baseline that the journal of a first round records is not such a best."""
    entry = Round(pool="a100", number=1, identity="i", baseline=make_cell(4, 64))
    assert earlier_best(entry) is None
    assert earlier_best(replace(entry, number=2)) == make_cell(4, 64)
    assert earlier_best(replace(entry, number=2, baseline=None)) is None


def test_trials_of_the_space_and_of_the_baseline_count_in_their_order() -> None:
    """Everything else stays only in the history, including another batch size of the baseline."""
    entries = [make_cell(1, 64), make_cell(4, 8), make_cell(1, 16), make_cell(2, 64), make_cell(4, 16)]
    trials = make_trials([(cell, 1.0) for cell in entries])
    study = make_study(space=NARROW)
    assert in_scope(study, trials, make_cell(4, 8)) == (trials[0], trials[1], trials[2])
    assert in_scope(study, trials, None) == (trials[0], trials[2])


def test_the_trials_that_count_are_those_of_the_newest_round_of_a_pool() -> None:
    """Its baseline is the best of the round before; a pool without a round has none."""
    study = make_study(space=NARROW, baseline=make_cell(8, 8))
    rounds = (make_round(), make_round(number=2, baseline=make_cell(4, 8)), make_round(pool="v100", number=3))
    runs = [
        make_run("first", cells=[make_cell(1, 32)]),
        make_run("second", cells=[make_cell(1, 16), make_cell(4, 8), make_cell(8, 8)], round=2),
    ]
    history = make_history(rounds=rounds, ended=tuple(make_ended(run) for run in runs))
    found = [trial.configuration for trial in current_trials(study, study.pools[0], history)]
    assert found == [make_cell(1, 16), make_cell(4, 8)]
    assert current_trials(study, make_pool(name="h100"), history) == ()


def test_a_round_without_a_best_leaves_the_word_to_the_study() -> None:
    """A baseline of the study that changes after a round without a best takes effect."""
    study = make_study(baseline=make_cell(1, 8), budget=Budget(max_trials=1))
    fruitless = finish(study, world=World(memory=0))
    upgraded = replace(study, pools=(make_pool(fingerprint="new"),), baseline=make_cell(2, 8))
    second = finish(upgraded, after=fruitless)
    newest = current_round(second.history, "a100")
    assert newest is not None
    assert (newest.number, baseline_of(upgraded, newest)) == (2, make_cell(2, 8))


def test_the_picture_stars_only_what_counts() -> None:
    """A number from outside the space is shown and is not the best."""
    first = finish(make_study(space=WIDE, algorithm=GRID))
    trials = trials_of(first.history, "a100", 1)
    picture = landscape(make_study(space=NARROW), make_pool(), trials, None)
    assert picture.gpu_counts == (1, 4)
    assert picture.best is not None
    assert (picture.best.gpu_count, picture.best.batch_size) == (1, 64)
