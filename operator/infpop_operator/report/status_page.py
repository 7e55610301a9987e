"""A study on a cluster as one page: where it stands and why, its landscapes, what broke, its conditions, the result."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infpop_operator.report.conclusion import Conclusion, render_conclusion
from infpop_operator.report.landscape_table import render_landscape, render_legend
from infpop_operator.report.live import render_header, render_notice
from infpop_operator.report.picture import Picture, PoolPicture
from infpop_operator.report.words import count, duration

_TRUE_IS_GOOD = {"Accepted", "Ready", "Succeeded"}


class Outcome(StrEnum):
    """Whether a study goes on by itself."""

    OPEN = "Open"
    SUCCEEDED = "Succeeded"
    STALLED = "Stalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionLine:
    """A condition. `seconds`: how long it has had its status; `message` is left empty where the page says it above."""

    type: str
    status: str
    reason: str
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """A trial of a pool's newest round. `outcome` is empty while it runs; `log` is the command that shows its log."""

    pool: str
    round: int
    index: int
    what: str
    run: str
    attempts: int
    state: str
    outcome: str = ""
    remedy: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """Everything that a study's object tells, as it is to be shown. `footer` says how old it is."""

    picture: Picture
    outcome: Outcome
    trials: tuple[TrialLine, ...] = ()
    conditions: tuple[ConditionLine, ...] = ()
    conclusion: Conclusion | None = None
    footer: str = ""


def render_page(page: StatusPage) -> RenderableType:
    """Return the whole page."""
    return Group(*_parts(page))


def _parts(page: StatusPage) -> Iterator[RenderableType]:
    yield render_header(page.picture)
    for pool in page.picture.pools:
        if pool.landscape is not None or pool.notice is not None:
            yield from _pool(pool)
    yield from _broken(page)
    if page.conditions:
        yield Text("")
        yield _conditions(page.conditions)
    if page.footer:
        yield Text(page.footer, style="dim")
    if page.conclusion is not None:
        yield Text("")
        yield render_conclusion(page.conclusion)


def _pool(pool: PoolPicture) -> Iterator[RenderableType]:
    yield Text("")
    yield Text(pool.title, "bold underline", no_wrap=True, overflow="ellipsis")
    if pool.notice is not None:
        yield render_notice(pool.notice)
    if pool.landscape is not None:
        yield render_landscape(pool.landscape, pool.device)
        yield render_legend(pool.landscape)
    if pool.note:
        yield Text(pool.note, style="dim")


def _broken(page: StatusPage) -> Iterator[RenderableType]:
    broken = [trial for trial in page.trials if trial.state == "Broken"]
    if not broken:
        return
    yield Text("\nBroken trials: their runs failed, they say nothing about the configuration", style="bold magenta")
    for trial in broken:
        yield Padding(
            Text(f"{trial.what}: {trial.outcome} after {count(trial.attempts, 'attempt')}"), (0, 0, 0, 2), expand=False
        )
        if trial.remedy:
            yield Padding(Text.assemble(("What to do: ", "bold"), trial.remedy), (0, 0, 0, 4), expand=False)
        if trial.log:
            yield Padding(Text(f"log: {trial.log}", overflow="fold"), (0, 0, 0, 4), expand=False)


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
