"""A round as a table: batch sizes down, GPU counts across, with a legend for its marks below."""

from collections import Counter
from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell
from infpop_operator.report.words import number, short_reason

_BEST, _VIOLATES, _LACKS = "★", "†", "?"
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


def render_landscape(landscape: Landscape, device: str) -> RenderableType:
    """Return the table of one round with its title, counting in `device`s. Seven counts fit into 80 columns."""
    title = Text(f"Tokens/s by batch size (down) and number of {device}s (across)", style="bold")
    return Group(title, _table(landscape))


def _table(landscape: Landscape) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("batch", justify="right", no_wrap=True)
    for gpu_count in landscape.gpu_counts:
        table.add_column(str(gpu_count), justify="right", no_wrap=True, min_width=8)
    for batch_size, row in zip(landscape.batch_sizes, landscape.rows, strict=True):
        table.add_row(str(batch_size), *(_cell(cell) for cell in row))
    return table


def render_legend(landscape: Landscape) -> RenderableType:
    """Return one line for each kind of mark in the table: how often it occurs, why, and the first detail."""
    cells = [cell for row in landscape.rows for cell in row]
    return Group(*_legend(cells), *_collapsed(landscape))


def _cell(cell: LandscapeCell) -> Text:
    if cell.throughput_tokens_per_second is not None:
        return _measured(cell, cell.throughput_tokens_per_second)
    if cell.state in _MARKS:
        mark, style = _MARKS[cell.state]
        return Text(f"{mark} {short_reason(cell.reason or '')}", style=style)
    match cell.state:
        case CellState.RUNNING:
            return Text("running", style="cyan")
        case CellState.UNTRIED:
            return Text("·", style="dim")
        case _:
            return Text("")


def _measured(cell: LandscapeCell, throughput: float) -> Text:
    if cell.is_best:
        return Text(f"{_BEST} {number(throughput)}", style="bold green")
    if cell.violations:
        return Text(f"{_VIOLATES} {number(throughput)}", style="yellow")
    if cell.missing:
        return Text(f"{_LACKS} {number(throughput)}", style="yellow")
    return Text(number(throughput))


def _legend(cells: list[LandscapeCell]) -> Iterator[Text]:
    if any(cell.is_best for cell in cells):
        yield _line(f"{_BEST} best", "", "", "bold green")
    yield from _ineligible(f"{_VIOLATES} breaks a constraint", [cell.violations for cell in cells])
    yield from _ineligible(f"{_LACKS} lacks a required metric", [cell.missing for cell in cells if not cell.violations])
    kinds = Counter((cell.state, cell.reason or "") for cell in cells if cell.state in _MARKS)
    for (state, reason), amount in kinds.items():
        mark, style = _MARKS[state]
        detail = next((cell.detail for cell in cells if (cell.state, cell.reason) == (state, reason)), "")
        why = f"{amount}x {reason}, {_MEANINGS[state]}"
        yield _line(f"{mark} {short_reason(reason)}", why, "" if state is CellState.RULED_OUT else detail, style)
    if any(cell.state is CellState.UNTRIED for cell in cells):
        yield _line("· not tried", "", "", "dim")


def _ineligible(mark: str, sentences: Iterable[tuple[str, ...]]) -> Iterator[Text]:
    explained = [sentence for sentence in sentences if sentence]
    if explained:
        yield _line(mark, f"{len(explained)}x", explained[0][0], "yellow")


def _line(mark: str, why: str, detail: str, style: str) -> Text:
    text = Text(mark, style=style, no_wrap=True, overflow="ellipsis", end="\n")
    rest = ": ".join(part for part in (why, detail) if part)
    return text.append(f"  {rest}" if rest else "", style="default")


def _collapsed(landscape: Landscape) -> Iterator[Text]:
    if landscape.collapsed_extra:
        yield Text(f"Each cell shows the best over {', '.join(landscape.collapsed_extra)}.", style="dim")
