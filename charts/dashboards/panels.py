"""The kinds of panels in the dashboards, each with the style that all panels of the kind share."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeValueMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.frame import DATASOURCE

TOKENS_PER_SECOND = "suffix: tokens/s"
COLUMNS = 24  # the width of Grafana's grid
# The report's colour map viridis in eight steps, because not every version of Grafana has it as a scheme. Its colours
# differ in brightness, so they can be told apart without colour vision; the best is bright, not red.
_VIRIDIS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")


class Described(Protocol):
    """The methods that the builders of all kinds of panels have."""

    def title(self, title: str) -> Self:
        """Set the panel's title."""
        ...

    def description(self, description: str) -> Self:
        """Set the text of the panel's (i) tooltip."""
        ...

    def datasource(self, datasource: model.DataSourceRef) -> Self:
        """Set the data source of the panel's queries."""
        ...

    def span(self, w: int) -> Self:
        """Set the width in columns."""
        ...

    def height(self, h: int) -> Self:
        """Set the height in grid units."""
        ...

    def no_value(self, no_value: str) -> Self:
        """Set the text that the panel shows without data."""
        ...


Panel = TypeVar("Panel", bound=Described)


def place(panel: Panel, title: str, description: str, *, width: int, height: int) -> Panel:
    """Return the panel with its title, explanation and size; without data it shows "no data"."""
    described = panel.title(title).description(description).datasource(DATASOURCE)
    return described.span(width).height(height).no_value("no data")


def over_time(expression: str, legend: str, *, ref: str = "A") -> Dataquery:
    """Return a query for the whole selected time range."""
    return _query(expression, ref).range().legend_format(legend).format(PromQueryFormat.TIME_SERIES)


def at_end(expression: str, legend: str, *, ref: str = "A") -> Dataquery:
    """Return a query for one value of each series, at the end of the selected time range."""
    return _query(expression, ref).instant().legend_format(legend).format(PromQueryFormat.TIME_SERIES)


def rows(expression: str, *, ref: str = "A") -> Dataquery:
    """Return a query for a table at the end of the time range: a row for each series, a column for each label."""
    return _query(expression, ref).instant().format(PromQueryFormat.TABLE)


def _query(expression: str, ref: str) -> Dataquery:
    return Dataquery().expr(expression).ref_id(ref).datasource(DATASOURCE)


def number(title: str, description: str, *queries: Dataquery, unit: str, width: int) -> stat.Panel:
    """Return large numbers, one for each series."""
    panel = place(stat.Panel(), title, description, width=width, height=4).unit(unit)
    for query in queries:
        panel = panel.with_target(query)
    return (
        panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.NONE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
    )


def judged(panel: stat.Panel, *, good_below: float, good_from: float | None = None) -> stat.Panel:
    """Return the panel with coloured numbers: green from `good_from`, if given, to below `good_below`; else red."""
    steps = [model.Threshold(color="green", value=good_from), model.Threshold(color="red", value=good_below)]
    if good_from is not None:
        steps.insert(0, model.Threshold(color="red"))
    thresholds = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
    return panel.thresholds(thresholds).color_mode(BigValueColorMode.VALUE)


def viridis() -> dashboard.ThresholdsConfig:
    """Return the colours of values, from dark for the lowest to bright for the highest."""
    share = 100 / len(_VIRIDIS)
    steps = [
        model.Threshold(color=colour, value=position * share if position else None)
        for position, colour in enumerate(_VIRIDIS)
    ]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.PERCENTAGE).steps(steps)


def lines(title: str, description: str, *queries: Dataquery, unit: str, width: int) -> timeseries.Panel:
    """Return lines over time, with an axis from zero; gaps in the data stay gaps."""
    panel = place(timeseries.Panel(), title, description, width=width, height=8).unit(unit).min(0)
    for query in queries:
        panel = panel.with_target(query)
    return (
        panel.draw_style(GraphDrawStyle.LINE)
        .line_interpolation(LineInterpolation.LINEAR)
        .show_points(VisibilityMode.AUTO)
        .span_nulls(span_nulls=False)
        .fill_opacity(5)
        .legend(legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )


def areas(title: str, description: str, *queries: Dataquery, unit: str, width: int) -> timeseries.Panel:
    """Return stacked areas over time, for parts of a whole."""
    stacked = common.StackingConfig().mode(StackingMode.NORMAL).group("A")
    return lines(title, description, *queries, unit=unit, width=width).stacking(stacked).fill_opacity(40)


def bars(title: str, description: str, query: Dataquery, *, unit: str, width: int, height: int) -> bargauge.Panel:
    """Return a horizontal bar with its number for each series."""
    return (
        place(bargauge.Panel(), title, description, width=width, height=height)
        .unit(unit)
        .min(0)
        .with_target(query)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .value_mode(BarGaugeValueMode.TEXT)
    )


def rows_and_columns(title: str, description: str, *queries: Dataquery, width: int, height: int) -> table.Panel:
    """Return a table of the queries' rows."""
    panel = place(table.Panel(), title, description, width=width, height=height)
    for query in queries:
        panel = panel.with_target(query)
    return panel.show_header(show_header=True).filterable(filterable=True)


def legend() -> common.VizLegendOptions:
    """Return the legend of all charts: a list below the chart."""
    shown = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return shown.show_legend(show_legend=True)


def step(name: str, **options: object) -> model.DataTransformerConfig:
    """Return a transformation of the queries' results, by its Grafana name."""
    return model.DataTransformerConfig(id_val=name, options=options)


def columns(names: Mapping[str, str], *, hidden: Sequence[str] = ()) -> model.DataTransformerConfig:
    """Return the transformation that orders and renames columns; it also hides the time."""
    return step(
        "organize",
        excludeByName=dict.fromkeys(("Time", *hidden), True),
        indexByName={column: position for position, column in enumerate(names)},
        renameByName=dict(names),
    )


def shown_as(properties: Mapping[str, object]) -> list[model.DynamicConfigValue]:
    """Return display properties of one column, for an override."""
    return [model.DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()]
