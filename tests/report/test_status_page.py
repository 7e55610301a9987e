"""The pages of `infpop status`: whole pages against reviewed golden files, and properties of all pages."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.study_object import UnreadableError
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import Phase, Running, Waiting
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.report.rendering import render_live, render_page
from infpop_operator.report.status_page import Outcome
from report.played_studies import printed
from report.study_objects import (
    NOW,
    SPEC,
    Body,
    at_instant,
    ended,
    make_document,
    page_of,
    refused,
    snapshots_of,
    with_status,
    without_nodes,
)

PAGES = Path(__file__).with_name("pages")
UNSCHEDULABLE = "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity, 2 Insufficient nvidia.com/gpu."


@cache
def search() -> list[Snapshot]:
    """Return every instant of the usual search."""
    return snapshots_of(make_document())


def in_the_middle() -> Snapshot:
    """Return an instant with results and a run on each pool."""
    return next(
        shown
        for shown in search()
        if len({entry.run.pool for entry in shown.decision.history.active}) == 2
        and len(shown.decision.history.ended) > 9
    )


def working() -> Body:
    """Return a study whose runs are working."""
    shown = in_the_middle()
    phases = (Running(phase=Phase.MEASURING, trial_index=0), Running(phase=Phase.LOADING))
    names = [entry.run.name for entry in shown.decision.history.active]
    return at_instant(make_document(), shown, observations=dict(zip(names, phases, strict=True)))


def waiting() -> Body:
    """Return a study whose runs wait, each for a different reason."""
    shown = in_the_middle()
    reasons = (
        Waiting(reason="Unschedulable", detail=UNSCHEDULABLE),
        Waiting(reason="ImagePull", detail='ImagePullBackOff: Back-off pulling image "runner:sm70": manifest unknown'),
    )
    names = [entry.run.name for entry in shown.decision.history.active]
    return at_instant(make_document(), shown, observations=dict(zip(names, reasons, strict=True)))


def suspended() -> Body:
    """Return a study that its user has suspended."""
    shown = next(shown for shown in search() if not shown.decision.history.active)
    return at_instant(make_document(suspend=True), shown, suspended=True)


def refusal() -> Body:
    """Return a study that cannot run on a cluster."""
    problems = (
        Problem(field="spec.model.name", value="./model", message="is a relative path, which a Pod cannot resolve",
                remedy="Give an absolute path inside the runner's image or on model.cacheClaim"),
        Problem(field="spec.nodePools[1].image", value="", message="is not set", remedy="Set one"),
    )  # fmt: skip
    return refused(make_document(), *problems)


def stalled() -> Body:
    """Return a study with too many broken runs."""
    return ended(budget={**SPEC["budget"], "maxFailedTrials": 1}, searchSpace={"gpuCount": [1, 2], "batchSize": [1, 8]})


def changed() -> Body:
    """Return a finished study whose spec has just been changed."""
    body = ended()
    return {**body, "metadata": {**body["metadata"], "generation": 2}}


def two_metrics() -> Body:
    """Return the end of a search with two metrics."""
    return ended(
        objective={"secondMetric": "throughputPerGPU"},
        algorithm={"name": "grid", "trialsPerRun": 1},
        searchSpace={"gpuCount": [1, 2, 4, 8], "batchSize": [8, 64, 256]},
        budget={"maxTrials": 16, "parallelTrials": 2, "maxConcurrentGPUs": 16, "maxFailedTrials": 10, "confirm": False},
    )


BODIES: dict[str, Callable[[], Body]] = {
    "new": make_document,
    "working": working,
    "waiting": waiting,
    "suspended": suspended,
    "refused": refusal,
    "without-nodes": lambda: without_nodes(make_document(), "no GPU product matches 'A100'; nodes have: none"),
    "stalled": stalled,
    "succeeded": ended,
    "two-metrics": two_metrics,
    "changed": changed,
}
OUTCOMES = {
    "refused": Outcome.STALLED,
    "stalled": Outcome.STALLED,
    "succeeded": Outcome.SUCCEEDED,
    "two-metrics": Outcome.SUCCEEDED,
}


@cache
def body_of(name: str) -> Body:
    """Return an object; creating one takes a search."""
    return BODIES[name]()


@pytest.mark.parametrize("name", BODIES)
def test_a_page_at_80_columns_is_as_reviewed(name: str) -> None:
    """Every kind of page matches word for word; a changed page is read before it is accepted."""
    page = page_of(body_of(name))
    text = "".join(f"{line.rstrip()}\n" for line in printed(render_page(page)).splitlines())
    assert text == (PAGES / f"{name}.txt").read_text()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", BODIES)
def test_no_page_and_no_live_picture_is_wider_than_the_terminal(name: str, width: int) -> None:
    """No line exceeds the width, and no number of a table is truncated."""
    page = page_of(body_of(name))
    for shown in (render_page(page), render_live(page.picture)):
        lines = printed(shown, width).splitlines()
        to_copy = next((number for number, line in enumerate(lines) if line == "Ready to copy"), len(lines))
        assert all(len(line) <= width for line in lines[:to_copy])


@pytest.mark.parametrize("name", BODIES)
def test_a_study_has_ended_or_continues(name: str) -> None:
    """A watch ends if the study needs user action or has its result; an unobserved spec has not ended."""
    assert page_of(body_of(name)).outcome is OUTCOMES.get(name, Outcome.OPEN)


def test_a_waiting_run_says_why_since_when_and_what_to_do() -> None:
    """What an on-call engineer needs is above the tables."""
    text = " ".join(printed(render_live(page_of(body_of("waiting")).picture)).split())
    above = text[: text.index("Tokens/s")]
    for part in ("1:15 a100", "waiting: Unschedulable", UNSCHEDULABLE, "What to do: free GPUs", "ImagePull"):
        assert part in above, part


def test_the_documents_show_what_is_shown() -> None:
    """docs/cluster.md shows the start of a page that was really printed."""
    document = Path(__file__).parents[2].joinpath("docs", "cluster.md").read_text()
    shown = document.partition("```\nserving/")[2].partition("\n```")[0]
    assert (PAGES / "waiting.txt").read_text().startswith(f"serving/{shown}\n")


def test_a_spec_of_a_newer_version_hides_no_result() -> None:
    """An unknown field hides neither the result nor what is known of it."""
    body = body_of("succeeded")
    newer = {**body, "spec": {**body["spec"], "newerField": {"policy": "Never"}}}
    text = printed(render_page(page_of(newer)))
    assert "Configuration  8 GPUs, batch size 256" in text
    assert "★ 3,940" in text
    assert "not tried" not in text


def test_extra_metrics_of_the_best_are_reported_with_their_units() -> None:
    """Energy is shown next to the throughput; a unit that the spec does not give is left out."""
    body = body_of("succeeded")
    best = body["status"]["best"] | {"metrics": {"power": "812.5", "older": "7"}, "tokensPerJoule": "4.85"}
    best |= {"secondsPerOutputToken": "0.0312"}
    asked = {"spec": body["spec"] | {"metrics": [{"name": "power", "preset": "gpuPower"}]}}
    lines = lines_of({**body, **asked, "status": body["status"] | {"best": best}})
    assert "Energy         4.85 tokens per joule" in lines
    assert "Per sequence   0.0312 s for an output token, within the batch" in lines
    assert "Metrics        power 812 watts, older 7" in lines


def test_a_baseline_that_cannot_be_compared_is_reported_with_its_throughput() -> None:
    """If the baseline lacks a required metric, no gain is shown."""
    body = body_of("succeeded")
    pools = [{**row, "improvementPercent": None} for row in body["status"]["pools"]]
    told = [line for line in lines_of({**body, "status": body["status"] | {"pools": pools}}) if "Baseline" in line]
    assert [re.sub(r"\d+ tokens", "N tokens", line) for line in told] == [
        "Baseline       1 GPU, batch size 8: N tokens/s"
    ]


def reused(row: Body, study: str = "other") -> Body:
    """Return a row of a status whose number another study measured."""
    return {**row, "reusedFrom": study, "run": "other-1"}


def test_every_number_of_another_study_says_so() -> None:
    """In the landscape, its legend, the result, the baseline, the tie and the sum of trials."""
    body = body_of("succeeded")
    status, (first, *pools) = body["status"], body["status"]["pools"]
    best = reused(status["best"] | {"tiedWith": {"gpuCount": 8, "batchSize": 512, "throughput": "4000", **reused({})}})
    pool = {**first, "best": best, "baseline": reused(first["baseline"]), "trials": {**first["trials"], "reused": 2}}
    rows = [reused(row) if row["run"] == status["best"]["run"] else row for row in status["trials"]]
    text = printed(
        render_page(page_of({**body, "status": status | {"best": best, "pools": [pool, *pools], "trials": rows}}))
    )
    text = " ".join(text.split())
    assert "★ 3,940‡" in text
    assert "‡ measured by another study 1x other" in text
    assert "Measured by study other, run other-1; this study took its number over" in text
    assert "tokens/s, measured by study other, improved by" in text
    assert "4,000 tokens/s, measured by study other; the difference" in text
    assert "(other studies measured 2 of them)" in text


def test_a_line_of_a_reused_trial_says_so() -> None:
    """Also in the plain view, for numbers and for what cannot work, and while the best is not final."""
    body = working()
    rows = [reused(row, study="o\x1bther") for row in body["status"]["trials"]]
    best = reused(body["status"]["best"])
    page = page_of({**body, "status": {**body["status"], "trials": rows, "best": best}})
    ended = [trial.outcome for trial in page.trials if trial.outcome]
    assert ended
    assert all("measured by study o ther" in outcome for outcome in ended)
    assert page.picture.best is not None
    assert page.picture.best.endswith("tokens/s, measured by study other")


def lines_of(body: Body) -> list[str]:
    """Return the lines of a page without their margins."""
    return [line.strip() for line in printed(render_page(page_of(body))).splitlines()]


@pytest.mark.parametrize(
    ("status", "reason", "shown"),
    [
        ("True", "Published", "Published in ConfigMap codellama-best"),
        ("False", "PublishRefused", "Not published taken; delete the ConfigMap that the message names"),
    ],
)
def test_a_page_says_whether_the_best_was_published(status: str, reason: str, shown: str) -> None:
    """The condition of the study decides; a refusal comes with what to do."""
    body = body_of("succeeded")
    known = body["status"]["conditions"]
    published = {**known[0], "type": "Published", "status": status, "reason": reason, "message": "taken"}
    lines = lines_of({**body, "status": {**body["status"], "conditions": [*known, published]}})
    assert shown in " ".join(" ".join(lines).split())


@pytest.mark.parametrize("differs", [False, True])
def test_a_page_says_what_is_published_if_it_is_not_the_best(*, differs: bool) -> None:
    """What is published stays while the best is not clearly better, so the two may differ."""
    body = body_of("succeeded")
    best, known = body["status"]["best"], body["status"]["conditions"]
    why = {"at": "2026-01-01T00:00:00Z", "reason": "WithinNoise", "message": "it stays"}
    row = {**best, **why, "batchSize": 7 if differs else best["batchSize"]}
    published = {**known[0], "type": "Published", "status": "True", "reason": "Published", "message": "it is there"}
    lines = lines_of({**body, "status": {**body["status"], "conditions": [*known, published], "published": row}})
    text = " ".join(" ".join(lines).split())
    assert "Published in ConfigMap codellama-best" in text
    assert ("batch size 7 on pool" in text) == differs
    assert ("which stays until another is clearly better" in text) == differs


def test_a_status_of_another_form_is_named() -> None:
    """The message names the unreadable field and the version that can read it."""
    body = body_of("succeeded")
    strange = {**body, "status": {**body["status"], "trials": [{"pool": 7}]}}
    with pytest.raises(UnreadableError, match=r"status\.trials\.0\.pool.*version"):
        page_of(strange)


@pytest.mark.parametrize(("at_work", "over"), [(None, 0), (16, 0), (64, 1), (8, 2)])
def test_the_trials_of_a_shared_load_are_over_in_the_order_of_its_row(at_work: int | None, over: int) -> None:
    """A search may ask for a smaller batch after a larger one, so sizes say nothing about what is over."""
    body = body_of("working")
    run = {**body["status"]["runs"][0], "batchSizes": [16, 64, 8]}
    run = run if at_work is None else {**run, "batchSize": at_work}
    done = int(body["status"]["progress"].partition("/")[0])
    shared = {**body, "status": {**body["status"], "runs": [run]}}
    assert page_of(shared).picture.trials_done == done + over


def test_names_cannot_move_the_cursor() -> None:
    """A model may have any name; a terminal gets only printable characters."""
    document = make_document(model={"name": "org/\x1b[2J\rmodel\u202e"})
    status = StudyStatus.model_validate(body_of("succeeded")["status"])
    text = printed(render_page(page_of(with_status(document, status))))
    assert all(character.isprintable() or character == "\n" for character in text)


def test_more_trials_than_rows_are_reported() -> None:
    """A status keeps 500 rows; for a larger round the page says that cells are missing."""
    body = body_of("succeeded")
    cut = {**body, "status": {**body["status"], "trials": body["status"]["trials"][5:]}}
    assert "trials of this round are no longer in the status" in printed(render_page(page_of(cut)))


def test_what_was_reported_long_ago_is_shown_as_old() -> None:
    """A status that the operator no longer updates grows old, and the page shows its age."""
    later = NOW + timedelta(hours=30)
    page = printed(render_page(page_of(body_of("working"), later)))
    words = "Status last written 30:00:00 ago. A live run seldom goes that long without news:\ncheck that the operator"
    assert words in page
    assert "seldom" not in printed(render_page(page_of(body_of("succeeded"), later)))
