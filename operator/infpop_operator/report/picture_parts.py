"""The parts of a study's picture that its page and its live view share, as rich draws them."""

from collections.abc import Iterator
from typing import Literal

from rich.console import RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infpop_operator.report.picture import Notice, Picture, RunPicture
from infpop_operator.report.words import SIMULATED, duration, progress_phrase

_BAR_WIDTH = 30
Overflow = Literal["fold", "ellipsis"]  # of a line that is too long: it goes on in the next one, or it is cut


def header(picture: Picture, overflow: Overflow) -> Iterator[RenderableType]:
    """Yield the title, what the reader must know first, how far the search is, and the best so far."""
    yield line(picture.title, "bold", overflow)
    if picture.is_simulated:
        yield line(SIMULATED, "yellow", overflow)
    for each in picture.notices:
        yield from notice(each)
    if picture.trials_most:
        grid = Table.grid(padding=(0, 1, 0, 0))
        bar = ProgressBar(total=picture.trials_most, completed=picture.trials_done, width=_BAR_WIDTH)
        grid.add_row(bar, progress_phrase(picture.trials_done, picture.trials_most))
        yield grid
    if picture.best is not None:
        yield line(f"best so far: {picture.best}", "green", overflow)


def notice(each: Notice) -> Iterator[RenderableType]:
    """Yield the headline and, indented below it, the cause and the remedy; long texts are wrapped, not cut."""
    headline = " ".join(part for part in (each.text, each.when) if part)
    yield Text(f"{headline}: {each.reason}" if each.reason else headline, each.style)
    yield from why(each.detail, each.remedy, indent=2)


def run(each: RunPicture, overflow: Overflow) -> Iterator[RenderableType]:
    """Yield the line of a live run and, indented below it, why it waits."""
    yield line(f"{duration(each.seconds)}  {each.what}: {each.state}", "cyan", overflow)
    yield from why(each.detail, each.remedy, indent=6)


def why(detail: str, remedy: str, *, indent: int) -> Iterator[RenderableType]:
    """Yield a cause and its remedy, if there are any."""
    if detail:
        yield indented(Text(detail), indent)
    if remedy:
        yield indented(Text.assemble(("What to do: ", "bold"), remedy), indent)


def line(text: str, style: str, overflow: Overflow) -> Text:
    """Return a text that goes on in the next line if it is too long, or is cut there."""
    return Text(text, style, no_wrap=overflow == "ellipsis", overflow=overflow)


def indented(part: RenderableType, indent: int) -> RenderableType:
    """Return the part with spaces at its left."""
    return Padding(part, (0, 0, 0, indent), expand=False)
