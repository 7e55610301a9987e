"""Draw a landscape as a heat map, for documents and slides. Needs the extra `report` (matplotlib)."""

from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell

_MARKS = {
    CellState.INFEASIBLE: "x",
    CellState.RULED_OUT: "-",
    CellState.INVALID: "?",
    CellState.BROKEN: "!",
    CellState.RUNNING: "...",
}
_FAINT = 0.6  # above this fraction of the best, a cell is dark enough for white text


def save_heatmap(landscape: Landscape, path: Path, *, title: str, devices: str = "GPUs") -> None:
    """Write `landscape` to `path` as PNG, SVG or PDF (by its suffix).

    Measured cells are coloured and labelled in tokens/s, and the best one is framed. Other cells carry a mark: x for
    tried and infeasible, - for certain to fail, ? for invalid, ! for broken.

    Raises:
        ValueError: matplotlib has no format for the suffix.
    """
    figure = Figure(figsize=(1.2 + 0.8 * len(landscape.batch_sizes), 1.6 + 0.5 * len(landscape.gpu_counts)))
    axes = figure.add_subplot()
    highest = max((cell.throughput_tokens_per_second or 0.0 for cell in _cells(landscape)), default=0.0)
    values = [
        [row[column].throughput_tokens_per_second or float("nan") for row in landscape.rows]
        for column in range(len(landscape.gpu_counts))
    ]
    axes.imshow(values, cmap="YlGnBu", vmin=0, vmax=highest or 1, aspect="auto", origin="lower")
    for cell in _cells(landscape):
        _draw(axes, landscape, cell, highest)
    axes.set_xticks(range(len(landscape.batch_sizes)), [str(batch) for batch in landscape.batch_sizes])
    axes.set_yticks(range(len(landscape.gpu_counts)), [str(count) for count in landscape.gpu_counts])
    axes.set(xlabel="batch size", ylabel=devices, title=title)
    figure.savefig(path, bbox_inches="tight", dpi=120)


def _cells(landscape: Landscape) -> Iterator[LandscapeCell]:
    return (cell for row in landscape.rows for cell in row)


def _draw(axes: Axes, landscape: Landscape, cell: LandscapeCell, highest: float) -> None:
    x, y = landscape.batch_sizes.index(cell.batch_size), landscape.gpu_counts.index(cell.gpu_count)
    value = cell.throughput_tokens_per_second
    text = _MARKS.get(cell.state, "") if value is None else f"{value:,.0f}"
    colour = "white" if value is not None and value > _FAINT * highest else "0.25"
    axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)
    if cell.is_best:
        axes.plot(
            [x - 0.5, x + 0.5, x + 0.5, x - 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5, y - 0.5], "r", lw=2
        )
