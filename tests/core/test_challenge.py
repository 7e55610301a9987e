"""A winner whose fresh loads give far less than its search: what is clearly better is measured too."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from core.confirming import (
    CONFIRM,
    FOUR,
    ONE,
    TWO,
    Load,
    Play,
    adaptive,
    make_confirming_study,
    searched,
)
from factories.studies import make_cell
from infpop_operator.core.challenge import MOST_CHALLENGERS
from infpop_operator.core.decision import ConfirmationState
from infpop_operator.core.history import trials_of
from infpop_operator.core.model import Trial
from infpop_operator.core.recommend import best_of_pool, best_of_study, tie_of, with_own_number
from infpop_operator.core.round_facts import baseline_outcome
from infpop_operator.core.study import Budget, Configuration, SearchSpace, Study
from infpop_runner.contract import Measured

LUCKY = (50.0, 240.0, 298.0)  # what the search has measured of ONE, TWO and FOUR
IN_FULL = Budget(max_trials=3, max_failed_trials=20)  # without `confirm`


def played(study: Study, loads: Mapping[int, Sequence[Load]], *, rates: Sequence[object] = LUCKY) -> Play:
    """Return the play of a study after its search, at its end."""
    play = Play(study=study, history=searched(study, *rates), loads=loads)  # type: ignore[arg-type]
    play.to_end()
    return play


def tokens(trial: Trial | None) -> float:
    """Return the throughput of a measured trial."""
    assert trial is not None
    assert isinstance(trial.result, Measured)
    return trial.result.throughput_tokens_per_second


def recommended(play: Play) -> tuple[Configuration, float]:
    """Return what the study recommends."""
    best = best_of_pool(play.study, play.study.pools[0], play.history)
    assert best is not None
    return (best.configuration, tokens(best))


def test_what_clearly_beats_the_number_of_the_winner_is_measured_before_anything_is_recommended() -> None:
    """The only candidate was lucky: the runner-up is chosen on a load of its own, and has a number of two others."""
    play = played(make_confirming_study(), {1: [235, 229, 231], 2: [79, 79]})
    assert play.measured == [FOUR, FOUR, TWO, TWO, TWO]
    assert recommended(play) == (TWO, 230.0)
    assert tie_of(play.study, play.study.pools[0], play.history, best(play)) is None
    assert play.to_end().confirmations["a100"].state is ConfirmationState.CONFIRMED


def best(play: Play) -> Trial:
    """Return the trial that the study recommends."""
    found = best_of_pool(play.study, play.study.pools[0], play.history)
    assert found is not None
    return found


def test_one_load_refutes_what_was_lucky_too() -> None:
    """Then the winner keeps its number."""
    play = played(make_confirming_study(), {1: [60], 2: [79, 79]})
    assert play.measured == [FOUR, FOUR, TWO]
    assert recommended(play) == (FOUR, 79.0)
    assert not play.to_end().confirmations["a100"].unchecked


def test_a_difference_within_the_noise_of_the_loads_is_not_checked() -> None:
    """Every winner was lucky in its search, so others with a slightly better number are no reason for more loads."""
    play = played(make_confirming_study(), {2: [95, 97]}, rates=(50.0, 98.0, 100.0))
    assert recommended(play) == (FOUR, 96.0)


def test_loads_that_tell_little_do_not_hide_a_much_better_number() -> None:
    """Two loads that differ by half make any interval wide; a number that is far above their mean is checked."""
    play = played(make_confirming_study(), {1: [235, 229, 231], 2: [79, 150]})
    assert recommended(play) == (TWO, 230.0)


def test_when_everything_has_become_slower_only_some_are_checked() -> None:
    """The machine is busy, or throttled: measuring the search again shows nothing else."""
    space = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(8, 16))
    cells = [make_cell(gpus, batch) for gpus in space.gpu_counts for batch in space.batch_sizes]
    study = make_confirming_study(budget=replace(CONFIRM, max_trials=6))
    history = searched(study, 200.0, 210.0, 220.0, 230.0, 240.0, 300.0, cells=cells)
    play = Play(study=study, history=history, loads={index: [80 + index] * 2 for index in range(6)})
    found = play.to_end().confirmations["a100"]
    assert play.measured == [cells[5], cells[5], *reversed(cells[5 - MOST_CHALLENGERS : 5])]
    assert recommended(play) == (cells[5], 85.0)
    assert found.unchecked.startswith(
        "GPU count 1, batch size 16 was clearly better in the search, and was not measured"
    )


def test_the_baseline_is_measured_on_as_it_beats_the_winner_clearly() -> None:
    """Nothing is recommended that is clearly slower than what is in use: that has the number, of further loads."""
    study = make_confirming_study(baseline=ONE)
    play = played(study, {0: [96, 97, 95], 2: [60, 61]}, rates=(97.0, 50.0, 100.0))
    assert play.measured == [FOUR, ONE, FOUR, ONE, ONE]
    assert recommended(play) == (ONE, 96.0)


def test_a_candidate_that_lost_the_choice_is_measured_on_by_the_number_of_its_load() -> None:
    """The load that it has is the one that decides."""
    play = played(make_confirming_study(), {1: [95, 94, 98], 2: [99, 60, 61]}, rates=(50.0, 100.0, 100.5))
    assert play.measured == [TWO, FOUR, FOUR, FOUR, TWO, TWO]
    assert recommended(play) == (TWO, 96.0)


def test_a_challenger_that_does_not_survive_makes_room_for_the_next() -> None:
    """What fails on a fresh load is never recommended, and the winner's number stays while none is better."""
    study = make_confirming_study()
    play = played(study, {0: [148, 149, 151], 1: ["GpuOutOfMemory"], 2: [79, 79]}, rates=(150.0, 240.0, 298.0))
    assert recommended(play) == (ONE, 150.0)
    play = played(study, {1: ["GpuOutOfMemory"], 2: [79, 79]})
    assert recommended(play) == (FOUR, 79.0)


def test_what_has_failed_is_not_recommended_while_the_next_is_checked() -> None:
    """Its number of the search is the best that nothing has outdone, but it does not work any more."""
    study = make_confirming_study()
    loads = {1: ["GpuOutOfMemory"], 2: [79, 79]}
    play = Play(study=study, history=searched(study, 150.0, 240.0, 298.0), loads=loads)  # type: ignore[arg-type]
    play.to_end(lambda play: len(play.runs) == 3)
    assert recommended(play) == (ONE, 150.0)


def test_the_loads_of_the_baseline_tell_how_much_loads_differ() -> None:
    """With its search's number, which nothing has selected, a difference is clear that two loads leave open."""
    loads = {0: [50.1], 1: [94, 94.1, 94.3], 2: [90, 90.5]}
    assert recommended(played(make_confirming_study(), loads, rates=(50.0, 94.0, 100.0))) == (FOUR, 90.25)
    study = make_confirming_study(baseline=ONE)
    assert recommended(played(study, loads, rates=(50.0, 94.0, 100.0))) == (TWO, pytest.approx(94.2))


def test_a_challenger_whose_number_turns_out_clearly_worse_gives_way_again() -> None:
    """Its one good load was luck as well; no configuration is measured for a second number."""
    play = played(make_confirming_study(), {1: [235, 20, 20.2], 2: [79, 79]})
    assert recommended(play) == (FOUR, 79.0)
    assert len(play.runs) == 5


def test_the_winner_in_the_end_is_compared_with_the_baseline() -> None:
    """By its own number and that of the baseline, whichever winner the baseline took turns with."""
    study = make_confirming_study(baseline=ONE)
    play = played(study, {0: [50, 52], 1: [235, 229, 231], 2: [79, 79]})
    outcome = baseline_outcome(study, study.pools[0], play.history, play.history.rounds[0])
    assert outcome is not None
    assert (recommended(play), tokens(outcome.measured)) == ((TWO, 230.0), 51.0)


def test_if_the_budget_ends_first_what_is_unrefuted_is_recommended_as_not_confirmed() -> None:
    """Neither the number that was refuted, nor the search's number of the same configuration."""
    study = make_confirming_study(budget=replace(CONFIRM, max_gpu_hours=16 / 60))
    play = Play(study=study, history=searched(study, *LUCKY), loads={1: [235], 2: [79, 79]})
    decision = play.to_end()
    progress = decision.confirmations["a100"]
    assert (progress.state, progress.reason) == (ConfirmationState.NOT_CONFIRMED, "GPUHoursSpent")
    assert (recommended(play), best(play).confirmed) == ((TWO, 235.0), None)
    found = best_of_study(study, play.history)
    assert found is not None
    assert found[1] == best(play)


def test_turned_off_before_the_check_ends_no_number_that_was_refuted_comes_back() -> None:
    """No further load starts, and what fresh loads have shown by then counts."""
    study = make_confirming_study()
    half = Play(study=study, history=searched(study, *LUCKY), loads={2: [79, 79]})
    half.to_end(lambda play: len(play.runs) == 2)
    off = Play(study=replace(study, budget=IN_FULL), history=half.history, loads={})
    assert off.to_end().confirmations == {}
    assert (off.runs, recommended(off), best(off).confirmed) == ([], (TWO, 240.0), None)


def test_what_was_outdone_counts_with_its_fresh_loads() -> None:
    """For what is published, too: its lucky number of the search would beat everything."""
    play = played(make_confirming_study(), {1: [235, 229, 231], 2: [79, 79]})
    (pool,), (entry,) = play.study.pools, play.history.rounds
    lucky = trials_of(play.history, pool.name, entry.number)[2]
    assert tokens(with_own_number(play.study, pool, play.history, entry, lucky)) == 79.0


@pytest.mark.parametrize(
    ("loads", "expected", "measured"),
    [
        ({1: [235], 2: [79]}, (TWO, 235.0), [FOUR, TWO]),
        ({1: [60], 2: [79]}, (FOUR, 79.0), [FOUR, TWO]),
        ({1: ["GpuOutOfMemory"], 2: [79]}, (FOUR, 79.0), [FOUR, TWO]),
        ({2: [290]}, (FOUR, 290.0), [FOUR]),
    ],
)
def test_without_confirm_what_beats_a_number_in_full_is_measured_in_full_as_well(
    loads: Mapping[int, Sequence[Load]], expected: tuple[Configuration, float], measured: Sequence[Configuration]
) -> None:
    """One load each, as for everything that was measured short."""
    rates = [adaptive(rate, index=index) for index, rate in enumerate(LUCKY)]
    play = played(make_confirming_study(budget=IN_FULL), loads, rates=rates)
    assert (recommended(play), play.measured) == (expected, measured)


def test_without_confirm_a_number_in_full_of_the_search_needs_no_other() -> None:
    """It was measured in full already, and is the best."""
    rates = (50.0, 240.0, adaptive(298.0, index=2))
    play = played(make_confirming_study(budget=IN_FULL), {2: [79]}, rates=rates)
    assert (recommended(play), play.measured) == ((TWO, 240.0), [FOUR])
