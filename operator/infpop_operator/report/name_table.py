"""A table with a name and some numbers in each row. No number is ever cut, and no name either.

A name that is too long goes on in the next line. Where that leaves too little room for names, each name has a line of
its own above its numbers. Numbers that do not fit side by side go into further tables below.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from infpop_operator.report.landscape_layout import row, rule, split, total

_INDENT = 2  # of the further lines of a name
_LEAST_NAME = 16  # a name that is broken into shorter pieces cannot be read; reasoned, not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTable:
    """Rows of a name and texts, each text below its heading; `name` is the heading of the names."""

    name: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Text, tuple[Text, ...]], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = self._widths()
        longest = max((cell_len(self.name), *(name.cell_len for name, _ in self.rows)))
        first = longest if longest <= _LEAST_NAME else min(longest, options.max_width - total(widths))
        first = 0 if first < min(longest, _LEAST_NAME) else first
        names = _Names(console=console, beside=first, width=first or options.max_width)
        for position, columns in enumerate(split(widths, options.max_width - first)):
            if position:
                yield Text("")
            yield from self._table(columns, names)

    def _widths(self) -> list[int]:
        return [
            max((cell_len(heading), *(cells[column].cell_len for _, cells in self.rows)))
            for column, heading in enumerate(self.headings)
        ]

    def _table(self, columns: range, names: "_Names") -> Iterator[Text]:
        widths = [self._widths()[column] for column in columns]
        yield from names.line(Text(self.name), [Text(self.headings[column]) for column in columns], widths)
        yield rule(names.beside + total(widths))
        for name, cells in self.rows:
            yield from names.line(name, [cells[column] for column in columns], widths)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """Where the names of a table stand: in the first `beside` columns, or if that is 0 above their numbers."""

    console: Console
    beside: int
    width: int

    def line(self, name: Text, cells: list[Text], widths: list[int]) -> Iterator[Text]:
        """Yield the name in as many lines as it needs, with the cells beside the first one, or below the last one."""
        start, *rest = self._pieces(name)
        if self.beside:
            yield row(start, cells, self.beside, widths)
            yield from rest
        else:
            yield from (start, *rest)
            yield row(Text(), cells, 0, widths)

    def _pieces(self, name: Text) -> list[Text]:
        if name.cell_len <= self.width:
            return [Text(no_wrap=True, overflow="ignore").append_text(name)]
        first, *rest = name.wrap(self.console, self.width - _INDENT, overflow="fold")
        pieces = [first, *(Text(" " * _INDENT).append_text(piece) for piece in rest)]
        for piece in pieces:
            piece.rstrip()
            piece.no_wrap, piece.overflow = True, "ignore"
        return pieces
