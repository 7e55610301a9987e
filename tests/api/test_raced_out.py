"""Trials that were raced out, and numbers with an interval: how the status and its landscape show them."""

from dataclasses import replace

from api.status_samples import decision_of
from core.planning import measured
from factories.landscapes import landscape
from factories.runs import make_history
from factories.studies import (
    START,
    make_cell,
    make_load_failure,
    make_measured,
    make_raced_out,
    make_study,
    make_trials,
)
from infpop_operator.api.landscapes import to_landscape
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.landscape import CellState, Landscape
from infpop_operator.core.model import EndedRun
from infpop_operator.core.study import Constraint, Objective, SearchSpace, Study

SPACE = SearchSpace(gpu_counts=(2,), batch_sizes=(8, 16, 32))
STUDY = make_study(space=SPACE)
SURE = make_measured(
    1000.0, mode="adaptive", interval_tokens_per_second=(995.04, 1004.96), measured_seconds=12.34, spread_ratio=0.02
)
ENDED = (measured([make_cell(2, 8)], SURE), measured([make_cell(2, 16)], make_raced_out(812.345), index=1))


def status_of(study: Study, *ended: EndedRun) -> StudyStatus:
    """Return the status after these runs, as a client reads it."""
    status = to_status(study, decision_of(make_history(ended=ended)), START)
    return StudyStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))


def shown(study: Study, status: StudyStatus) -> Landscape:
    """Return the landscape of the study's only pool."""
    found = to_landscape(status, status.pools[0], study)
    assert found is not None
    return found


def test_rows_say_how_long_and_how_sure() -> None:
    """A number has its interval and its time; a raced-out trial has what it does not exceed, and no number."""
    status = status_of(STUDY, *ENDED)
    sure, slow = status.trials
    assert (sure.throughput, sure.interval, sure.measured_seconds, sure.mode) == (
        "1000", "995 to 1005", "12.3", "Adaptive"
    )  # fmt: skip
    assert (slow.state, slow.throughput, slow.throughput_at_most) == ("RacedOut", None, "812.345")
    assert (slow.measured_seconds, slow.interval, slow.source, slow.reason) == ("2.5", None, None, None)
    counts = status.pools[0].trials
    assert counts is not None
    assert (counts.total, counts.measured, counts.raced_out) == (2, 1, 1)
    assert status.progress == "2/3"


def test_a_full_measurement_looks_as_it_did() -> None:
    """No key of its row or of the counts is new, so that statuses stay small."""
    status = status_of(STUDY, measured([make_cell(2, 8)], 1000.0))
    row = status.trials[0]
    assert (row.interval, row.measured_seconds, row.mode, row.while_loading) == (None, None, None, None)
    assert status.pools[0].trials is not None
    assert status.pools[0].trials.raced_out is None


def test_the_landscape_shows_what_is_not_exceeded() -> None:
    """It is neither a number nor untried."""
    ((_,), (slow,), (left,)) = shown(STUDY, status_of(STUDY, *ENDED)).rows
    assert (slow.state, slow.at_most_tokens_per_second) == (CellState.RACED_OUT, 812.345)
    assert slow.throughput_tokens_per_second is None
    assert left.state is CellState.UNTRIED


def test_what_is_open_again_is_shown_as_such() -> None:
    """Its row says why, and the landscape counts it as not tried."""
    study = replace(STUDY, objective=Objective(constraints=(Constraint(metric="spread", maximum=0.01),)))
    status = status_of(study, *ENDED)
    assert (status.trials[1].reason, status.trials[1].state) == ("Reopened", "RacedOut")
    assert shown(study, status).rows[1][0].state is CellState.UNTRIED


def test_a_load_that_ran_out_of_memory_rules_out_in_the_landscape_what_the_core_rules_out() -> None:
    """The row keeps when memory ran out, so larger batches are not shown as certain to fail after one such load."""
    column = [make_cell(2, batch) for batch in SPACE.batch_sizes]
    one, two = ({batch: make_load_failure() for batch in batches} for batches in ((8,), (8, 16)))
    for failed, expected in ((one, CellState.UNTRIED), (two, CellState.RULED_OUT)):
        trials = make_trials([(cell, failed[cell.batch_size]) for cell in column if cell.batch_size in failed])
        assert landscape(STUDY, STUDY.pools[0], trials, None).rows[2][0].state is expected
    ended = [measured([column[0]], make_load_failure())]
    assert status_of(STUDY, *ended).trials[0].while_loading is True
