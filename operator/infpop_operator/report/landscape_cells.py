"""The cells of a landscape as text with marks, and the legend that explains exactly the marks that occur."""

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell
from infpop_operator.core.model import ENDED_ON_REQUEST
from infpop_operator.report.words import number, on_one_line, short_reason

BEST_MARK, _VIOLATES, _LACKS, _REUSED, _SLOWER = "★", "†", "?", "‡", "<"
_UNTRIED = "·"
_INDENT = 2
_MARKS = {
    CellState.INFEASIBLE: ("✗", "red"),
    CellState.INVALID: ("~", "yellow"),
    CellState.BROKEN: ("!", "magenta"),
    CellState.RULED_OUT: ("-", "dim"),
}
_MEANINGS = {
    CellState.INFEASIBLE: "tried, cannot work",
    CellState.INVALID: "its number must not be compared",
    CellState.BROKEN: "the run gave no result",
    CellState.RULED_OUT: "not tried: certain to fail",
}
_WAS_STOPPED = "stopped before it had a result"


def cell_text(cell: LandscapeCell) -> Text:
    """Return what the table shows of a cell: its number or its reason in one word, with its marks."""
    if cell.throughput_tokens_per_second is not None:
        return _measured(cell, cell.throughput_tokens_per_second)
    if cell.state is CellState.RACED_OUT:
        at_most = cell.at_most_tokens_per_second
        return Text(f"{_SLOWER}{'' if at_most is None else number(at_most)}{_suffix(cell)}")
    if cell.state in _MARKS:
        mark, style = _MARKS[cell.state]
        return Text(f"{mark} {short_reason(cell.reason or '')}{_suffix(cell)}", style=style)
    match cell.state:
        case CellState.RUNNING:
            return Text("running", style="cyan")
        case CellState.UNTRIED:
            return Text(_UNTRIED, style="dim")
        case _:
            return Text("")


def _measured(cell: LandscapeCell, throughput: float) -> Text:
    text = f"{number(throughput)}{_suffix(cell)}"
    if cell.is_best:
        return Text(f"{BEST_MARK} {text}", style="bold green")
    if cell.violations:
        return Text(f"{_VIOLATES} {text}", style="yellow")
    if cell.missing:
        return Text(f"{_LACKS} {text}", style="yellow")
    return Text(text)


def _suffix(cell: LandscapeCell) -> str:
    return ("" if cell.reused_from is None else _REUSED) + _variants(cell)


def _variants(cell: LandscapeCell) -> str:
    """Return " (3)" if the cell stands for three variants with other extra parameters, " (2/3)" while one is open."""
    if cell.variants == 1 or cell.state is CellState.RULED_OUT:
        return ""
    tried = cell.variants - cell.open_variants
    return f" ({cell.variants})" if tried == cell.variants else f" ({tried}/{cell.variants})"


def legend_lines(landscape: Landscape, *, explained: AbstractSet[str] = frozenset()) -> Iterator[RenderableType]:
    """Yield a line for each kind of mark that the table shows: how often it occurs, why, and the first detail.

    The reasons in `explained` have their details elsewhere.
    """
    cells = [cell for row in landscape.rows for cell in row]
    measured = [cell for cell in cells if cell.throughput_tokens_per_second is not None]
    others = [cell for cell in measured if not cell.is_best]
    if len(others) < len(measured):
        yield _line(f"{BEST_MARK} best", "", "", "bold green")
    violating = [cell.violations for cell in others if cell.violations]
    lacking = [cell.missing for cell in others if cell.missing and not cell.violations]
    yield from _ineligible(f"{_VIOLATES} breaks a constraint", violating)
    yield from _ineligible(f"{_LACKS} lacks a required metric", lacking)
    yield from _reused(cells)
    slower = sum(cell.state is CellState.RACED_OUT and cell.throughput_tokens_per_second is None for cell in cells)
    if slower:
        yield _line(f"{_SLOWER} slower than the best", f"{slower}x, the number is the most it can reach", "", "default")
    failed = [cell for cell in cells if cell.state in _MARKS and cell.throughput_tokens_per_second is None]
    yield from _failed(failed, explained)
    if any(cell.state is CellState.UNTRIED for cell in cells):
        yield _line(f"{_UNTRIED} not tried", "", "", "dim")
    yield from _of_variants(landscape, cells)


def _ineligible(mark: str, sentences: Sequence[tuple[str, ...]]) -> Iterator[RenderableType]:
    if sentences:
        yield _line(mark, f"{len(sentences)}x", sentences[0][0], "yellow")


def _reused(cells: Sequence[LandscapeCell]) -> Iterator[RenderableType]:
    sources = Counter(cell.reused_from for cell in cells if cell.reused_from is not None)
    if sources:
        studies = ", ".join(f"{amount}x {study}" for study, amount in sources.items())
        yield _line(f"{_REUSED} measured by another study", "", studies, "default")


def _failed(cells: Sequence[LandscapeCell], explained: AbstractSet[str]) -> Iterator[RenderableType]:
    kinds = Counter((cell.state, cell.reason or "") for cell in cells)
    for (state, reason), amount in kinds.items():
        mark, style = _MARKS[state]
        detail = next((cell.detail for cell in cells if (cell.state, cell.reason or "") == (state, reason)), "")
        meaning = _WAS_STOPPED if state is CellState.BROKEN and reason in ENDED_ON_REQUEST else _MEANINGS[state]
        why = f"{amount}x {reason}".rstrip() + f", {meaning}"
        follows = state is CellState.RULED_OUT and (CellState.INFEASIBLE, reason) in kinds  # whose line tells the cause
        yield _line(f"{mark} {short_reason(reason)}", why, "" if follows or reason in explained else detail, style)


def _of_variants(landscape: Landscape, cells: Sequence[LandscapeCell]) -> Iterator[RenderableType]:
    shown = {_variants(cell) for cell in cells if _variants(cell) and cell_text(cell).plain.endswith(_variants(cell))}
    if not shown:
        return
    differ = (
        f", which differ in {on_one_line(', '.join(landscape.collapsed_extra))}" if landscape.collapsed_extra else ""
    )
    whole = next((text for text in sorted(shown) if "/" not in text), "").strip()
    part = next((text for text in sorted(shown) if "/" in text), "").strip()
    if whole:
        yield _line(whole, f"the best of {whole[1:-1]} variants{differ}", "", "dim")
    if part:
        tried, total = part[1:-1].split("/")
        yield _line(part, f"the best so far: {tried} of {total} variants are tried{differ}", "", "dim")


def _line(mark: str, why: str, detail: str, style: str) -> RenderableType:
    rest = on_one_line(": ".join(part for part in (why, detail) if part))
    return Hanging(Text(mark, style=style).append(f"  {rest}" if rest else "", style="default"))


@dataclass(frozen=True, slots=True)
class Hanging:
    """A text whose lines after the first one are indented, so that each entry of a list is seen to begin."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if self.text.cell_len <= options.max_width:
            yield self.text
            return
        first, *rest = self.text.wrap(console, max(1, options.max_width - _INDENT), overflow="fold")
        yield first
        for each in rest:
            each.rstrip()
            yield Text(" " * _INDENT).append_text(each)
