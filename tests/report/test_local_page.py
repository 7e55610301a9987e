"""The final page of `infpop tune` against reviewed golden pages; a cluster shows the same page for the same study."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from factories.fake_executor import Played, play_landscape
from factories.studies import make_cell, make_pool
from infpop_operator.api.status import to_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.core.decision import Verdict
from infpop_operator.core.model import INTERRUPTED, EndedRun, Finished, Lost, Phase, Run, Running
from infpop_operator.core.study import Algorithm, Budget, SearchSpace
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.report.plain_view import page_changes
from infpop_operator.report.rendering import render_live, render_page
from infpop_operator.report.status_page import Outcome, StatusPage
from infpop_runner.contract import Provenance, RunSpec
from report.local_pages import document_of, page_of
from report.played_studies import breaking, printed, snapshots
from report.study_objects import NOW, Body, stamp, with_status
from report.study_objects import page_of as page_of_object

ROOT = Path(__file__).parents[2]
PAGES = Path(__file__).with_name("pages")
SMALL = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(1, 8, 64))


def nearly_flat(run: Run, spec: RunSpec, now: datetime) -> Played:
    """Simulate a landscape on which GPUs gain less than the noise, on an engine that was loaded for 612 tokens."""
    played = play_landscape(lambda gpus, batch: 100.0 * batch + gpus / 10)(run, spec, now)
    if isinstance(played.outcome, str):
        return played
    provenance = Provenance(engine="vllm", engine_args={"max_model_len": 612})
    return Played(seconds=90, outcome=played.outcome.model_copy(update={"provenance": provenance}))


def tied() -> Snapshot:
    """Return the end of a study whose best ties with a configuration of more GPUs."""
    return snapshots(nearly_flat, space=SMALL, baseline=make_cell(1, 8))[-1]


def broken() -> Snapshot:
    """Return the end of a study with several broken trials and a baseline that cannot work."""
    space = SearchSpace(gpu_counts=(1, 2, 8), batch_sizes=(1, 2, 4, 256))
    return snapshots(breaking, space=space, baseline=make_cell(2, 4))[-1]


def interrupted() -> Snapshot:
    """Return a study that its user stopped before its first result."""
    first = snapshots(nearly_flat, space=SMALL)[0]
    message = "stopped by the user; the same command goes on from here"
    decision = replace(first.decision, verdict=Verdict.WAITING, reason=INTERRUPTED, message=message)
    return replace(first, decision=replace(decision, history=replace(decision.history, active=())))


def two_cpu_pools() -> Snapshot:
    """Return the end of a study on the CPUs of two pools."""
    pools = tuple(make_pool(name=name, device="cpu", gpu_model="AMD EPYC", device_count=4) for name in ("a", "b"))
    return snapshots(nearly_flat, space=SMALL, pools=pools, budget=Budget(max_trials=4))[-1]


def sharing() -> Snapshot:
    """Return an instant at which one load measures the second of its three batch sizes."""
    shown = snapshots(nearly_flat, space=SMALL, algorithm=Algorithm(name="grid", trials_per_run=3))
    live = next(each for each in shown if each.decision.history.active and each.decision.history.ended)
    (entry,) = live.decision.history.active
    seen = Running(phase=Phase.MEASURING, trial_index=entry.run.trials[1].index)
    return replace(live, observations={entry.run.name: seen}, now=live.now + timedelta(seconds=40))


INSTANTS: dict[str, Callable[[], Snapshot]] = {
    "tied": tied,
    "broken": broken,
    "interrupted": interrupted,
    "two-cpu-pools": two_cpu_pools,
    "sharing": sharing,
}


def test_an_end_that_the_user_asked_for_is_not_a_failure() -> None:
    """A trial whose run was stopped is in the table, without advice to read its log."""
    page, failures = page_of(broken()), page_of(stopped()).picture.failures
    assert (sum(len(each.trials) for each in page.picture.failures), failures) == (3, ())


@pytest.mark.parametrize("reason", ["Interrupted", "Suspended", "DeadlineReached", "GPUHoursSpent", "BudgetLowered"])
def test_an_end_that_the_user_asked_for_is_not_called_broken(reason: str) -> None:
    """A stopped trial is neither a broken one nor a finished one, in the table, in the count and in the progress."""
    page, finished = page_of(stopped(reason)), page_of(broken()).picture.trials_done
    text = printed(render_page(page))
    assert "9: 4 measured, 2 infeasible, 3 stopped" in text
    assert f"3x {reason}, stopped before it had a result" in text
    assert "! stopped" in text
    assert "their runs failed" not in text
    assert page.picture.trials_done == finished - 3


def test_more_trials_than_a_lowered_budget_are_no_fraction() -> None:
    """A user who lowers budget.maxTrials reads both numbers, not 9/7 and not 9/9."""
    end = tied()
    lowered = replace(end, study=replace(end.study, budget=replace(end.study.budget, max_trials=7)))
    page = page_of(lowered)
    assert "9 trials (the budget is 7)" in printed(render_page(page))
    assert "9 trials (the budget is 7) are done" in list(page_changes(None, page))


def stopped(reason: str = INTERRUPTED) -> Snapshot:
    """Return the same study with all lost runs marked as stopped for a reason."""
    end = broken()
    ended = tuple(_as_stopped(entry, reason) for entry in end.decision.history.ended)
    return replace(end, decision=replace(end.decision, history=replace(end.decision.history, ended=ended)))


def _as_stopped(entry: EndedRun, reason: str) -> EndedRun:
    observation = entry.observation
    if isinstance(observation, Finished) and observation.result.broken is None:
        return entry
    return replace(entry, observation=Lost(reason=reason, ended_at=observation.ended_at, counts=False))


@cache
def instant(name: str) -> Snapshot:
    """Return an instant; creating one takes a search."""
    return INSTANTS[name]()


@pytest.mark.parametrize("name", INSTANTS)
def test_a_local_page_at_80_columns_is_as_reviewed(name: str) -> None:
    """Every kind of page matches word for word; a changed page is read before it is accepted."""
    text = "".join(f"{line.rstrip()}\n" for line in printed(render_page(page_of(instant(name)))).splitlines())
    assert text == (PAGES / f"local-{name}.txt").read_text()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", INSTANTS)
def test_no_local_page_is_wider_than_the_terminal(name: str, width: int) -> None:
    """No line exceeds the width, during the study and afterwards."""
    page = page_of(instant(name))
    for shown in (render_page(page), render_live(page.picture)):
        above = printed(shown, width).partition("Ready to copy")[0]
        assert all(len(line) <= width for line in above.splitlines())


@pytest.mark.parametrize("name", INSTANTS)
def test_a_study_shows_the_same_here_and_on_a_cluster(name: str) -> None:
    """Landscape, runs, best with its caveats, failures and costs are equal; locations of logs and files differ."""
    here, there = page_of(instant(name)), page_on_cluster(instant(name))
    assert here.picture.runs == tuple(replace(run, seconds=there_run.seconds) for run, there_run in pairs(here, there))
    assert [pool.landscape for pool in here.picture.pools] == [pool.landscape for pool in there.picture.pools]
    assert [failure.reason for failure in here.picture.failures] == [
        failure.reason for failure in there.picture.failures
    ]
    assert [failure.detail for failure in here.picture.failures] == [
        failure.detail for failure in there.picture.failures
    ]
    assert here.picture.trials_done == there.picture.trials_done
    if here.outcome is not Outcome.INTERRUPTED and here.conclusion is not None:
        assert there.conclusion is not None
        assert here.conclusion == replace(there.conclusion, facts=(*there.conclusion.facts, ("Files", "out")))


def pairs(here: StatusPage, there: StatusPage) -> list[tuple[Any, Any]]:
    """Return pairs of runs of the two pages."""
    return list(zip(here.picture.runs, there.picture.runs, strict=True))


def page_on_cluster(snapshot: Snapshot) -> StatusPage:
    """Return what `infpop status` would show for this study as an object."""
    document = document_of(snapshot.study).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    metadata = {"name": "study", "namespace": "serving", "generation": 1, "creationTimestamp": stamp(NOW)}
    known = StatusContext(generation=1, observations=snapshot.observations)
    status = to_status(snapshot.study, snapshot.decision, snapshot.now, context=known)
    body: Body = {"apiVersion": "infpop.io/v1alpha1", "kind": "ThroughputStudy", **document, "metadata": metadata}
    return page_of_object(with_status(body, status), snapshot.now)


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/argocd/testdata").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_status_of_an_older_version_is_shown(path: Path) -> None:
    """A page needs no status field that was added since then."""
    body = yaml.safe_load(path.read_text())
    status = body.get("status") or {}
    for row in (status, status.get("best") or {}, *((pool.get("best") or {}) for pool in status.get("pools", ()))):
        for name in ("attentionHeads", "repeats", "maxModelLen", "tiedWith"):
            row.pop(name, None)
    body["metadata"].setdefault("namespace", "serving")
    page = page_of_object(body)
    text = printed(render_page(page))
    assert page.picture.title in text
    assert "over 3 repeats" not in text
    assert "Measured with" not in text
