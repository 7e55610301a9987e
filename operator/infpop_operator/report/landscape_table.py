"""A round as a table: batch sizes down and GPU counts across, with a legend for its marks below.

No number is ever cut. GPU counts that do not fit side by side are in further tables below, or the table is turned if it
then fits; a terminal that is not high enough gets fewer rows. Each of these is said.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell
from infpop_operator.report.landscape_cells import cell_text, legend_lines
from infpop_operator.report.landscape_layout import Grid, blocks, lines
from infpop_operator.report.words import count

LEAST_LINES = 5  # title, headings, rule, one row, and what is left out
_UNLIMITED = 1_000_000
_BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class LandscapeTable:
    """The table of one round, which adapts to the terminal that it is printed on.

    `device` is what is counted across. With `wide` the table is as wide as it needs to be, whatever the terminal. With
    `most_lines` (at least `LEAST_LINES`) the table is not longer: it shows the part around the best and the live runs.
    """

    landscape: Landscape
    device: str
    wide: bool = False
    most_lines: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self.lines(_UNLIMITED if self.wide else options.max_width)

    def lines(self, width: int) -> tuple[Text, ...]:
        """Return the lines of the table on a terminal of `width` columns.

        A title may still have to be wrapped; with `most_lines` it is cut instead.
        """
        whole = tuple(_whole(self.landscape, self.device, width))
        if self.most_lines is None:
            return whole
        fits = len(whole) <= self.most_lines
        found = whole if fits else tuple(_part(self.landscape, self.device, width, self.most_lines))
        return tuple(_on_one_line(text) for text in found)


def render_landscape(landscape: Landscape, device: str, *, wide: bool = False) -> RenderableType:
    """Return the table of one round with its title, counting in `device`s."""
    return LandscapeTable(landscape=landscape, device=device, wide=wide)


def render_legend(landscape: Landscape, *, explained: AbstractSet[str] = frozenset()) -> RenderableType:
    """Return one line for each kind of mark in the table: how often it occurs, why, and the first detail.

    Args:
        landscape: the round.
        explained: the reasons whose details stand elsewhere on the page.
    """
    return Group(*legend_lines(landscape, explained=explained))


def _whole(landscape: Landscape, device: str, width: int) -> Iterator[Text]:
    """Yield all cells: in one table, in one that is turned, or in several."""
    grid = _grid(landscape)
    parts = blocks(grid, width)
    turned = grid.transposed(f"{device}s")
    if len(parts) > 1 and len(blocks(turned, width)) == 1:
        yield _title(f"number of {device}s (down) and batch size (across)")
        yield _note(f"Turned: {len(grid.headings)} {device} counts do not fit across; as usual: --wide")
        yield from lines(turned, width)
        return
    yield _title(f"batch size (down) and number of {device}s (across)")
    if len(parts) > 1:
        below = f"{_more_counts(len(grid.headings) - len(parts[0]), device)} below"
        yield _note(f"{below}; side by side: --wide")
    for position, columns in enumerate(parts):
        if position:
            yield Text("")
        yield from lines(grid.part(range(len(grid.labels)), columns), width)


def _part(landscape: Landscape, device: str, width: int, most_lines: int) -> Iterator[Text]:
    """Yield the columns of one table and the rows that there is room for, and how many there are besides."""
    grid = _grid(landscape)
    columns = max(blocks(grid, width), key=lambda part: _interest(landscape, range(len(grid.labels)), part))
    room = min(len(grid.labels), max(1, most_lines - LEAST_LINES + 1))
    starts = range(len(grid.labels) - room + 1)
    rows = max((range(start, start + room) for start in starts), key=lambda part: _interest(landscape, part, columns))
    yield _title(f"batch size (down) and number of {device}s (across)")
    yield from lines(grid.part(rows, columns), width)
    batches, counts = len(grid.labels) - len(rows), len(grid.headings) - len(columns)
    left_out = [
        *([count(batches, "more batch size")] if batches else []),
        *([_more_counts(counts, device)] if counts else []),
    ]
    yield _note(", ".join(left_out))


def _more_counts(amount: int, device: str) -> str:
    """Return "1 more GPU count" or "6 more GPU counts"."""
    return count(amount, f"more {device} count")


def _grid(landscape: Landscape) -> Grid:
    return Grid(
        corner=_BATCH,
        headings=tuple(map(str, landscape.gpu_counts)),
        labels=tuple(map(str, landscape.batch_sizes)),
        cells=tuple(tuple(cell_text(cell) for cell in row) for row in landscape.rows),
    )


def _interest(landscape: Landscape, rows: Sequence[int], columns: Sequence[int]) -> int:
    """Return how much of what a reader looks for is in a part: the best, then live runs, then numbers."""
    return sum(_weight(landscape.rows[row][column]) for row in rows for column in columns)


def _weight(cell: LandscapeCell) -> int:
    if cell.is_best:
        return 1_000_000
    if cell.state is CellState.RUNNING:
        return 1_000
    return int(cell.throughput_tokens_per_second is not None)


def _title(axes: str) -> Text:
    return Text(f"Tokens/s by {axes}", style="bold")


def _note(text: str) -> Text:
    return Text(text, style="dim")


def _on_one_line(text: Text) -> Text:
    return text if text.no_wrap else Text(text.plain, text.style, no_wrap=True, overflow="ellipsis")
