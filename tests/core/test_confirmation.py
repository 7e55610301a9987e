"""Measuring the best of a round again: what is measured, what is chosen, and the number that is published."""

from dataclasses import replace

import pytest

from core.confirming import (
    CONFIRM,
    FOUR,
    MINUTE,
    ONE,
    TWO,
    Play,
    adaptive,
    crashed,
    lost,
    make_confirming_study,
    searched,
)
from factories.studies import make_cell, make_measured, make_raced_out
from infpop_operator.core.confirmation import MOST_CANDIDATES, MOST_LOST
from infpop_operator.core.counting import current_trials
from infpop_operator.core.decision import ConfirmationState, Verdict
from infpop_operator.core.history import next_index, trials_of
from infpop_operator.core.model import Trial
from infpop_operator.core.recommend import best_of_pool, best_of_study, tie_of
from infpop_operator.core.round_facts import baseline_outcome
from infpop_operator.core.study import Budget, Constraint, Objective, SearchSpace, Study
from infpop_runner.contract import MeasurementSpec


def best(play: Play) -> Trial:
    """Return what the study recommends."""
    found = best_of_pool(play.study, play.study.pools[0], play.history)
    assert found is not None
    return found


def tokens(trial: Trial | None) -> float:
    """Return the throughput of a measured trial."""
    assert trial is not None
    assert trial.result is not None
    assert trial.result.outcome == "measured"
    return trial.result.throughput_tokens_per_second


def played(study: Study, *rates: float, loads: dict[int, list[object]]) -> Play:
    """Return the play of a study after its search, at its end."""
    play = Play(study=study, history=searched(study, *rates), loads=loads)  # type: ignore[arg-type]
    play.to_end()
    return play


def test_candidates_are_measured_once_each_and_then_the_winner_alternates_with_the_baseline() -> None:
    """One configuration per load, and a configuration outside the tie band only if it is the baseline."""
    study = make_confirming_study(baseline=ONE)
    play = played(study, 90.0, 100.0, 100.5, loads={0: [90, 91], 1: [100, 101], 2: [104, 103, 104]})
    assert play.measured == [TWO, FOUR, FOUR, ONE, FOUR]
    assert [run.trials[0].index for run in play.runs] == [1, 2, 2, 0, 2]
    assert all(run.confirms and run.to_beat_tokens_per_second is None for run in play.runs)
    assert len({run.name for run in play.runs}) == len(play.runs)


def test_the_fresh_loads_alone_decide() -> None:
    """What the search measured best loses if it was luck."""
    study = make_confirming_study(baseline=ONE)
    play = played(study, 90.0, 100.0, 100.5, loads={0: [90, 90], 1: [100, 100, 99], 2: [95]})
    assert best(play).configuration == TWO


def test_the_number_is_the_mean_of_loads_on_which_no_choice_depended() -> None:
    """Neither the search's number nor the load that won the choice is part of it."""
    study = make_confirming_study()
    play = played(study, 90.0, 100.0, 100.5, loads={1: [100], 2: [110, 103, 105]})
    chosen = best(play)
    assert (chosen.configuration, tokens(chosen)) == (FOUR, 104.0)
    assert chosen.confirmed is not None
    assert chosen.confirmed.loads == 2


def test_the_interval_is_of_all_deviations_of_the_round() -> None:
    """Student's interval with the deviations of every configuration that was measured again, the search's included."""
    study = make_confirming_study()
    play = played(study, 50.0, 60.0, 100.0, loads={2: [98.0, 102.0]})
    result = best(play).result
    assert result is not None
    assert result.outcome == "measured"
    # 98, 100 and 102: a standard deviation of 2 with 2 degrees of freedom, t = 4.303
    assert result.interval_tokens_per_second == pytest.approx((100 - 4.303 * 2 / 2**0.5, 100 + 4.303 * 2 / 2**0.5))


def test_a_tie_of_the_fresh_loads_goes_to_fewer_gpus() -> None:
    """Two candidates within the noise of the loads: the one with fewer GPUs wins, and the other is named."""
    study = make_confirming_study()
    play = played(study, 90.0, 100.0, 100.5, loads={1: [100, 100, 100], 2: [100.5]})
    assert best(play).configuration == TWO
    tied = tie_of(study, study.pools[0], play.history, best(play))
    assert (tied.configuration, tokens(tied)) == (FOUR, 100.5) if tied is not None else False


def test_a_single_candidate_is_confirmed_as_well() -> None:
    """There is nothing to choose, so all its loads make the number."""
    play = played(make_confirming_study(), 50.0, 60.0, 100.0, loads={2: [98, 99]})
    assert play.measured == [FOUR, FOUR]
    assert tokens(best(play)) == 98.5


def test_no_more_than_some_candidates_are_measured_and_the_best_number_is_among_them() -> None:
    """A wide tie costs no more than `MOST_CANDIDATES` loads to choose."""
    space = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(8, 16))
    cells = [make_cell(gpus, batch) for gpus in space.gpu_counts for batch in space.batch_sizes]
    study = make_confirming_study(budget=replace(CONFIRM, max_trials=6))
    history = searched(study, 100.0, 100.1, 100.2, 100.3, 100.4, 100.5, cells=cells)
    play = Play(study=study, history=history, loads={index: [100, 100, 100] for index in range(6)})
    play.to_end()
    assert len(set(play.measured)) == MOST_CANDIDATES
    assert cells[5] in play.measured


def test_the_baseline_gets_a_second_load_only_if_the_first_leaves_it_open() -> None:
    """A clear difference costs one load, a doubtful one two."""
    study = make_confirming_study(baseline=ONE)
    clear = played(study, 50.0, 60.0, 100.0, loads={0: [50], 2: [99, 101]})
    open_ = played(study, 97.0, 60.0, 100.0, loads={0: [97, 99], 2: [99, 101]})
    assert clear.measured.count(ONE) == 1
    assert open_.measured == [FOUR, ONE, FOUR, ONE]


def test_the_baseline_counts_with_its_fresh_loads() -> None:
    """Both sides of the comparison that is published are measured side by side."""
    study = make_confirming_study(baseline=ONE)
    play = played(study, 97.0, 60.0, 100.0, loads={0: [97, 98], 2: [99, 101]})
    outcome = baseline_outcome(study, study.pools[0], play.history, play.history.rounds[0])
    assert outcome is not None
    assert tokens(outcome.measured) == 97.5


def test_the_baseline_that_lost_the_choice_is_compared_with_loads_that_did_not_decide() -> None:
    """It lost because its load was slow, so that load says too little about it."""
    study = make_confirming_study(baseline=TWO)
    play = played(study, 50.0, 100.0, 100.5, loads={1: [90, 99, 99], 2: [100, 101, 101]})
    outcome = baseline_outcome(study, study.pools[0], play.history, play.history.rounds[0])
    assert outcome is not None
    assert best(play).configuration == FOUR
    assert tokens(outcome.measured) == 99.0


def test_measuring_again_uses_no_trial_and_no_index() -> None:
    """The search's trials stay as they were, and a further search goes on where it was."""
    study = make_confirming_study()
    history = searched(study, 50.0, 60.0, 100.0)
    play = Play(study=study, history=history, loads={2: [98, 99]})
    play.to_end()
    assert trials_of(play.history, "a100", 1) == trials_of(history, "a100", 1)
    assert next_index(play.history, "a100", 1) == 3
    more = replace(study, budget=replace(CONFIRM, max_trials=4))
    assert Play(study=more, history=play.history, loads={}).to_end(lambda _: True).start[0].trials[0].index == 3


def test_the_loads_of_the_number_do_not_change_the_choice() -> None:
    """However much they differ, the two configurations that the choice told apart do not tie afterwards."""
    play = played(make_confirming_study(), 50.0, 100.0, 100.5, loads={1: [100], 2: [104, 90, 90]})
    assert play.measured == [TWO, FOUR, FOUR, FOUR]
    assert (best(play).configuration, tokens(best(play))) == (FOUR, 90.0)


def test_candidates_are_measured_at_the_same_time_where_the_budget_allows_it() -> None:
    """The choice needs no order, so its loads start together; each trial has at most one load at a time."""
    study = make_confirming_study(budget=replace(CONFIRM, parallel_trials=3))
    decision = Play(study=study, history=searched(study, 90.0, 100.0, 100.5), loads={}).to_end(lambda _: True)
    assert [run.trials[0].configuration for run in decision.start] == [TWO, FOUR]


def test_a_candidate_that_does_not_fit_again_makes_room_for_the_next_best() -> None:
    """Out of memory on a fresh load: it is not recommended, although the search measured it."""
    play = played(make_confirming_study(), 50.0, 90.0, 100.0, loads={1: [89, 91], 2: ["GpuOutOfMemory"]})
    assert (best(play).configuration, tokens(best(play))) == (TWO, 90.0)


def test_what_has_just_failed_is_not_recommended_while_the_next_best_is_measured() -> None:
    """The best of the study is that of its pool, and it ties with nothing that failed."""
    study = make_confirming_study()
    play = Play(study=study, history=searched(study, 50.0, 80.0, 100.0), loads={2: ["GpuOutOfMemory"]})
    play.to_end(lambda play: len(play.runs) == 1)
    found = best_of_study(study, play.history)
    assert found is not None
    assert found[1].configuration == best(play).configuration == TWO
    assert tie_of(study, study.pools[0], play.history, best(play)) is None


def test_a_candidate_that_is_unstable_twice_makes_room_and_the_second_try_is_longer() -> None:
    """An invalid measurement is repeated once, longer, as in the search."""
    loads = {1: [89, 91], 2: ["UnstableRepeats", "UnstableRepeats"]}
    play = played(make_confirming_study(), 50.0, 90.0, 100.0, loads=loads)  # type: ignore[arg-type]
    assert [run.longer for run in play.runs] == [False, True, False, False]
    assert best(play).configuration == TWO


def test_a_candidate_that_kills_three_engines_makes_room() -> None:
    """A broken load is retried like any run; what crashes each time is not a winner that survives."""
    loads = {1: [89, 91], 2: [crashed(), crashed(), crashed()]}
    assert best(played(make_confirming_study(), 50.0, 90.0, 100.0, loads=loads)).configuration == TWO  # type: ignore[arg-type]


def test_a_candidate_that_breaks_a_constraint_again_makes_room() -> None:
    """The confirmed numbers must meet the constraints, too."""
    objective = Objective(constraints=(Constraint(metric="batchSecondsP95", maximum=1.0),))
    slow = make_measured(100.0, index=2, batch_size=16, batch_seconds_p95=1.5)
    loads = {1: [89, 91], 2: [slow]}
    play = played(make_confirming_study(objective=objective), 50.0, 90.0, 100.0, loads=loads)  # type: ignore[arg-type]
    assert best(play).configuration == TWO


def test_a_load_that_is_lost_or_preempted_is_measured_again() -> None:
    """No number is missing at the end, and none counts twice."""
    loads = {2: [lost(), 98, lost("Preempted", counts=False), 99]}
    play = played(make_confirming_study(), 50.0, 60.0, 100.0, loads=loads)  # type: ignore[arg-type]
    assert tokens(best(play)) == 98.5
    assert best(play).confirmed is not None


@pytest.mark.parametrize(
    ("budget", "loads", "reason"),
    [
        (CONFIRM, [lost(), lost(), lost()], "NodeLost"),
        (replace(CONFIRM, max_failed_trials=1), [lost(), lost()], "TooManyFailures"),
        (
            replace(CONFIRM, deadline=2.5 * MINUTE),
            [98, 98],
            "DeadlineReached",
        ),
        (replace(CONFIRM, max_gpu_hours=10 / 60), [98, 98], "GPUHoursSpent"),
    ],
)
def test_what_cannot_be_confirmed_is_recommended_and_says_so(budget: Budget, loads: list[object], reason: str) -> None:
    """The study has succeeded with the best of its search; it says that this is not confirmed, and why."""
    study = make_confirming_study(budget=budget)
    play = Play(study=study, history=searched(study, 50.0, 60.0, 100.0), loads={2: loads})  # type: ignore[dict-item]
    decision = play.to_end()
    progress = decision.confirmations["a100"]
    assert decision.verdict is Verdict.SUCCEEDED
    assert (progress.state, progress.reason) == (ConfirmationState.NOT_CONFIRMED, reason)
    assert "not confirmed" in decision.message
    assert (best(play).configuration, tokens(best(play)), best(play).confirmed) == (FOUR, 100.0, None)


def test_if_nothing_survives_the_best_of_the_search_stays_and_says_so() -> None:
    """There is nothing better to recommend than what the search has measured."""
    study = make_confirming_study()
    loads = {index: ["GpuOutOfMemory"] for index in range(3)}
    play = Play(study=study, history=searched(study, 50.0, 60.0, 100.0), loads=loads)  # type: ignore[arg-type]
    progress = play.to_end().confirmations["a100"]
    assert (progress.state, progress.reason) == (ConfirmationState.NOT_CONFIRMED, "NoneSurvived")
    assert "GpuOutOfMemory" in progress.detail
    assert best(play).configuration == FOUR


def test_a_study_in_which_nothing_survives_ends_after_some() -> None:
    """A pool on which everything fails now is not measured to the last configuration."""
    space = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(8, 16, 32, 64))
    cells = [make_cell(gpus, batch) for gpus in space.gpu_counts for batch in space.batch_sizes]
    study = make_confirming_study(space=space, budget=replace(CONFIRM, max_trials=12))
    history = searched(study, *(10.0 * 2**index for index in range(12)), cells=cells)
    play = Play(study=study, history=history, loads={index: ["GpuOutOfMemory"] for index in range(12)})  # type: ignore[dict-item]
    play.to_end()
    assert len(play.runs) == MOST_LOST + 1


def test_a_study_says_that_it_confirms_and_how_far_it_is() -> None:
    """The search is over, and what happens now has its own reason."""
    study = make_confirming_study(baseline=ONE)
    play = Play(study=study, history=searched(study, 90.0, 100.0, 100.5), loads={1: [100], 2: [104]})
    decision = play.to_end(lambda play: len(play.runs) == 1)
    assert (decision.verdict, decision.reason) == (Verdict.RUNNING, "Confirming")
    assert "confirming the best: 1 of at most 6 loads" in decision.message
    assert decision.reasons_by_pool == {}


def test_a_confirmed_study_says_so() -> None:
    """The verdict keeps the reason why the search ended."""
    study = make_confirming_study()
    decision = Play(study=study, history=searched(study, 50.0, 60.0, 100.0), loads={2: [98, 99]}).to_end()
    assert (decision.verdict, decision.reason) == (Verdict.SUCCEEDED, "MaxTrialsReached")
    assert decision.confirmations["a100"].state is ConfirmationState.CONFIRMED
    assert "the best is confirmed on 2 fresh loads" in decision.message


def test_without_confirm_nothing_is_measured_again() -> None:
    """A search in full has the numbers that count, and the study ends with it."""
    study = make_confirming_study(budget=Budget(max_trials=3))
    decision = Play(study=study, history=searched(study, 90.0, 100.0, 100.5), loads={}).to_end()
    assert (decision.verdict, decision.confirmations) == (Verdict.SUCCEEDED, {})


def test_without_confirm_a_short_measurement_of_the_best_and_its_ties_is_repeated_in_full() -> None:
    """Each is measured once more, and these numbers decide; what was measured in full already is not."""
    study = make_confirming_study(budget=Budget(max_trials=3))
    rates = (adaptive(90.0, index=0), adaptive(100.0, index=1), 100.5)
    play = Play(study=study, history=searched(study, *rates), loads={1: [102.0]})
    decision = play.to_end()
    assert play.measured == [TWO]
    assert (best(play).configuration, tokens(best(play)), best(play).confirmed) == (TWO, 102.0, None)
    assert decision.confirmations == {}


def test_a_round_of_an_earlier_version_that_has_ended_starts_no_run() -> None:
    """An upgrade that turns `confirm` on by default measures nothing in a study that has finished."""
    study = make_confirming_study()
    history = searched(study, 90.0, 100.0, 100.5)
    old = replace(history, rounds=tuple(replace(entry, confirms=False) for entry in history.rounds))
    decision = Play(study=study, history=old, loads={}).to_end()
    assert (decision.verdict, decision.start, decision.confirmations) == (Verdict.SUCCEEDED, (), {})
    assert decision.history.rounds == old.rounds


def test_a_round_whose_search_goes_on_follows_the_spec() -> None:
    """Turned on before the search has ended, `confirm` counts, also in a round of an earlier version."""
    study = make_confirming_study(budget=replace(CONFIRM, max_trials=4))
    history = searched(study, 90.0, 100.0, 100.5)
    old = replace(history, rounds=tuple(replace(entry, confirms=False) for entry in history.rounds))
    assert Play(study=study, history=old, loads={}).to_end(lambda _: True).history.rounds[0].confirms
    off = replace(study, budget=replace(study.budget, confirm=False))
    assert not Play(study=off, history=history, loads={}).to_end(lambda _: True).history.rounds[0].confirms


def test_turned_off_it_stops_and_what_is_confirmed_stays_so() -> None:
    """No further load starts; a confirmed number does not turn back into that of the search."""
    study = make_confirming_study()
    off = replace(study, budget=replace(CONFIRM, confirm=False))
    half = Play(study=study, history=searched(study, 50.0, 60.0, 100.0), loads={2: [98]})
    half.to_end(lambda play: len(play.runs) == 1)
    decision = Play(study=off, history=half.history, loads={}).to_end()
    assert (decision.verdict, decision.start, decision.confirmations) == (Verdict.SUCCEEDED, (), {})
    whole = played(study, 50.0, 60.0, 100.0, loads={2: [98, 99]})
    ended = Play(study=off, history=whole.history, loads={})
    assert ended.to_end().confirmations["a100"].state is ConfirmationState.CONFIRMED
    assert tokens(best(ended)) == 98.5


def test_a_suspended_study_goes_on_where_it_was() -> None:
    """No load starts while it is suspended, and none that has ended is repeated."""
    study = make_confirming_study()
    play = Play(study=study, history=searched(study, 50.0, 60.0, 100.0), loads={2: [98, 99]})
    play.to_end(lambda play: len(play.runs) == 1)
    play.study = replace(study, suspended=True)
    assert play.to_end(lambda _: True).start == ()
    play.study = study
    play.to_end()
    assert (len(play.runs), tokens(best(play))) == (2, 98.5)


def test_a_pool_that_has_changed_confirms_nothing_on_other_hardware() -> None:
    """Its numbers belong to the round's hardware: no run starts, and the result says that it is not confirmed."""
    study = make_confirming_study(retune=replace(make_confirming_study().retune, policy="Manual"))
    history = searched(study, 50.0, 60.0, 100.0)
    changed = replace(study, pools=(replace(study.pools[0], fingerprint="other"),))
    play = Play(study=changed, history=history, loads={})
    progress = play.to_end().confirmations["a100"]
    assert (play.runs, progress.state, progress.reason) == ([], ConfirmationState.NOT_CONFIRMED, "PoolChanged")


def test_a_pool_without_a_node_for_the_best_gives_up_in_the_end() -> None:
    """The study waits as long as for any node, then ends with the best of its search."""
    study = make_confirming_study()
    small = replace(study, pools=(replace(study.pools[0], usable_device_count=2),))
    play = Play(study=small, history=searched(study, 50.0, 60.0, 100.0), loads={})
    assert play.to_end(lambda _: True).verdict is Verdict.WAITING
    decision = play.to_end()
    assert decision.verdict is Verdict.SUCCEEDED
    assert decision.confirmations["a100"].reason == "NoRoom"


def test_a_metric_that_is_missing_leaves_the_best_unconfirmed() -> None:
    """Without the number that the objective needs nothing can be compared, and the reason names the metric."""
    study = make_confirming_study(objective=Objective(metric="power", goal="Minimize"))
    history = searched(study, 50.0, 60.0, 100.0)
    ended = tuple(
        replace(each, observation=replace(each.observation, extra_metrics={index: {"power": 300.0 - 100 * index}}))
        for index, each in enumerate(history.ended)
    )
    play = Play(study=study, history=replace(history, ended=ended), loads={2: [98, 99]})
    progress = play.to_end().confirmations["a100"]
    assert progress.reason == "MetricMissing"
    assert "power" in progress.detail


def test_what_was_raced_out_against_the_only_candidate_is_open_again_if_that_fails() -> None:
    """With nothing left that survives, the search goes on with the most promising of them."""
    raced = [make_raced_out(rate, index=index, batch_size=16) for index, rate in enumerate((60.0, 95.0))]
    study = make_confirming_study(measurement=MeasurementSpec(mode="adaptive"))
    loads = {2: ["GpuOutOfMemory"], 3: [94, 93, 95]}
    play = Play(study=study, history=searched(study, *raced, 100.0), loads=loads)  # type: ignore[arg-type]
    play.to_end()
    assert play.measured == [FOUR, TWO, TWO, TWO]
    assert (best(play).configuration, tokens(best(play))) == (TWO, 94.0)


def test_what_was_raced_out_against_a_best_that_fails_is_open_again() -> None:
    """The round goes back to its search: the one that failed sets no bar, and the trial that it beat is measured."""
    raced = make_raced_out(95.0, index=1, batch_size=16)
    study = make_confirming_study(measurement=MeasurementSpec(mode="adaptive"))
    loads = {0: [61], 2: ["GpuOutOfMemory"], 3: [94, 93, 95]}
    play = Play(study=study, history=searched(study, 60.0, raced, 100.0), loads=loads)  # type: ignore[arg-type]
    play.to_end(lambda play: len(play.runs) == 1)
    assert [trial.index for trial in current_trials(study, study.pools[0], play.history)] == [0, 2]
    play.to_end()
    assert play.measured == [FOUR, TWO, TWO, TWO]
    reopened = play.runs[1]
    assert (reopened.confirms, reopened.to_beat_tokens_per_second) == (False, pytest.approx(59.4))
    assert (best(play).configuration, tokens(best(play))) == (TWO, 94.0)
