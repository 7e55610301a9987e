"""The annotation with which a user requests a new round."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.retuning import (
    A100,
    DEBOUNCE,
    GPU_CHANGE,
    H100,
    HOUR,
    MINUTE,
    V100,
    Timeline,
    make_tuned_study,
    on,
    tuned,
)
from factories.studies import START
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.model import History, Round
from infpop_operator.core.study import Budget, Retune, RetunePolicy


@pytest.mark.parametrize("policy", ["OnPoolChange", "Manual", "Never"])
def test_each_new_request_starts_one_round(policy: RetunePolicy) -> None:
    """On demand under every policy, at once or when changed hardware has settled; the first round answers the first."""
    timeline = tuned(make_tuned_study(policy, retune=Retune(policy=policy, requested="before")))
    asked = replace(timeline.study, retune=replace(timeline.study.retune, requested="a"))
    timeline.look(asked, after=MINUTE)
    assert (timeline.rounds(), timeline.newest.trigger) == ([1, 2], "Requested")
    assert timeline.newest.cause == ("requested with the annotation infpop.io/retune: a",)
    timeline.finish()
    timeline.look(replace(asked, retune=replace(asked.retune, requested=None)), after=MINUTE)
    timeline.look(asked, after=MINUTE)
    assert timeline.rounds() == [1, 2]
    again = on(asked, A100, retune=replace(asked.retune, requested="b"))
    decision = timeline.look(again, after=MINUTE)
    assert (timeline.rounds(), decision.retunes_at) == ([1, 2], {"gpus": timeline.now + DEBOUNCE})
    timeline.look(after=DEBOUNCE)
    assert (timeline.rounds(), timeline.newest.cause[1:]) == ([1, 2, 3], GPU_CHANGE)
    timeline.finish()
    assert timeline.look(after=HOUR).start == ()
    assert timeline.newest.requested == "b"


def test_a_flood_of_requests_starts_one_round_at_a_time() -> None:
    """A round that was requested answers all requests until it ends."""
    timeline = tuned()
    started = []
    for number in range(20):
        wanted = replace(timeline.study.retune, requested=str(number))
        decision = timeline.look(replace(timeline.study, retune=wanted), after=timedelta(seconds=1))
        started.append(len(decision.start))
    assert sum(started) == len(timeline.history.ended) - 2 + len(timeline.history.active)
    assert len(timeline.history.rounds) <= 1 + 20 // 2
    assert all(entry.requested is not None for entry in timeline.history.rounds[1:])


def test_requests_and_relabelling_together_start_no_round_before_the_debounce() -> None:
    """A request waits until the hardware has settled: a hostile pair burns no GPUs."""
    timeline = tuned()
    for number in range(8):
        wanted = replace(timeline.study.retune, requested=str(number))
        pool = A100 if number % 2 else H100
        timeline.look(on(timeline.study, pool, retune=wanted), after=MINUTE, lost=True)
    assert timeline.rounds() == [1]


def test_a_request_during_a_flap_is_answered_when_the_hardware_is_back() -> None:
    """It is not used up by a round of nodes that were gone before they measured anything."""
    timeline = tuned()
    v100, measured = timeline.study, len(timeline.history.ended)
    wanted = replace(v100.retune, requested="now")
    timeline.look(on(v100, A100), after=HOUR)
    timeline.look(on(v100, A100, retune=wanted), after=MINUTE)
    assert timeline.rounds() == [1]
    timeline.look(on(v100, V100, retune=wanted), after=MINUTE)
    assert (timeline.rounds(), timeline.newest.trigger) == ([1, 2], "Requested")
    timeline.finish()
    assert len(timeline.history.ended) == 2 * measured


def test_a_stalled_round_is_tried_again_on_request() -> None:
    """Its failures belong to it; the new round has its own failure budget."""
    timeline = Timeline(study=make_tuned_study(budget=Budget(max_trials=2, max_failed_trials=0)))
    timeline.look()
    timeline.look(after=MINUTE, lost=True)
    for number in range(3):
        wanted = replace(timeline.study.retune, requested=str(number))
        decision = timeline.look(replace(timeline.study, retune=wanted), after=HOUR, lost=True)
        assert (decision.verdict, len(decision.start)) == (Verdict.RUNNING, 1)
        assert timeline.look(after=MINUTE, lost=True).reason == "TooManyFailures"
    assert timeline.rounds() == [1, 2, 3, 4]


def test_the_first_request_after_an_upgrade_counts() -> None:
    """A round of an earlier version has answered none."""
    entry = Round(pool="gpus", number=1, identity="older")
    study = make_tuned_study(retune=Retune(requested="now"))
    assert len(decide(study, History(started_at=START, rounds=(entry,)), {}, START).history.rounds) == 2


def test_a_requested_round_without_results_is_held_as_well() -> None:
    """The pool was tuned before: on other hardware its user decides again."""
    timeline = tuned(make_tuned_study("Manual"))
    timeline.look(replace(timeline.study, retune=replace(timeline.study.retune, requested="now")), after=MINUTE)
    assert timeline.look(on(timeline.study, A100), after=MINUTE, lost=True).held_changes.keys() == {"gpus"}
