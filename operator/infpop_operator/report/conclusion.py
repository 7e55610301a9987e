"""What was found, what it cost, and what to copy: the end of every report, wherever the study was tuned."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

FOUND = ("Best configuration found", "bold green")
NOTHING = ("No recommendation", "bold red")
STOPPED_EARLY = ("Stopped early: best so far", "bold yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The title with its style, facts as name and text, and, where there is one, the command or program to copy.

    `note` is what to know before it is used.
    """

    title: str
    style: str
    facts: tuple[tuple[str, str], ...]
    serving: str | None = None
    note: str | None = None


def render_conclusion(conclusion: Conclusion) -> RenderableType:
    """Return the facts as a list; what is to be copied is unframed and unwrapped, so that it is what was meant."""
    return Group(*_parts(conclusion))


def _parts(conclusion: Conclusion) -> Iterator[RenderableType]:
    yield Text(conclusion.title, style=conclusion.style)
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, text in conclusion.facts:
        facts.add_row(name, Text(text))
    yield Padding(facts, (0, 0, 0, 2), expand=False)
    if conclusion.serving is not None:
        yield Text("\nReady to copy", style="bold")
        yield Text(conclusion.serving, no_wrap=True, overflow="ignore")
    if conclusion.note is not None:
        yield Text(f"\n{conclusion.note}", style="dim")
