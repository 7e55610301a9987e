"""Draw a landscape as a heat map, as in the terminal: batch sizes down, GPU counts across."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from infpop_operator.analysis.comparable import hardware_of
from infpop_operator.analysis.result_landscapes import ResultLandscape
from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell
from infpop_operator.report.figures.style import COLOUR_MAP, drawing, save, set_title
from infpop_operator.report.marks import BEST, MARKS, REUSED
from infpop_operator.report.words import number

_HATCHES = {
    CellState.INFEASIBLE: "xxx",
    CellState.RULED_OUT: "///",
    CellState.INVALID: "...",
    CellState.BROKEN: "++",
    CellState.RACED_OUT: "\\\\\\",
}
_MOST_NUMBERS = 400  # in cells; more cannot be read
_DARK = 0.45  # below this share of the colour map, white has more contrast than black
_WIDEST, _HIGHEST = 12.0, 14.0  # inches


def save_heatmap(landscape: Landscape, path: Path, *, title: str, devices: str = "GPUs") -> None:
    """Write `landscape` to `path` as PNG, SVG or PDF (by its suffix), as `heatmap_figure` draws it.

    Raises:
        ValueError: matplotlib has no format for the suffix.
        OSError: the file cannot be written.
    """
    with drawing(*_size(landscape)) as figure:
        _fill(figure, landscape, title, devices)
        save(figure, path)


def title_of(landscape: ResultLandscape) -> str:
    """Return what a landscape is about, in one line: model, engine, hardware and date."""
    row = landscape.first
    date = "" if landscape.newest is None else f", {landscape.newest:%Y-%m-%d}"
    simulated = " (simulated)" if row.simulated else ""
    return f"{row.model}, {row.engine} on {hardware_of(row)}{date}{simulated}"


def heatmap_figure(landscape: Landscape, *, title: str, devices: str = "GPUs") -> Figure:
    """Return `landscape` as a figure.

    Measured cells are coloured and labelled in tokens/s, and the best one is framed. Other cells have a mark and a
    hatch, which the legend explains.
    """
    with drawing(*_size(landscape)) as figure:
        _fill(figure, landscape, title, devices)
    return figure


def _size(landscape: Landscape) -> tuple[float, float]:
    columns, rows = len(landscape.gpu_counts), len(landscape.batch_sizes)
    return max(4.5, min(_WIDEST, 2.4 + 0.95 * columns)), min(_HIGHEST, 1.7 + 0.34 * rows)


def _fill(figure: Figure, landscape: Landscape, title: str, devices: str) -> None:
    axes = figure.add_subplot()
    values = [[_value(cell) for cell in row] for row in landscape.rows]
    image = axes.imshow(values, cmap=COLOUR_MAP, aspect="auto", interpolation="nearest")
    least, most = _range(landscape)
    image.set_clim(least, most)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.06)
    bar.set_label("tokens/s")
    bar.outline.set_visible(False)
    has_numbers = len(landscape.gpu_counts) * len(landscape.batch_sizes) <= _MOST_NUMBERS
    for y, row in enumerate(landscape.rows):
        for x, cell in enumerate(row):
            if has_numbers:
                _draw(axes, cell, (x, y), (least, most))
            if cell.is_best:
                _frame(axes, (x, y))
    _label(axes, landscape, devices)
    set_title(axes, title, pad=10)
    entries = list(_legend(landscape))
    if entries:
        axes.legend(
            handles=entries, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=1, handlelength=2, borderaxespad=0
        )


def _cells(landscape: Landscape) -> Iterator[LandscapeCell]:
    return (cell for row in landscape.rows for cell in row)


def _value(cell: LandscapeCell) -> float:
    return float("nan") if cell.throughput_tokens_per_second is None else cell.throughput_tokens_per_second


def _range(landscape: Landscape) -> tuple[float, float]:
    numbers = [cell.throughput_tokens_per_second for cell in _cells(landscape)]
    known = [each for each in numbers if each is not None]
    return (min(known), max(known)) if len(set(known)) > 1 else (0.0, max(known, default=1.0))


def _draw(axes: Axes, cell: LandscapeCell, place: tuple[int, int], limits: tuple[float, float]) -> None:
    x, y = place
    value = cell.throughput_tokens_per_second
    hatch = _HATCHES.get(cell.state)
    if value is None and cell.state not in {CellState.OUTSIDE, CellState.UNTRIED}:
        axes.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="0.94", edgecolor="0.75", hatch=hatch, linewidth=0)
        )
    is_dark = value is not None and (value - limits[0]) / (limits[1] - limits[0]) < _DARK
    axes.text(
        x,
        y,
        _text(cell),
        ha="center",
        va="center",
        fontsize=8,
        color="white" if is_dark else "black",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2} if value is None and _text(cell) else None,
    )


def _frame(axes: Axes, place: tuple[int, int]) -> None:
    """Frame a cell in black outside and white inside: seen on every colour, in print as well."""
    corner = (place[0] - 0.5, place[1] - 0.5)
    for colour, line in (("black", 4.5), ("white", 1.6)):
        frame = Rectangle(corner, 1, 1, fill=False, edgecolor=colour, linewidth=line, clip_on=False, zorder=3)
        axes.add_patch(frame)


def _text(cell: LandscapeCell) -> str:
    reused = "" if cell.reused_from is None else REUSED
    if cell.throughput_tokens_per_second is not None:
        return f"{f'{BEST} ' if cell.is_best else ''}{number(cell.throughput_tokens_per_second)}{reused}"
    bound = "" if cell.at_most_tokens_per_second is None else number(cell.at_most_tokens_per_second)
    return f"{MARKS[cell.state][0] if cell.state in MARKS else ''}{bound}{reused}"


def _label(axes: Axes, landscape: Landscape, devices: str) -> None:
    for set_ticks, names in ((axes.set_xticks, landscape.gpu_counts), (axes.set_yticks, landscape.batch_sizes)):
        step = max(1, len(names) // 24)
        set_ticks(range(0, len(names), step), [str(name) for name in names[::step]])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel=devices, ylabel="batch size")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _legend(landscape: Landscape) -> Iterator[Patch]:
    counted = Counter(cell.state for cell in _cells(landscape))
    best = landscape.best
    if best is not None:
        yield Patch(facecolor="white", edgecolor="black", linewidth=1.6, label=f"{BEST} best")
    for state, (mark, meaning) in MARKS.items():
        if counted[state] and mark:
            hatch = _HATCHES.get(state)
            label = f"{mark} {meaning} ({counted[state]})"
            yield Patch(facecolor="0.94", edgecolor="0.6", hatch=hatch, linewidth=0, label=label)
    if any(cell.reused_from for cell in _cells(landscape)):
        yield Patch(facecolor="none", label=f"{REUSED} measured by another study")
    if landscape.collapsed_extra:
        names = ", ".join(landscape.collapsed_extra)
        yield Patch(facecolor="none", label=f"of several values of {names} a cell shows the best")
