"""A study's progress as plain lines, one for each change: for logs, pipes and screen readers."""

from collections.abc import Callable, Iterator
from datetime import datetime

from infpop_operator.report.picture import Notice, RunPicture
from infpop_operator.report.status_page import StatusPage
from infpop_operator.report.words import clock


class PlainView:
    """Writes what changed since the page before; `write` gets one line at a time."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._before: StatusPage | None = None
        self._since: datetime | None = None

    def show(self, page: StatusPage, now: datetime) -> None:
        """Write a line for each change."""
        self._since = self._since or now
        for line in page_changes(self._before, page):
            self._write(f"{clock(now - self._since)}  {line}")
        self._before = page

    def announce(self, text: str) -> None:
        """Write a line that is not the study's own progress."""
        self._write(text)

    def close(self) -> None:
        """There is nothing to close; the other view has."""


def page_changes(before: StatusPage | None, after: StatusPage) -> Iterator[str]:
    """Yield a line for each change from one page to the next; without a `before`, where the study is."""
    yield from _opening(after) if before is None else _ended(before, after)
    known = {_run_line(run) for run in before.picture.runs} if before is not None else set()
    yield from (line for line in map(_run_line, after.picture.runs) if line not in known)
    told = set(_notices(before)) if before is not None else set()
    yield from (line for line in _notices(after) if line not in told)


def _opening(page: StatusPage) -> Iterator[str]:
    yield f"study {page.picture.title}"
    yield from (pool.title for pool in page.picture.pools)
    if page.picture.trials_most:
        yield f"{page.picture.trials_done} of up to {page.picture.trials_most} trials are done"


def _ended(before: StatusPage, after: StatusPage) -> Iterator[str]:
    """Yield the outcome of each attempt that ended; of several attempts at one trial, of the last."""
    known = {(trial.pool, trial.round, trial.index): trial.ended_attempts for trial in before.trials}
    for trial in after.trials:
        if trial.outcome and trial.ended_attempts > known.get((trial.pool, trial.round, trial.index), 0):
            yield f"{trial.what}: {trial.outcome}"


def _notices(page: StatusPage) -> Iterator[str]:
    """Yield the notices but those that the runs tell: these have a line for each change already."""
    yield from (_notice_line(notice) for notice in page.picture.notices if not notice.told_by_runs)
    yield from (_notice_line(pool.notice) for pool in page.picture.pools if pool.notice is not None)


def _notice_line(notice: Notice) -> str:
    return ": ".join(part for part in (notice.text, notice.reason, notice.detail) if part)


def _run_line(run: RunPicture) -> str:
    return ": ".join(part for part in (run.what, run.state, run.detail) if part)
