"""How a table of short texts fits into a terminal: no text is ever cut.

What does not fit side by side goes into further tables below each other, each with the labels of the rows. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

_GAP = 2  # columns between two columns of a table
_STEADY = 8  # a column is this wide if there is room, so that numbers that grow do not move the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The texts of a table: `cells[i][j]` belongs to `labels[i]` and `headings[j]`; `corner` is above the labels."""

    corner: str
    headings: tuple[str, ...]
    labels: tuple[str, ...]
    cells: tuple[tuple[Text, ...], ...]

    def transposed(self, corner: str) -> "Grid":
        """Return the grid with its rows as columns."""
        cells = tuple(zip(*self.cells, strict=True))
        return Grid(corner=corner, headings=self.labels, labels=self.headings, cells=cells)

    def part(self, rows: range, columns: range) -> "Grid":
        """Return the grid with these rows and columns only."""
        return Grid(
            corner=self.corner,
            headings=tuple(self.headings[column] for column in columns),
            labels=tuple(self.labels[row] for row in rows),
            cells=tuple(tuple(self.cells[row][column] for column in columns) for row in rows),
        )


def blocks(grid: Grid, width: int) -> tuple[range, ...]:
    """Return the columns of each table, left to right, such that no table is wider than `width`: see `split`."""
    return split(_natural(grid), width - _label_width(grid))


def split(widths: Sequence[int], room: int) -> tuple[range, ...]:
    """Return the columns of each table, left to right, such that the columns of none take more than `room`.

    There are as few tables as possible, of about the same number of columns. A column that does not even fit alone has
    a table of its own, which is then wider.
    """
    if not widths or total(widths) <= room:
        return (range(len(widths)),)
    greedy = tuple(_greedy(widths, room))
    each = -(-len(widths) // len(greedy))
    even = tuple(range(start, min(start + each, len(widths))) for start in range(0, len(widths), each))
    return even if all(total([widths[column] for column in block]) <= room for block in even) else greedy


def total(widths: Sequence[int]) -> int:
    """Return how wide columns of these widths are, each with the gap at its left."""
    return sum(_GAP + each for each in widths)


def row(label: Text, cells: Sequence[Text], first: int, widths: Sequence[int]) -> Text:
    """Return a line with the cells at the right of their columns, after `first` columns for the label."""
    line = Text(no_wrap=True, overflow="ignore").append_text(label).append(" " * (first - label.cell_len))
    for cell, each in zip(cells, widths, strict=True):
        line.append(" " * (_GAP + each - cell.cell_len)).append_text(cell)
    return line


def rule(width: int) -> Text:
    """Return the line between the headings and the rows."""
    return Text("─" * width, no_wrap=True, overflow="ignore")


def lines(grid: Grid, width: int) -> Iterator[Text]:
    """Yield the lines of one table: the headings, a rule and the rows."""
    natural, first = _natural(grid), _label_width(grid)
    steady = [max(_STEADY, each) for each in natural]
    widths = steady if first + total(steady) <= width else natural
    yield row(Text(grid.corner.rjust(first)), [Text(heading) for heading in grid.headings], first, widths)
    yield rule(first + total(widths))
    for label, cells in zip(grid.labels, grid.cells, strict=True):
        yield row(Text(label.rjust(first)), cells, first, widths)


def _natural(grid: Grid) -> list[int]:
    columns = list(zip(*grid.cells, strict=True)) if grid.cells else [()] * len(grid.headings)
    return [
        max(cell_len(heading), *(cell.cell_len for cell in column), 1)
        for heading, column in zip(grid.headings, columns, strict=True)
    ]


def _label_width(grid: Grid) -> int:
    return max(map(cell_len, (grid.corner, *grid.labels)))


def _greedy(widths: Sequence[int], room: int) -> Iterator[range]:
    start, used = 0, 0
    for column, each in enumerate(widths):
        if column > start and used + _GAP + each > room:
            yield range(start, column)
            start, used = column, 0
        used += _GAP + each
    yield range(start, len(widths))
