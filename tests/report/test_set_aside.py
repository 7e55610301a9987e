"""Configurations that are not tried now: what the status, the page and the Events say of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from factories.events import transitions
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.decision import SetAside
from infpop_operator.core.landscape import CellState
from infpop_operator.report.plain_view import page_changes
from infpop_operator.report.status_page import StatusPage
from report.study_objects import NOW, at_instant, make_document, page_of, snapshots_of

DOCUMENT = make_document(
    searchSpace={"gpuCount": [1, 2, 4], "batchSize": [8, 64]},
    budget={"maxTrials": 2, "maxConcurrentGPUs": 16},
    nodePools=[{"name": "a100"}],
    baseline=None,
)
FAILS = SetAside(gpu_count=1, extra=(), reason="LoadFails", detail="EngineCrash: 255 is odd", attempts=3)
FULL = SetAside(
    gpu_count=2,
    reason="QuotaExceeded",
    detail="exceeded quota: gpus",
    attempts=1,
    next_attempt=NOW + timedelta(hours=1),
)


def object_with(aside: Sequence[SetAside]) -> dict[str, object]:
    """Return the study with a decision that sets these configurations aside."""
    shown = snapshots_of(DOCUMENT)[0]
    return at_instant(DOCUMENT, replace(shown, decision=replace(shown.decision, set_aside={"a100": tuple(aside)})))


def page_with(*aside: SetAside) -> StatusPage:
    """Return the page of that study."""
    return page_of(object_with(aside))


def status_with(*aside: SetAside) -> StudyStatus:
    """Return the status of that study, as a client reads it."""
    return StudyStatus.model_validate(object_with(aside)["status"])


def test_a_status_has_cause_and_next_attempt() -> None:
    """A status without any has no such key, like those of earlier versions."""
    (fails, full) = status_with(FAILS, FULL).pools[0].set_aside or ()
    assert (fails.gpu_count, fails.extra, fails.reason, fails.message) == (1, None, "LoadFails", FAILS.detail)
    assert (full.attempts, full.next_attempt) == (1, FULL.next_attempt)
    assert status_with().pools[0].set_aside is None


def test_the_page_says_why_and_what_to_do() -> None:
    """Each has a notice under its pool, and its untried cells show the reason."""
    (pool,) = page_with(FAILS, FULL).picture.pools
    fails, full = pool.set_aside
    assert (fails.text, fails.reason, fails.detail) == ("1 GPU: set aside after 3 attempts", "LoadFails", FAILS.detail)
    assert "remove this GPU count" in fails.remedy
    assert "or the value that the line names from searchSpace.extra" in fails.remedy
    assert full.text.startswith("2 GPUs: set aside after 1 attempt; next attempt ")
    assert "ResourceQuota" in full.remedy
    assert pool.landscape is not None
    reasons = {(cell.gpu_count, cell.reason) for row in pool.landscape.rows for cell in row}
    assert {(1, "LoadFails"), (2, "QuotaExceeded")} <= reasons
    states = {cell.state for row in pool.landscape.rows for cell in row if cell.reason == "LoadFails"}
    assert states == {CellState.RULED_OUT}


def test_a_next_attempt_on_another_day_has_its_date() -> None:
    """A time alone would be read as one of today."""
    tomorrow = replace(FULL, next_attempt=NOW + timedelta(days=1))
    texts = [notice.text for notice in page_with(FULL, tomorrow).picture.pools[0].set_aside]
    today, next_day = (text.partition("next attempt ")[2] for text in texts)
    assert today == f"{NOW + timedelta(hours=1):%H:%M:%S} UTC"
    assert next_day == f"{NOW + timedelta(days=1):%Y-%m-%d %H:%M:%S} UTC"


def test_a_plain_view_has_one_line_for_each() -> None:
    """What was set aside before is not repeated."""
    lines = list(page_changes(page_with(), page_with(FAILS)))
    assert any(line.startswith("1 GPU: set aside after 3 attempts: LoadFails: EngineCrash") for line in lines)
    assert not any("set aside" in line for line in page_changes(page_with(FAILS), page_with(FAILS)))


def test_an_event_is_written_once_for_each() -> None:
    """Another attempt with the same reason is no news."""
    found = [event for event in transitions(status_with(), status_with(FAILS)) if event.reason == "SetAside"]
    assert [(event.type, event.message) for event in found] == [
        ("Warning", "pool a100: 1 GPU set aside: LoadFails: EngineCrash: 255 is odd")
    ]
    again = replace(FAILS, attempts=4)
    assert not any(event.reason == "SetAside" for event in transitions(status_with(FAILS), status_with(again)))


INHERITED = SetAside(gpu_count=2, extra=(), min_batch_size=64, reason="Inherited", detail="it did not fit", attempts=0)


def test_inherited_batch_sizes_are_ruled_out_and_no_warning() -> None:
    """Row, page and landscape have the smallest batch size; the smaller ones at the same GPU count are still to try."""
    (row,) = status_with(INHERITED).pools[0].set_aside or ()
    assert (row.gpu_count, row.min_batch_size, row.reason, row.attempts) == (2, 64, "Inherited", 0)
    (pool,) = page_with(INHERITED).picture.pools
    assert pool.set_aside[0].text == "2 GPUs, batch 64 and larger: set aside"
    assert pool.landscape is not None
    states = {(cell.gpu_count, cell.batch_size): cell.state for cells in pool.landscape.rows for cell in cells}
    assert states[2, 64] is CellState.RULED_OUT
    assert states[2, 8] is not CellState.RULED_OUT
    assert states[4, 64] is not CellState.RULED_OUT
    (event,) = (event for event in transitions(status_with(), status_with(INHERITED)) if event.reason == "SetAside")
    message = "pool a100: 2 GPUs, batch 64 and larger set aside: Inherited: it did not fit"
    assert (event.type, event.message) == ("Normal", message)
