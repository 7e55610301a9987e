"""Render a study with rich: the picture that is redrawn while it runs, and the whole page."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infpop_operator.report.landscape_table import render_landscape, render_legend
from infpop_operator.report.picture import Notice, Picture, PoolPicture, RunPicture
from infpop_operator.report.status_page import Conclusion, ConditionLine, Failure, StatusPage
from infpop_operator.report.words import SIMULATED, duration

_BAR_WIDTH = 30
_TRUE_IS_GOOD = {"Accepted", "Ready", "Succeeded"}


def render_live(picture: Picture) -> RenderableType:
    """Return the picture of one instant; the most important lines come first, so that a short terminal shows them."""
    return Group(*_header(picture), *(part for pool in picture.pools for part in _pool(pool, with_legend=False)))


def render_page(page: StatusPage) -> RenderableType:
    """Return the whole page."""
    return Group(*_parts(page))


def _parts(page: StatusPage) -> Iterator[RenderableType]:
    yield from _header(page.picture)
    for pool in page.picture.pools:
        if pool.landscape is not None or pool.notice is not None:
            yield Text("")
            yield from _pool(pool, with_legend=True)
    yield from _failures(page.failures)
    if page.conditions:
        yield Text("")
        yield _conditions(page.conditions)
    if page.footer:
        yield Text(page.footer, style="dim")
    if page.conclusion is not None:
        yield Text("")
        yield from _conclusion(page.conclusion)


def _header(picture: Picture) -> Iterator[RenderableType]:
    yield _line(picture.title, "bold")
    if picture.is_simulated:
        yield _line(SIMULATED, "yellow")
    for notice in picture.notices:
        yield from _notice(notice)
    if picture.trials_most:
        line = Table.grid(padding=(0, 1, 0, 0))
        bar = ProgressBar(total=picture.trials_most, completed=picture.trials_done, width=_BAR_WIDTH)
        line.add_row(bar, f"{picture.trials_done} of up to {picture.trials_most} trials")
        yield line
    if picture.best is not None:
        yield _line(f"best so far: {picture.best}", "green")
    for run in picture.runs:
        yield from _run(run)


def _notice(notice: Notice) -> Iterator[RenderableType]:
    """Yield the headline and, indented below it, the cause and the remedy; long texts are wrapped, not cut."""
    headline = " ".join(part for part in (notice.text, notice.when) if part)
    yield Text(f"{headline}: {notice.reason}" if notice.reason else headline, notice.style)
    yield from _why(notice.detail, notice.remedy, indent=2)


def _run(run: RunPicture) -> Iterator[RenderableType]:
    yield _line(f"{duration(run.seconds)}  {run.what}: {run.state}", "cyan")
    yield from _why(run.detail, run.remedy, indent=6)


def _why(detail: str, remedy: str, *, indent: int) -> Iterator[RenderableType]:
    if detail:
        yield _indented(Text(detail), indent)
    if remedy:
        yield _indented(Text.assemble(("What to do: ", "bold"), remedy), indent)


def _pool(pool: PoolPicture, *, with_legend: bool) -> Iterator[RenderableType]:
    yield _line(pool.title, "bold underline")
    if pool.notice is not None:
        yield from _notice(pool.notice)
    if pool.landscape is not None:
        yield render_landscape(pool.landscape, pool.device)
        if with_legend:
            yield render_legend(pool.landscape)
    for notice in pool.set_aside:
        yield from _notice(notice)
    if pool.note:
        yield Text(pool.note, style="dim")


def _failures(failures: tuple[Failure, ...]) -> Iterator[RenderableType]:
    if failures:
        title = "Broken trials: their runs failed, which says nothing about the configuration"
        yield Text(f"\n{title}", style="bold magenta")
    for failure in failures:
        yield _indented(Text(failure.what), 2)
        yield from _why(failure.detail, failure.remedy, indent=4)
        yield _indented(Text(f"log: {failure.log}", overflow="fold"), 4)


def _conditions(conditions: tuple[ConditionLine, ...]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(*(Text(name, "bold") for name in ("Condition", "Status", "For", "Reason")))
    for line in conditions:
        why = f"{line.reason}: {line.message}" if line.message else line.reason
        table.add_row(line.type, Text(line.status, _style(line)), duration(line.seconds), Text(why))
    return table


def _style(line: ConditionLine) -> str:
    if line.status != "True":
        return "red" if line.type == "Accepted" else ""
    return "green" if line.type in _TRUE_IS_GOOD else "yellow"


def _conclusion(conclusion: Conclusion) -> Iterator[RenderableType]:
    """Yield the facts as a list; text to copy has no frame and no line breaks, so that a copy is exact."""
    yield Text(conclusion.title, style=conclusion.style)
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, text in conclusion.facts:
        facts.add_row(name, Text(text))
    yield _indented(facts, 2)
    if conclusion.serving is not None:
        yield Text("\nReady to copy", style="bold")
        yield Text(conclusion.serving, no_wrap=True, overflow="ignore")
    if conclusion.note:
        yield Text(f"\n{conclusion.note}", style="dim")


def _line(text: str, style: str) -> Text:
    """Return one line that is cut at the width of the terminal."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _indented(part: RenderableType, indent: int) -> RenderableType:
    return Padding(part, (0, 0, 0, indent), expand=False)
