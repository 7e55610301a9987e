"""Render a comparison with rich: what may not be compared, or the bests, the summary and the cells of both sides.

Its tables fit into 60 columns: the names of models wrap, and no number is cut.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infpop_operator.analysis.compare import Cell, Comparison, Pair, Summary
from infpop_operator.analysis.rows import Interval
from infpop_operator.report.words import count, number, on_one_line

# Lines that a reader scrolls through; --json has all. Reasoned, not measured.
_MODELS_SHOWN = 20
_CELLS_SHOWN = 60


def render_comparison(comparison: Comparison) -> RenderableType:
    """Return the whole comparison."""
    return Group(*_parts(comparison))


def _parts(comparison: Comparison) -> Iterator[RenderableType]:
    yield _named("A", comparison.first)
    yield _named("B", comparison.second)
    if comparison.differences:
        yield Text("")
        yield Text("They are not compared, because these differ:", style="bold")
        yield from map(_item, comparison.differences)
        return
    yield from (_item(warning, style="yellow") for warning in comparison.warnings)
    yield Text("")
    yield Text("The best of each", style="bold")
    yield from _bests(comparison.best)
    if comparison.summary is not None:
        yield Text("The same configurations on both sides", style="bold")
        yield from _summary(comparison.summary)
    yield from _cells(comparison.cells)


def _named(letter: str, name: str) -> RenderableType:
    return _hanging(Text(letter, style="bold"), Text(on_one_line(name), overflow="fold"))


def _item(text: str, style: str = "") -> RenderableType:
    return _hanging(Text("-"), Text(on_one_line(text), style=style, overflow="fold"))


def _hanging(mark: Text, text: Text) -> Table:
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_row(mark, text)
    return line


def _bests(best: Sequence[Pair]) -> Iterator[RenderableType]:
    table = _table("model", "A at", "tokens/s", "B at", "tokens/s", "B / A")
    several = len({_landscape(pair)[1:] for pair in best}) > 1
    for pair in best[:_MODELS_SHOWN]:
        _, old, new = _landscape(pair)
        place = "" if not several else f", {_on(old)}" if old == new else f", {_on(old)} / {_on(new)}"
        table.add_row(
            Text(on_one_line(f"{_short(pair.model)}{place}"), overflow="fold"),
            _place(pair.first),
            number(pair.first.tokens_per_second),
            _place(pair.second),
            number(pair.second.tokens_per_second),
            _ratio(pair.ratio, pair.ratio_interval),
        )
    yield table
    notes = ["At: GPUs x batch size."]
    if any(pair.ratio_interval is None for pair in best):
        notes.append("Without an interval under B / A: the noise of a number is not known.")
    else:
        notes.append("Under B / A: its 95 % interval.")
    if len(best) > _MODELS_SHOWN:
        notes.append(f"{count(len(best) - _MODELS_SHOWN, 'more model')}: --json.")
    yield Text(" ".join(notes), style="dim")
    yield Text("")


def _short(model: str) -> str:
    """Return a model's name for a narrow column; the whole path of a directory stands over its cells."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model


def _summary(summary: Summary) -> Iterator[RenderableType]:
    sides = ((summary.only_first, "A"), (summary.only_second, "B"))
    unpaired = ", ".join(f"{amount} only in {side}" for amount, side in sides if amount)
    if summary.mean_ratio is None or summary.median_ratio is None:
        yield Text(f"None has a number on both sides ({unpaired}).")
        return
    ends = summary.median_ratio_interval
    interval = "fewer than 6, so no interval" if ends is None else f"95 % interval {_ends(ends)}"
    yield Text(
        f"{count(summary.pairs, 'pair')}: B is {summary.mean_ratio:.3g} times A in the geometric mean, "
        f"{summary.median_ratio:.3g} times in the median ({interval})."
        + (f" Cells without a partner: {unpaired}." if unpaired else "")
    )


def _cells(cells: Sequence[Pair]) -> Iterator[RenderableType]:
    left = _CELLS_SHOWN
    for (model, old, new), group in groupby(cells, key=_landscape):
        pairs = list(group)[:left]
        if not pairs:
            break
        left -= len(pairs)
        yield Text("")
        sides = f"A: {_on(old)}; B: {_on(new)}" if old != new else _on(old)
        yield Text(on_one_line(f"{model} ({sides})"), overflow="fold")
        yield _cell_table(pairs)
    if len(cells) > _CELLS_SHOWN:
        yield Text(f"{count(len(cells) - _CELLS_SHOWN, 'more pair')}: --json.", style="dim")


def _cell_table(pairs: Sequence[Pair]) -> RenderableType:
    table = _table("", "GPUs", "batch", "A", "B", "B / A", "95 % interval")
    for pair in pairs:
        table.add_row(
            "",
            str(pair.first.gpu_count),
            str(pair.first.batch_size),
            number(pair.first.tokens_per_second),
            number(pair.second.tokens_per_second),
            f"{pair.ratio:.3g}",
            "unknown" if pair.ratio_interval is None else _ends(pair.ratio_interval),
        )
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold", min_width=1)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _landscape(pair: Pair) -> tuple[str, tuple[str, str], tuple[str, str]]:
    return (pair.model, (pair.first.engine, pair.first.gpu_model), (pair.second.engine, pair.second.gpu_model))


def _on(side: tuple[str, str]) -> str:
    return f"{side[0]} on {side[1]}"


def _place(cell: Cell) -> str:
    return f"{cell.gpu_count} x {cell.batch_size}"


def _ratio(ratio: float, interval: Interval | None) -> str:
    return f"{ratio:.3g}" if interval is None else f"{ratio:.3g}\n{_ends(interval)}"


def _ends(interval: Interval) -> str:
    return f"{interval[0]:.3g} to {interval[1]:.3g}"
