"""The one style of all figures: readable in black and white, at the width of a column and of a page.

Series differ in colour, marker and line style together; colours are those of Okabe and Ito (2008), which people with
any colour blindness can tell apart. Colour maps rise steadily in lightness. Texts are never markup: names of studies
may contain `$`, which matplotlib would read as a formula, and characters that its font lacks.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

COLOUR_MAP = "viridis"  # as in the HTML report
COLOURS = ("#0072b2", "#d98a00", "#008a63", "#b4568a", "#3a9bd4", "#6b4fa0", "#7a6a00", "#4d5a68")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
MOST_SERIES = 12  # more lines cannot be told apart
_DPI = 150
_TITLE_WIDTH = 64  # characters of a line
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.4",
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same everywhere
    "font.size": 9,
    "grid.color": "0.9",
    "hatch.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.hashsalt": "infpop",  # the same numbers give the same file
    "text.parse_math": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Give a figure of that many inches in the style of the project."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # matplotlib draws boxes for a script that the font lacks, and warns. A user of `tune` cannot change the font.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield Figure(figsize=(width, height))


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix of `path`, without the time of day in it.

    Raises:
        ValueError: matplotlib has no format for the suffix.
        OSError: the file cannot be written.
    """
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    figure.savefig(path, dpi=_DPI, bbox_inches="tight", metadata=metadata)


def series(place: int) -> dict[str, Any]:
    """Return the look of a line: colour, marker and line style differ together."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place // len(COLOURS) % len(LINES)],
    }


def set_title(axes: Axes, title: str, *, pad: float = 6.0) -> None:
    """Set a title that is broken where it is too long."""
    axes.set_title("\n".join(wrap(title, _TITLE_WIDTH)), pad=pad)


def write_out_ticks(axis: Axis, unit: str = "") -> None:
    """Give a logarithmic axis ticks at 1, 2 and 5 of each decade, written out instead of as powers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,g}{unit}")


def clip(text: str, most: int) -> str:
    """Return a text of at most `most` characters: of a longer path its end, which tells models apart."""
    shown = text if len(text) <= most else text.rpartition("/")[2] or text
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
