"""What a round keeps when the hardware or the spec that it measured comes back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.retuning import (
    A100,
    DEBOUNCE,
    HOUR,
    MINUTE,
    V100,
    make_tuned_study,
    on,
    tuned,
    with_other_spec,
)
from factories.studies import START, make_cell
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import failures
from infpop_operator.core.study import Budget, Retune


def test_old_hardware_that_returns_continues_its_round() -> None:
    """Nothing is measured twice: only what is in use now, first, if the old round lacks it, even beyond its budget."""
    timeline = tuned(make_tuned_study(retune=Retune(debounce=DEBOUNCE, max_per_day=9)))
    v100, measured = timeline.study, len(timeline.history.ended)
    timeline.rates = {(2, 8): 1.0, (2, 16): 1.0, (1, 16): 1.0, (1, 8): 9.0}
    a100 = on(v100, A100, budget=Budget(max_trials=4))
    timeline.look(a100, after=MINUTE)
    timeline.look(after=DEBOUNCE)
    timeline.finish()
    assert len(timeline.history.ended) == measured + 4
    timeline.look(v100, after=MINUTE)
    timeline.look(after=DEBOUNCE)
    assert timeline.rounds() == [2, 1]
    assert (timeline.newest.resumed, timeline.newest.resumed_at) == (1, timeline.now)
    assert timeline.newest.opened_at == START + MINUTE
    assert timeline.newest.baseline == make_cell(1, 8)
    assert [live.run.trials[0].configuration for live in timeline.history.active] == [make_cell(1, 8)]
    decision = timeline.finish()
    assert (decision.verdict, decision.reason) == (Verdict.SUCCEEDED, "MaxTrialsReached")
    assert len(timeline.history.ended) == measured + 5
    timeline.look(a100, after=MINUTE)
    timeline.look(after=DEBOUNCE)
    assert timeline.rounds() == [1, 2]
    assert timeline.newest.resumed == 1
    assert timeline.newest.baseline == make_cell(2, 16)
    timeline.finish()
    assert len(timeline.history.ended) == measured + 5


def test_a_round_that_nothing_replaced_keeps_its_baseline() -> None:
    """If the round in between found no best, its own best is still in use, and what it was compared with stays."""
    timeline = tuned(make_tuned_study(baseline=make_cell(2, 8)))
    v100 = timeline.study
    timeline.look(on(v100, A100), after=MINUTE)
    timeline.look(after=DEBOUNCE)
    timeline.look(v100, after=MINUTE, lost=True)
    timeline.look(after=DEBOUNCE, lost=True)
    assert (timeline.rounds(), timeline.newest.baseline) == ([2, 1], make_cell(2, 8))


def test_an_edit_that_is_taken_back_continues_its_round_at_once() -> None:
    """The numbers of the earlier revision still hold."""
    timeline = tuned()
    before = timeline.study
    timeline.look(with_other_spec(before), after=MINUTE)
    timeline.finish()
    timeline.look(before, after=MINUTE)
    assert (timeline.rounds(), timeline.newest.trigger) == ([2, 1], "SpecChanged")


def test_a_round_that_returns_has_its_failures_behind_it() -> None:
    """The nodes were replaced since: what broke on the old ones says nothing about them."""
    timeline = tuned(make_tuned_study(budget=Budget(max_trials=3, max_failed_trials=0)))
    v100 = replace(timeline.study, budget=Budget(max_trials=4, max_failed_trials=0))
    timeline.look(v100, after=MINUTE)
    assert timeline.look(after=MINUTE, lost=True).reason == "TooManyFailures"
    for pool in (A100, V100):
        timeline.look(on(v100, pool), after=MINUTE)
        timeline.look(after=DEBOUNCE)
    assert timeline.newest.number == 1
    assert failures(timeline.history) == ()
    assert timeline.finish().verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize("wrong_by", [timedelta(0), timedelta(days=30), -timedelta(days=30)])
def test_a_round_that_returns_has_its_failure_budget_whatever_the_clock_says(wrong_by: timedelta) -> None:
    """The clock may be wrong while the round returns: later failures count, earlier ones do not."""
    one_failure = Budget(max_trials=4, max_failed_trials=1)
    timeline = tuned(make_tuned_study(budget=Budget(max_trials=2, max_failed_trials=1)))
    timeline.look(on(timeline.study, V100, budget=one_failure), after=MINUTE)
    timeline.look(after=MINUTE, lost=True)
    timeline.look(on(timeline.study, A100), after=HOUR, lost=True)
    timeline.look(after=DEBOUNCE)
    timeline.now += wrong_by
    timeline.look(on(timeline.study, V100), after=MINUTE, lost=True)
    timeline.look(after=DEBOUNCE, lost=True)
    assert (timeline.newest.number, failures(timeline.history)) == (1, ())
    timeline.now -= wrong_by
    ended = len(timeline.history.ended)
    for _ in range(9):
        decision = timeline.look(after=HOUR, lost=True)
    assert (decision.reason, len(timeline.history.ended) - ended) == ("TooManyFailures", 2)
