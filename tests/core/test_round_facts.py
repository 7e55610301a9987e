"""Why rounds began, whether their pool has changed since, and what became of their baseline on their own hardware."""

from dataclasses import replace
from datetime import timedelta

import pytest

from factories.runs import Outcome, make_ended, make_finish, make_round, make_run
from factories.studies import START, make_cell, make_pool, make_study
from infpop_operator.core.decision import SetAside
from infpop_operator.core.model import (
    POOL_CHANGED,
    REQUESTED,
    SPEC_CHANGED,
    EndedRun,
    Hardware,
    History,
    PoolChange,
    Round,
    StartedRun,
)
from infpop_operator.core.round_facts import BaselineOutcome, baseline_outcome, reason_of_change, reason_of_round
from infpop_operator.core.study import Configuration
from infpop_runner.contract import ModelFacts

STUDY = make_study()
BASELINE = make_cell(8, 64)
V100 = Hardware(fingerprint="v100", gpu_model="V100", device_count=8)
SECOND = make_round(number=2, identity="id-2", baseline=BASELINE, hardware=V100)


@pytest.mark.parametrize(
    ("number", "trigger", "reason"),
    [
        (1, None, "FirstRound"),
        (2, None, None),
        (2, POOL_CHANGED, "HardwareChanged"),
        (2, SPEC_CHANGED, "SpecChanged"),
        (3, REQUESTED, "Requested"),
        (1, POOL_CHANGED, "HardwareChanged"),
        (2, "OfANewerVersion", None),
    ],
)
def test_a_round_has_the_reason_why_it_began_or_was_resumed(
    number: int, trigger: str | None, reason: str | None
) -> None:
    """A later round of an earlier version has none; the first round has one again once it was resumed."""
    assert reason_of_round(make_round(number=number, trigger=trigger)) == reason


def test_a_change_is_one_of_hardware_unless_the_hardware_is_the_same() -> None:
    """A round of an earlier version does not know its hardware: then the spec is not to blame."""
    change = PoolChange(identity="id-3", hardware="a100", what=("GPU V100 → A100",), since=START)
    assert reason_of_change(SECOND, change) == "HardwareChanged"
    assert reason_of_change(SECOND, replace(change, hardware="v100")) == "SpecChanged"
    assert reason_of_change(replace(SECOND, hardware=None), change) == "HardwareChanged"


def history(*ended: EndedRun, entry: Round = SECOND, active: tuple[StartedRun, ...] = ()) -> History:
    """Return a history whose newest round is `entry`."""
    return History(started_at=START, rounds=(make_round(), entry), ended=ended, active=active)


def ended_in(
    number: int, outcome: Outcome, *, cell: Configuration = BASELINE, name: str = "study-1", index: int = 0
) -> EndedRun:
    """Return an ended run of one trial in a round."""
    run = make_run(name, cells=(cell,), round=number, index=index)
    return make_ended(run, make_finish(run, [outcome]))


def outcome_of(found: History, **changes: object) -> BaselineOutcome | None:
    """Return what became of the baseline of the newest round."""
    return baseline_outcome(STUDY, make_pool(), found, found.rounds[-1], **changes)  # type: ignore[arg-type]


def test_a_baseline_counts_with_what_it_reached_in_its_own_round() -> None:
    """The number of the round before, on other hardware, is never taken for it."""
    before = ended_in(1, 500.0, name="study-0")
    assert outcome_of(history(before)) == BaselineOutcome(configuration=BASELINE)
    found = outcome_of(history(before, ended_in(2, 900.0)))
    assert found is not None
    assert found.measured is not None
    assert (found.measured.round, found.reason, found.is_impossible) == (2, "", False)


def test_without_anything_in_use_there_is_no_baseline() -> None:
    """The first round of a study that names no baseline has none."""
    assert outcome_of(history(entry=replace(SECOND, baseline=None))) is None


@pytest.mark.parametrize(
    ("result", "reason", "detail", "is_impossible"),
    [
        ("GpuOutOfMemory", "GpuOutOfMemory", "GpuOutOfMemory of 0", True),
        ("UnstableRepeats", "UnstableRepeats", "UnstableRepeats of 0", False),
    ],
)
def test_a_baseline_without_a_number_has_the_reason_of_its_trial(
    result: str,
    reason: str,
    detail: str,
    is_impossible: bool,  # noqa: FBT001 - both ways of it
) -> None:
    """What cannot work on this hardware is told apart from what was only measured badly."""
    found = outcome_of(history(ended_in(2, result)))
    expected = BaselineOutcome(configuration=BASELINE, reason=reason, detail=detail, is_impossible=is_impossible)
    assert found == expected


def test_a_baseline_that_nodes_or_facts_rule_out_is_impossible_without_a_trial() -> None:
    """The hardware is that of the round: what the pool has now says nothing about an older round."""
    small = replace(SECOND, hardware=replace(V100, device_count=4))
    found = outcome_of(history(entry=small))
    assert found is not None
    assert (found.reason, found.is_impossible) == ("UnsupportedGpuCount", True)
    assert "8 devices requested" in found.detail
    assert baseline_outcome(STUDY, make_pool(device_count=4), history(), SECOND) == outcome_of(history())
    uneven = replace(STUDY, engine=STUDY.engine.model_copy(update={"name": "vllm", "simulation": None}))
    uneven = replace(uneven, model_facts=ModelFacts(attention_heads=12))
    ruled_out = baseline_outcome(uneven, make_pool(), history(), SECOND)
    assert ruled_out is not None
    assert (ruled_out.reason, ruled_out.is_impossible) == ("HeadsNotDivisible", True)


def test_a_larger_batch_than_one_that_ran_out_of_memory_is_impossible_too() -> None:
    """The baseline is not tried if a smaller batch has already shown that it cannot work."""
    found = outcome_of(history(ended_in(2, "GpuOutOfMemory", cell=make_cell(8, 32))))
    assert found is not None
    assert (found.reason, found.is_impossible) == ("GpuOutOfMemory", True)


def test_a_baseline_that_waits_for_devices_says_so() -> None:
    """It may still get its number: a set-aside GPU count is tried again."""
    aside = SetAside(gpu_count=8, reason="Unschedulable", detail="0/3 nodes", attempts=2)
    other = replace(aside, gpu_count=4)
    found = outcome_of(history(), set_aside=(other, aside))
    assert found == BaselineOutcome(configuration=BASELINE, reason="Unschedulable", detail="0/3 nodes")
    assert outcome_of(history(), set_aside=(other,)) == BaselineOutcome(configuration=BASELINE)


def test_a_baseline_that_did_not_fit_in_an_earlier_round_is_impossible() -> None:
    """It is not tried, so the reason is the one for which it was set aside; a smaller batch is another matter."""
    aside = SetAside(gpu_count=8, min_batch_size=64, reason="Inherited", detail="batch 64 ran out", attempts=0)
    found = outcome_of(history(), set_aside=(aside,))
    assert found == BaselineOutcome(
        configuration=BASELINE, reason="Inherited", detail="batch 64 ran out", is_impossible=True
    )
    above = outcome_of(history(), set_aside=(replace(aside, min_batch_size=65),))
    assert above == BaselineOutcome(configuration=BASELINE)


def test_a_baseline_that_is_being_measured_has_no_reason_yet() -> None:
    """An attempt that failed before is no reason while the next one runs."""
    run = make_run("study-2", cells=(BASELINE,), round=2)
    live = StartedRun(run=run, started_at=START + timedelta(minutes=1))
    assert outcome_of(history(active=(live,))) == BaselineOutcome(configuration=BASELINE)
