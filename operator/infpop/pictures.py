"""Results as matplotlib figures, in the style of the report. Needs the extra `report`."""

from matplotlib.figure import Figure

from infpop_operator.analysis.result_landscapes import to_landscapes, to_picture
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.report.figures.heatmap import heatmap_figure, title_of


def heatmap(table: ResultTable) -> Figure:
    """Return the heat map of a table that has one landscape."""
    (landscape,) = to_landscapes(table)
    title = title_of(landscape)
    return heatmap_figure(to_picture(landscape), title=title, devices=f"{landscape.first.device}s")
