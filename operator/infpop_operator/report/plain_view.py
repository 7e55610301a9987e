"""The view that writes a study's progress as plain lines, one per change: for logs, pipes and screen readers."""

from collections.abc import Callable, Iterator
from datetime import datetime

from infpop_operator.report.picture import Notice, RunPicture
from infpop_operator.report.status_page import StatusPage
from infpop_operator.report.words import clock


class PlainView:
    """Writes what changed since the previous page; `write` receives one line at a time."""

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
        """Write a line that is not part of the study's progress."""
        self._write(text)

    def close(self) -> None:
        """Do nothing: only the live view holds something to close."""


def page_changes(before: StatusPage | None, after: StatusPage) -> Iterator[str]:
    """Yield one line per change from `before` to `after`; without `before`, the current state of the study."""
    yield from _opening(after) if before is None else _ended(before, after)
    known = {_run_line(run) for run in before.picture.runs} if before is not None else set()
    yield from (line for line in map(_run_line, after.picture.runs) if line not in known)
    shown = set(_notices(before)) if before is not None else set()
    yield from (line for line in _notices(after) if line not in shown)


def _opening(page: StatusPage) -> Iterator[str]:
    yield f"study {page.picture.title}"
    yield from (pool.title for pool in page.picture.pools)
    if page.picture.trials_most:
        yield f"{page.picture.trials_done} of up to {page.picture.trials_most} trials are done"


def _ended(before: StatusPage, after: StatusPage) -> Iterator[str]:
    """Yield the outcome of each attempt that ended; if several attempts at one trial ended, only the last."""
    known = {(trial.pool, trial.round, trial.index): trial.ended_attempts for trial in before.trials}
    for trial in after.trials:
        if trial.outcome and trial.ended_attempts > known.get((trial.pool, trial.round, trial.index), 0):
            yield f"{trial.what}: {trial.outcome}"


def _notices(page: StatusPage) -> Iterator[str]:
    """Yield the notices, except those that the runs show: these already have a line for each change."""
    yield from (_notice_line(notice) for notice in page.picture.notices if not notice.shown_by_runs)
    yield from (_notice_line(pool.notice) for pool in page.picture.pools if pool.notice is not None)


def _notice_line(notice: Notice) -> str:
    return ": ".join(part for part in (notice.text, notice.reason, notice.detail) if part)


def _run_line(run: RunPicture) -> str:
    return ": ".join(part for part in (run.what, run.state, run.detail) if part)
