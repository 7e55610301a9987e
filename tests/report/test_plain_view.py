"""A study as text lines: each change once, from wherever the watch started."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from infpop_operator.core.model import Phase, Running, Waiting
from infpop_operator.report.plain_view import PlainView, page_changes
from infpop_operator.report.status_page import StatusPage
from report.study_objects import NOW, at_instant, ended, make_document, page_of, snapshots_of

DOCUMENT = make_document(
    searchSpace={"gpuCount": [1, 2, 4], "batchSize": [8, 64]},
    budget={"maxTrials": 3, "parallelTrials": 2, "maxConcurrentGPUs": 16},
)


def pages() -> list[StatusPage]:
    """Return every instant of a search as a page."""
    return [page_of(at_instant(DOCUMENT, snapshot)) for snapshot in snapshots_of(DOCUMENT)]


def test_each_change_is_reported_once() -> None:
    """There is one line for each ended trial, however often the same page arrives."""
    lines: list[str] = []
    view = PlainView(lines.append)
    for page in pages():
        for seconds in (0, 2):
            view.show(page, NOW + timedelta(seconds=seconds))
    trials = [line for line in lines if "tokens/s (spread" in line]
    assert len(trials) == 6
    assert len(set(trials)) == 6
    assert "v100 trial 1: 1 GPU, batch size 8: 115 tokens/s (spread 0.0 %)" in trials[1]
    assert lines[-1].endswith("Succeeded: MaxTrialsReached: pool a100: MaxTrialsReached, pool v100: MaxTrialsReached")
    assert all(before != after for before, after in pairwise(lines))


def test_a_failed_attempt_is_reported_when_the_trial_runs_again() -> None:
    """The retry does not hide the reason, which is shown once; the last attempt's reason comes with its end."""
    document = make_document(
        searchSpace={"gpuCount": [1], "batchSize": [1]}, nodePools=[{"name": "a100"}], baseline=None, publish=None
    )
    shown = [page_of(at_instant(document, snapshot)) for snapshot in snapshots_of(document)]
    lines = [line for before, after in pairwise(shown) for line in page_changes(before, after)]
    assert [line for line in lines if line.startswith("trial 1")] == ["trial 1: 1 GPU, batch size 1: Killed"] * 3
    assert {"1 GPU, batch size 1 (attempt 2): starting", "1 GPU, batch size 1 (attempt 3): starting"} <= set(lines)


def test_the_study_lines_do_not_repeat_the_run_lines() -> None:
    """The study measures because its run does: one line is enough."""
    shown = next(shown for shown in snapshots_of(DOCUMENT) if shown.decision.history.active)
    name = shown.decision.history.active[0].run.name
    page = page_of(at_instant(DOCUMENT, shown, observations={name: Running(phase=Phase.LOADING)}))
    assert any("loading the model" in line for line in page_changes(None, page))
    assert not any("ModelLoading" in line for line in page_changes(None, page))


def test_a_watch_that_begins_late_shows_the_current_state() -> None:
    """Earlier ends are counted, not listed."""
    lines = list(page_changes(None, page_of(ended())))
    assert lines[0] == "study serving/codellama: vllm, example/model"
    assert "16 of up to 16 trials are done" in lines
    assert not any("tokens/s" in line for line in lines)


def test_a_run_that_begins_to_wait_says_why() -> None:
    """Reason and message form one line, the remedy another one; the growing wait time adds no lines."""
    shown = next(shown for shown in snapshots_of(DOCUMENT) if shown.decision.history.active)
    name = shown.decision.history.active[0].run.name
    measuring, waiting = (
        page_of(at_instant(DOCUMENT, shown, observations={name: seen}))
        for seen in (Running(phase=Phase.MEASURING), Waiting(reason="QuotaExceeded", detail="exceeded quota: gpus"))
    )
    lines = list(page_changes(measuring, waiting))
    said = next(place for place, line in enumerate(lines) if line.endswith("QuotaExceeded: exceeded quota: gpus"))
    assert lines[said + 1].startswith("What to do: raise the namespace's ResourceQuota")
    later = replace(waiting.picture, runs=tuple(replace(run, seconds=99.0) for run in waiting.picture.runs))
    assert list(page_changes(waiting, replace(waiting, picture=later))) == []
