"""The view that writes a study's progress as plain lines, one per change: for logs, pipes and screen readers."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from infpop_operator.report.failure_view import cause_key
from infpop_operator.report.picture import Notice, RunPicture
from infpop_operator.report.status_page import StatusPage, TrialLine
from infpop_operator.report.words import clock, progress_phrase


class PlainView:
    """Writes what changed since the previous page; `write` receives one line at a time."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._before: StatusPage | None = None
        self._since: datetime | None = None
        self._said: set[str] = set()

    def show(self, page: StatusPage, now: datetime) -> None:
        """Write a line for each change."""
        self._since = self._since or now
        for line in page_changes(self._before, page, said=self._said):
            self._write(f"{clock(now - self._since)}  {line}")
        if self._before is not None:
            self._said.update(cause_key(trial.failure) for trial in _new(self._before, page) if trial.failure)
        self._before = page

    def announce(self, text: str) -> None:
        """Write a line that is not part of the study's progress."""
        self._write(text)

    def close(self) -> None:
        """Do nothing: only the live view holds something to close."""


def page_changes(
    before: StatusPage | None, after: StatusPage, *, said: AbstractSet[str] = frozenset()
) -> Iterator[str]:
    """Yield one line per change from `before` to `after`; without `before`, the current state of the study.

    The causes of failures in `said` (`cause_key`) have been shown in full: they are only named.
    """
    yield from _opening(after) if before is None else _ended(before, after, said)
    shown = set(_explained(before, by_trials=True)) if before is not None else set()
    lines = {line for line, _ in shown}
    for line, remedy in _explained(after, by_trials=before is not None):
        if line not in lines:
            yield line
        if remedy and (line, remedy) not in shown:
            yield f"What to do: {remedy}"


def _explained(page: StatusPage, *, by_trials: bool) -> Iterator[tuple[str, str]]:
    """Yield the line of each run and notice with its remedy, which may only be known after a while.

    If `by_trials`, the lines of the trials have the cause that a study waits for.
    """
    yield from ((_run_line(run), run.remedy) for run in page.picture.runs)
    causes = {f": {trial.failure.detail}" for trial in page.trials if trial.failure and trial.failure.detail}
    for notice in _notices(page):
        cause = next((each for each in causes if by_trials and notice.detail.endswith(each)), "")
        told = replace(notice, detail=notice.detail.removesuffix(cause), remedy="") if cause else notice
        yield (_notice_line(told), told.remedy)


def _opening(page: StatusPage) -> Iterator[str]:
    yield f"study {page.picture.title}"
    yield from (pool.title for pool in page.picture.pools)
    if page.picture.trials_most:
        yield f"{progress_phrase(page.picture.trials_done, page.picture.trials_most)} are done"


def _ended(before: StatusPage, after: StatusPage, said: AbstractSet[str]) -> Iterator[str]:
    """Yield the outcome of each attempt that ended, and of a failure what to do and where its log is."""
    known = set(said)
    for trial in _new(before, after):
        if trial.failure is None:
            yield f"{trial.what}: {trial.outcome}"
            continue
        key, log = cause_key(trial.failure), trial.failure.trials[0].log
        if key in known:
            what = "" if trial.failure.says_nothing else "cannot work: "
            yield f"{trial.what}: {what}{trial.failure.reason} again{f', log: {log}' if log else ''}"
            continue
        known.add(key)
        yield f"{trial.what}: {trial.outcome}"
        if trial.failure.remedy:
            yield f"What to do: {trial.failure.remedy}"
        if log:
            yield f"log: {log}"


def _new(before: StatusPage, after: StatusPage) -> Iterator[TrialLine]:
    """Yield the trials of which an attempt has ended; if several attempts at one trial ended, only the last counts."""
    known = {(trial.pool, trial.round, trial.index): trial.ended_attempts for trial in before.trials}
    for trial in after.trials:
        if trial.outcome and trial.ended_attempts > known.get((trial.pool, trial.round, trial.index), 0):
            yield trial


def _notices(page: StatusPage) -> Iterator[Notice]:
    """Yield the notices, except those that the runs show: these already have a line for each change."""
    yield from (notice for notice in page.picture.notices if not notice.shown_by_runs)
    yield from (pool.notice for pool in page.picture.pools if pool.notice is not None)
    yield from (notice for pool in page.picture.pools for notice in (*pool.rounds, *pool.set_aside))


def _notice_line(notice: Notice) -> str:
    return ": ".join(part for part in (notice.text, notice.reason, notice.detail) if part)


def _run_line(run: RunPicture) -> str:
    return ": ".join(part for part in (run.what, run.state, run.detail) if part)
