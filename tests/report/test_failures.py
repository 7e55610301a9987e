"""Why trials have no number: each cause once, with its remedy and the logs, on the page, live and as lines."""

from collections.abc import Callable
from datetime import datetime

import pytest

from factories.fake_executor import Played, play_landscape
from infpop_operator.api.clip import clip_cause, stored_bytes
from infpop_operator.core.model import Run
from infpop_operator.core.study import SearchSpace
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.report.plain_view import PlainView
from infpop_operator.report.rendering import render_live, render_page
from infpop_runner.contract import Broken, BrokenReason, Infeasible, RunSpec
from report.local_pages import pages_of
from report.played_studies import printed, snapshots

SPACE = SearchSpace(gpu_counts=(1,), batch_sizes=(1, 2, 4, 8, 16))
SMALL = SearchSpace(gpu_counts=(1,), batch_sizes=(1, 2))
Play = Callable[[Run, RunSpec, datetime], Played]


def breaking_above(batch_size: int, detail: str, reason: BrokenReason = "EngineCrash") -> Play:
    """Play runs that break above a batch size; `{}` in their message stands for a number that differs."""

    def play(run: Run, spec: RunSpec, now: datetime) -> Played:
        played = play_landscape(lambda gpus, batch: 100.0 * gpus * batch)(run, spec, now)
        size = spec.trials[0].batch_size
        if isinstance(played.outcome, str) or size <= batch_size:
            return played
        broken = Broken(reason=reason, detail=detail.replace("{}", str(size * run.attempt)), retry=None)
        update = {"trials": (), "load_seconds": None, "broken": broken}
        return Played(seconds=1, outcome=played.outcome.model_copy(update=update))

    return play


def refusing(run: Run, spec: RunSpec, now: datetime) -> Played:
    """Play runs of an engine that refuses its arguments."""
    played = play_landscape(lambda _gpus, _batch: 1.0)(run, spec, now)
    assert not isinstance(played.outcome, str)
    refused = tuple(
        Infeasible(
            index=trial.index,
            batch_size=trial.batch_size,
            reason="RejectedArguments",
            detail="it takes no sparse",
        )
        for trial in played.outcome.trials
    )
    return Played(seconds=1, outcome=played.outcome.model_copy(update={"trials": refused}))


def lines_of(shown: list[Snapshot]) -> list[str]:
    """Return what a pipe gets of a study."""
    lines: list[str] = []
    view = PlainView(lines.append)
    for snapshot, page in zip(shown, pages_of(shown), strict=True):
        view.show(page, snapshot.now)
    return lines


def test_a_page_has_each_cause_once_with_all_its_trials() -> None:
    """Messages that differ in a number are one cause; each trial has its log, and only the first three are listed."""
    shown = snapshots(breaking_above(1, "worker {} died"), space=SPACE)
    text = printed(render_page(pages_of(shown[-1:])[0]))
    assert text.count("died") == 1
    assert text.count("What to do: read the run's log") == 1
    assert text.count("log: out/runs/study-") == 3
    assert "and 1 more trial" in text


def test_lines_have_each_cause_once_and_a_log_for_each_attempt() -> None:
    """A cause that comes again is named, not repeated; each attempt that broke has the log of its own run."""
    shown = snapshots(breaking_above(4, "worker {} died"), space=SPACE)
    lines = lines_of(shown)
    broken = [entry.run.name for entry in shown[-1].decision.history.ended if entry.run.trials[0].index != 0]
    logs = [line.rpartition("out/runs/")[2] for line in lines if "log: out/runs/" in line]
    assert sum("died" in line for line in lines) == 1
    assert sum("What to do: read the run's log" in line for line in lines) == 1
    assert sum("EngineCrash again, log: " in line for line in lines) == len(logs) - 1 == 5
    assert len(set(logs)) == 6
    assert {log.removesuffix("/log.txt") for log in logs} <= set(broken)


def test_the_live_view_shows_a_failure_while_the_trial_is_tried_again() -> None:
    """On a terminal the cause, the remedy and the log stay visible, within the lines and columns of the screen."""
    shown = snapshots(breaking_above(4, "worker {} died"), space=SPACE)
    retried = next(each for each in shown if any(entry.run.attempt == 2 for entry in each.decision.history.active))
    text = printed(render_live(pages_of([retried])[0].picture, 24), 80)
    assert "1 trial without a number: EngineCrash: worker 8 died" in text
    assert "What to do: read the run's log" in text
    assert "log: out/runs/study-" in text
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize(
    ("reason", "detail", "general"),
    [
        ("ModelUnavailable", "gated. Accept its licence", 0),
        ("StorageUnavailable", "full. Free space", 0),
        ("EngineCrash", "an error. The run's log has the whole text", 1),
        ("ModelUnavailable", "", 1),
        ("ModelUnavailable", f"{'a gated model ' * 30}without a remedy", 1),
    ],
)
def test_a_remedy_in_the_message_is_the_only_one(reason: BrokenReason, detail: str, general: int) -> None:
    """What the runner has found out is not followed by general advice, which may contradict it."""
    text = printed(render_page(pages_of(snapshots(breaking_above(1, detail, reason), space=SMALL)[-1:])[0]))
    assert text.count("What to do:") == general


def test_the_live_view_does_not_cut_the_only_remedy() -> None:
    """A message that says what to do at its end is wrapped, not cut, and the rest still fits the screen."""
    gated = breaking_above(4, "gated, for a long reason. Accept its licence on the hub", "ModelUnavailable")
    shown = snapshots(gated, space=SPACE)
    retried = next(each for each in shown if any(entry.run.attempt == 2 for entry in each.decision.history.active))
    text = printed(render_live(pages_of([retried])[0].picture, 24), 60)
    assert "Accept its licence on the hub" in " ".join(text.split())
    assert len(text.splitlines()) <= 24


def test_what_stands_at_the_top_is_not_repeated_below() -> None:
    """A cause that stops the study is said with it; the list of trials only adds the logs."""
    text = printed(render_page(pages_of(snapshots(breaking_above(0, "worker died"), space=SMALL)[-1:])[0]))
    assert text.count("worker died") == 1
    assert text.count("log: out/runs/study-") > 0


def test_a_study_without_any_number_lists_the_logs_of_refusals() -> None:
    """If the engine refuses everything, the user gets to its logs, and the reason is not repeated for each trial."""
    shown = snapshots(refusing, space=SPACE)
    text, lines = printed(render_page(pages_of(shown[-1:])[0])), lines_of(shown)
    assert "Failed trials: none gave a number" in text
    assert "log: out/runs/study-" in text
    assert text.count("it takes no sparse") == 1
    assert sum("it takes no sparse" in line for line in lines if "trial" in line) == 1
    assert sum("cannot work: RejectedArguments again" in line for line in lines) >= 1


def test_a_shortened_message_keeps_its_remedy() -> None:
    """A status has room for few bytes of a message; its last sentence says what to do."""
    text = f"{'a long cause ' * 40}. Free space on /cache"
    short = clip_cause(text, 120)
    assert short.endswith("… Free space on /cache")
    assert sum(map(stored_bytes, short)) <= 120
    assert clip_cause("short. Do it", 120) == "short. Do it"
    assert clip_cause(f"a. {'b' * 300}", 120).endswith("b…")
    gated = "accept its licence on the hub, and give a token with access in HF_TOKEN"
    assert clip_cause(f"{'a long cause ' * 40}. {gated}", 100).endswith(gated)
