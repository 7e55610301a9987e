"""A study's progress on a terminal: a bar, the live runs, and the landscape as far as it is known."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infpop_operator.report.landscape_table import render_landscape
from infpop_operator.report.picture import Notice, Picture, PoolPicture, RunPicture
from infpop_operator.report.progress import picture_of
from infpop_operator.report.snapshot import Snapshot
from infpop_operator.report.words import SIMULATED, duration

_BAR_WIDTH = 30


class LiveView:
    """Redraws the newest picture in place on `console` until it is closed, and leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        """Draw what `snapshot` tells."""
        self.draw(picture_of(snapshot))

    def draw(self, picture: Picture) -> None:
        """Draw `picture`."""
        self._live.update(render_live(picture), refresh=True)

    def announce(self, text: str) -> None:
        """Write a line above the picture."""
        self._live.console.print(Text(text, style="yellow"))

    def close(self) -> None:
        """Remove the picture and give the terminal back."""
        self._live.stop()


def render_live(picture: Picture) -> RenderableType:
    """Return the picture of one instant; what matters most is on top, where a low terminal still shows it."""
    landscapes = [part for pool in picture.pools for part in _pool(pool)]
    message = [Text(picture.message, "dim")] if picture.message else []
    return Group(render_header(picture), *landscapes, *message)


def render_header(picture: Picture) -> RenderableType:
    """Return everything but the landscapes: title, notices, progress, best so far, live runs."""
    return Group(*_header(picture), *(part for run in picture.runs for part in _run(run)))


def render_notice(notice: Notice, *, indent: int = 0) -> RenderableType:
    """Return what is the case, and under it, indented, why and what to do; long texts are wrapped, not cut."""
    headline = " ".join(part for part in (notice.text, notice.when) if part)
    headline += f": {notice.reason}" if notice.reason else ""
    return Group(_indented(Text(headline, notice.style), indent), *_why(notice.detail, notice.remedy, indent + 2))


def _why(detail: str, remedy: str, indent: int) -> Iterator[RenderableType]:
    if detail:
        yield _indented(Text(detail), indent)
    if remedy:
        yield _indented(Text.assemble(("What to do: ", "bold"), remedy), indent)


def _indented(text: Text, indent: int) -> RenderableType:
    return Padding(text, (0, 0, 0, indent), expand=False)


def _header(picture: Picture) -> Iterator[RenderableType]:
    yield Text(picture.title, "bold", no_wrap=True, overflow="ellipsis")
    if picture.is_simulated:
        yield Text(SIMULATED, style="yellow", no_wrap=True, overflow="ellipsis")
    yield from (render_notice(notice) for notice in picture.notices)
    if picture.trials_most:
        line = Table.grid(padding=(0, 1, 0, 0))
        bar = ProgressBar(total=picture.trials_most, completed=picture.trials_done, width=_BAR_WIDTH)
        line.add_row(bar, f"{picture.trials_done} of up to {picture.trials_most} trials")
        yield line
    if picture.best is not None:
        yield Text(f"best so far: {picture.best}", "green", no_wrap=True, overflow="ellipsis")


def _run(run: RunPicture) -> Iterator[RenderableType]:
    line = f"{duration(run.seconds)}  {run.what}: {run.state}"
    yield Text(line, "cyan", no_wrap=True, overflow="ellipsis")
    yield from _why(run.detail, run.remedy, 6)


def _pool(pool: PoolPicture) -> Iterator[RenderableType]:
    if pool.title:
        yield Text(pool.title, "bold underline", no_wrap=True, overflow="ellipsis")
    if pool.notice is not None:
        yield render_notice(pool.notice)
    if pool.landscape is not None:
        yield render_landscape(pool.landscape, pool.device)
    if pool.note:
        yield Text(pool.note, style="dim")
