"""The pages of a study whose pool got other GPUs: what changed, why a round began, and what the rounds found."""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infpop_operator.report.plain_view import page_changes
from infpop_operator.report.rendering import render_live, render_page
from infpop_operator.report.status_page import StatusPage
from report.played_studies import printed
from report.retuned_studies import noticed, retuned
from report.study_objects import NOW, page_of

PAGES = Path(__file__).with_name("pages")
BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "changed-hardware": lambda: noticed("OnPoolChange"),
    "changed-hardware-manual": lambda: noticed("Manual"),
    "new-round": lambda: retuned(done=False),
    "retuned": retuned,
    "retuned-impossible-baseline": lambda: retuned(fits=16),
}
CHANGE = "GPU Tesla-V100-SXM2-32GB → NVIDIA-A100-SXM4-40GB"


@cache
def body_of(name: str) -> dict[str, Any]:
    """Return an object; creating one takes a search."""
    return BODIES[name]()


def page(name: str) -> StatusPage:
    """Return the page of an object."""
    return page_of(body_of(name))


def text_of(page: StatusPage) -> str:
    """Return what a terminal of 80 columns shows."""
    return "".join(f"{line.rstrip()}\n" for line in printed(render_page(page)).splitlines())


def told(page: StatusPage) -> str:
    """Return the page in one line, so that line breaks do not matter."""
    return " ".join(text_of(page).split())


@pytest.mark.parametrize("name", BODIES)
def test_a_page_at_80_columns_is_as_reviewed(name: str) -> None:
    """Every kind of page matches word for word; a changed page is read before it is accepted."""
    assert text_of(page(name)) == (PAGES / f"{name}.txt").read_text()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", BODIES)
def test_no_page_is_wider_than_the_terminal(name: str, width: int) -> None:
    """Whole pages and live pictures fit, whatever the names of GPUs are."""
    for shown in (render_page(page(name)), render_live(page(name).picture)):
        lines = printed(shown, width).splitlines()
        to_copy = next((number for number, line in enumerate(lines) if line == "Ready to copy"), len(lines))
        assert all(len(line) <= width for line in lines[:to_copy])


@pytest.mark.parametrize("name", ["changed-hardware", "changed-hardware-manual", "new-round"])
def test_an_old_number_is_never_shown_as_one_of_the_new_hardware(name: str) -> None:
    """Until the new round has a best, the old one is said to be of the old GPUs; the status says so as well."""
    shown = page(name)
    status = body_of(name)["status"]
    rounds = {row["round"]: row["gpu"] for row in status["rounds"]}
    assert rounds[status["best"]["round"]] == "Tesla-V100-SXM2-32GB"
    (pool,) = status["pools"]
    if shown.conclusion is not None:
        assert dict(shown.conclusion.facts)["Pool"] == "a100: Tesla-V100-SXM2-32GB"
        assert (pool["gpu"], pool["fingerprint"]) == ("Tesla-V100-SXM2-32GB",) * 2
        assert "the numbers below are of Tesla-V100-SXM2-32GB" in told(shown)
    else:
        assert "(of round 1)" in told(shown)
        assert (pool["gpu"], "best" in pool) == ("NVIDIA-A100-SXM4-40GB", False)


def test_a_best_of_an_older_round_keeps_its_gpus_when_the_new_round_finds_none() -> None:
    """Nothing works on the new GPUs: what is left is the old result, with the GPUs that it was measured on."""
    shown = page_of(retuned(fits=0))
    assert shown.conclusion is not None
    facts = dict(shown.conclusion.facts)
    assert facts["Pool"] == "a100: Tesla-V100-SXM2-32GB"
    assert "Baseline" not in facts


def test_a_change_says_when_a_new_round_starts_or_what_to_do() -> None:
    """The live picture has it above the table: an engineer who is called at night sees it first."""
    waits = " ".join(printed(render_live(page("changed-hardware").picture)).split())
    assert f"Its hardware changed 5:00 ago {CHANGE}; a new round starts at 2026-01-01 00:08:00 UTC" in waits
    manual = " ".join(printed(render_live(page("changed-hardware-manual").picture)).split())
    assert "set the annotation infpop.io/retune to a new value" in manual


def test_a_new_round_says_why_it_began_and_what_became_of_the_baseline() -> None:
    """The baseline has what it reached here, or why it cannot work here; earlier trials are not compared."""
    begun, done, impossible = (
        page(name).picture.pools[0].rounds[0] for name in ("new-round", "retuned", "retuned-impossible-baseline")
    )
    assert (begun.text, begun.when, begun.reason) == ("Round 2 began", "1:00:00 ago", "HardwareChanged")
    kept = "12 trials of other rounds are kept, not compared"
    assert begun.detail == f"{CHANGE}; baseline 8 GPUs, batch size 256: not measured yet; {kept}"
    assert done.detail == f"{CHANGE}; baseline 8 GPUs, batch size 256: 3,940 tokens/s; {kept}"
    assert "the baseline, 8 GPUs, batch size 256, cannot work here (GpuOutOfMemory)" in impossible.detail


def test_plain_lines_report_the_change_once() -> None:
    """Logs and screen readers get one line for a change, without its age, which grows."""
    shown, later = page("changed-hardware"), page_of(body_of("changed-hardware"), NOW + timedelta(minutes=1))
    (line,) = (line for line in page_changes(None, shown) if CHANGE in line)
    assert line == (
        f"Its hardware changed: {CHANGE}; a new round starts at 2026-01-01 00:08:00 UTC if it lasts; "
        "the numbers below are of Tesla-V100-SXM2-32GB"
    )
    assert list(page_changes(shown, later)) == []
    begun = list(page_changes(shown, page("new-round")))
    assert any(line.startswith("Round 2 began: HardwareChanged") for line in begun)


def test_replayed_rounds_have_no_hardware_to_know() -> None:
    """A simulated study needs no GPU, so its history misses none."""
    body = body_of("retuned")
    rounds = [{name: value for name, value in row.items() if name != "gpu"} for row in body["status"]["rounds"]]
    measured, replayed = (
        page_of({**body, "status": {**body["status"], "rounds": rounds, "simulated": simulated}}).rounds[0].text
        for simulated in (False, True)
    )
    assert replayed
    assert measured == f"unknown hardware; {replayed}"


def test_the_first_round_has_no_history() -> None:
    """A study that was never retuned has a page without a table of rounds."""
    assert page("changed-hardware").rounds == ()
    assert [line.name for line in page("retuned").rounds] == ["1", "2"]
