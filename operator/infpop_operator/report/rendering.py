"""Render a study with rich: the picture that is redrawn while it runs, and the whole page."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infpop_operator.report.landscape_cells import BEST_MARK
from infpop_operator.report.landscape_table import render_landscape, render_legend
from infpop_operator.report.live_picture import LivePicture
from infpop_operator.report.name_table import NameTable
from infpop_operator.report.picture import Failure, Picture, PoolPicture
from infpop_operator.report.picture_parts import header, indented, line, notice, run, why
from infpop_operator.report.status_page import (
    Conclusion,
    ConditionLine,
    FrontLine,
    FrontTable,
    RoundLine,
    StatusPage,
)
from infpop_operator.report.words import count, duration

_BROKEN = "Broken trials: their runs failed, which says nothing about the configuration"
_NOTHING_FOUND = "Failed trials: none gave a number"
_MOST_LOGS = 3  # of one cause: the others say the same
_TRUE_IS_GOOD = {"Accepted", "Ready", "Succeeded"}


def render_live(picture: Picture, height: int | None = None) -> RenderableType:
    """Return the picture of one instant, for a screen of `height` lines; None: as long as it needs."""
    return LivePicture(picture=picture, height=height)


def render_page(page: StatusPage, *, wide: bool = False) -> RenderableType:
    """Return the whole page; with `wide`, landscapes are as wide as they need to be."""
    return Group(*_parts(page, wide=wide))


def _parts(page: StatusPage, *, wide: bool) -> Iterator[RenderableType]:
    yield from header(page.picture, "fold")
    for each in page.picture.runs:
        yield from run(each, "fold")
    for pool in page.picture.pools:
        if pool.landscape is not None or pool.notice is not None:
            yield Text("")
            yield from _pool(pool, explained={failure.reason for failure in page.picture.failures}, wide=wide)
    if page.front is not None:
        yield Text("")
        yield from _front(page.front)
    yield from _failures(page.picture.failures)
    yield from _rounds(page.rounds)
    if page.conditions:
        yield Text("")
        yield _conditions(page.conditions)
    if page.footer:
        yield Text(page.footer, style="dim")
    if page.conclusion is not None:
        yield Text("")
        yield from _conclusion(page.conclusion)


def _pool(pool: PoolPicture, *, explained: AbstractSet[str], wide: bool) -> Iterator[RenderableType]:
    yield line(pool.title, "bold underline", "fold")
    if pool.notice is not None:
        yield from notice(pool.notice)
    for each in pool.rounds:
        yield from notice(each)
    if pool.landscape is not None:
        yield line(pool.subject, "", "fold")
        yield render_landscape(pool.landscape, pool.device, wide=wide)
        yield render_legend(pool.landscape, explained=explained)
    for each in pool.set_aside:
        yield from notice(each)
    if pool.note:
        yield Text(pool.note, style="dim")


def _failures(failures: tuple[Failure, ...]) -> Iterator[RenderableType]:
    if failures:
        broken = all(failure.says_nothing for failure in failures)
        yield Text(f"\n{_BROKEN if broken else _NOTHING_FOUND}", style="bold magenta")
    for failure in failures:
        yield indented(Text(failure.reason, style="bold"), 2)
        yield from why(failure.detail, failure.remedy, indent=4)
        for trial in failure.trials[:_MOST_LOGS]:
            yield indented(Text(trial.what), 4)
            if trial.log:
                yield indented(Text(f"log: {trial.log}", overflow="fold"), 6)
        if len(failure.trials) > _MOST_LOGS:
            yield indented(Text(f"and {count(len(failure.trials) - _MOST_LOGS, 'more trial')}"), 4)


def _rounds(rounds: tuple[RoundLine, ...]) -> Iterator[RenderableType]:
    if not rounds:
        return
    yield Text("")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(*(Text(name, "bold") for name in ("Round", "Began (UTC)", "What it found")))
    for each in rounds:
        table.add_row(Text(each.name), Text(each.began), Text(each.text))
    yield table


def _front(front: FrontTable) -> Iterator[RenderableType]:
    yield Text(front.title, style="bold")
    yield indented(Text(front.text), 2)
    rows = tuple(_front_row(each) for each in front.lines)
    yield indented(NameTable(name="  Configuration", headings=front.headings, rows=rows), 2)


def _front_row(each: FrontLine) -> tuple[Text, tuple[Text, ...]]:
    style = "bold green" if each.is_best else ""
    mark = BEST_MARK if each.is_best else " "
    return Text(f"{mark} {each.what}", style), (Text(each.value, style), Text(each.second_value, style))


def _conditions(conditions: tuple[ConditionLine, ...]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(*(Text(name, "bold") for name in ("Condition", "Status", "For", "Reason")))
    for each in conditions:
        cause = f"{each.reason}: {each.message}" if each.message else each.reason
        table.add_row(each.type, Text(each.status, _style(each)), duration(each.seconds), Text(cause))
    return table


def _style(each: ConditionLine) -> str:
    if each.status != "True":
        return "red" if each.type == "Accepted" else ""
    return "green" if each.type in _TRUE_IS_GOOD else "yellow"


def _conclusion(conclusion: Conclusion) -> Iterator[RenderableType]:
    """Yield the facts as a list; text to copy has no frame and no line breaks, so that a copy is exact."""
    yield Text(conclusion.title, style=conclusion.style)
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, text in conclusion.facts:
        facts.add_row(name, Text(text))
    yield indented(facts, 2)
    if conclusion.serving is not None:
        yield Text("\nReady to copy", style="bold")
        yield Text(conclusion.serving, no_wrap=True, overflow="ignore")
    if conclusion.note:
        yield Text(f"\n{conclusion.note}", style="dim")
