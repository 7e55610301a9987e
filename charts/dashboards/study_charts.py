"""The charts of a study that transform their data: matrices, and one value against another."""

from grafana_foundation_sdk.builders import barchart, common, table, xychart
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models.common import (
    FieldTextAlignment,
    GraphGradientMode,
    StackingMode,
    TableCellBackgroundDisplayMode,
    TableColoredBackgroundCellOptions,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, FieldColorModeId
from grafana_foundation_sdk.models.xychart import SeriesMapping, XYShowMode

from dashboards import queries
from dashboards.panels import (
    TOKENS_PER_SECOND,
    columns,
    legend,
    over_time,
    place,
    rows,
    rows_and_columns,
    shown_as,
    step,
    viridis,
)

_GPUS, _BATCH = "GPUs", "batch size"
_CORNER = rf"{_GPUS}\{_BATCH}"  # Grafana's name for the first column of a matrix
_ENDED, _BEST = "ended trials", "best so far"


def landscape() -> table.Panel:
    """Return the heat map of each pool: a row for each GPU count, a column for each batch size."""
    text = (
        "Throughput of each configuration: generated tokens per second, from the study's status, also if it was "
        "measured before the selected time range; the brighter, the more. An empty cell has no number. After a change "
        "of the study a cell keeps the old number of its newest run in the time range until it is measured again. With "
        "searchSpace.extra a cell shows the best of its configurations."
    )
    query = rows(queries.landscape())
    panel = rows_and_columns("Landscape of $pool", text, query, width=24, height=9).filterable(filterable=False)
    panel = panel.repeat("pool").repeat_direction("h").max_per_row(2).decimals(0).align(FieldTextAlignment.CENTER)
    coloured = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    panel = (
        panel.cell_options(coloured).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS)).thresholds(viridis())
    )
    for transformation in (*_in_order(_BATCH), _matrix(row=_GPUS, column=_BATCH)):
        panel = panel.with_transformation(transformation)
    first_column = shown_as({"custom.cellOptions": {"type": "auto"}, "custom.width": 130})
    panel = panel.override_by_name(_CORNER, first_column)
    return panel.sort_by([common.TableSortByFieldState().display_name(_CORNER).desc(desc=False)])


def pools_side_by_side() -> barchart.Panel:
    """Return a group of bars for each configuration: one bar per pool, such as A100 and V100."""
    text = "The same configurations on different GPUs. A missing bar has no number."
    label = 'label_join({}, "configuration", " x ", "gpu_count", "batch_size")'
    query = rows(label.format(queries.landscape()))
    panel = place(barchart.Panel(), "Throughput by GPUs x batch size", text, width=16, height=9)
    panel = _plain(panel).unit(TOKENS_PER_SECOND).with_target(query)
    for transformation in (*_in_order(_BATCH, _GPUS), _matrix(row="configuration", column="pool")):
        panel = panel.with_transformation(transformation)
    return panel


def times_of_runs() -> barchart.Panel:
    """Return a stacked bar for each run: the time to load its engine, and the time that it measured."""
    text = "How each run spent its time. Loading is the price of one engine start; the trials of a run share it."
    load = f"max by (run) ({queries.last('infpop_model_load_seconds')})"
    panel = place(barchart.Panel(), "Load time against measure time", text, width=12, height=10)
    panel = panel.with_target(rows(load, ref="A")).with_target(rows(queries.measure_seconds_by_run(), ref="B"))
    names = {"run": "run", "Value #A": "load", "Value #B": "measure"}
    panel = panel.with_transformation(step("merge")).with_transformation(columns(names)).x_field("run")
    return _plain(panel).unit("s").stacking(StackingMode.NORMAL).x_tick_label_max_length(24)


def _plain(panel: barchart.Panel) -> barchart.Panel:
    """Return the bar chart with the common style: filled bars from zero, without numbers on them."""
    panel = panel.min(0).legend(legend()).show_value(VisibilityMode.NEVER)
    return panel.line_width(1).fill_opacity(80).gradient_mode(GraphGradientMode.NONE)


def best_so_far() -> xychart.Panel:
    """Return the best throughput of each pool against the number of trials that have ended."""
    text = (
        "The best that the search had found after each number of trials of the then newest round. Where the line is "
        "flat, later trials were not better. A new round starts at the left again."
    )
    best = queries.best_by("pool", "infpop_study_best_throughput_tokens_per_second")
    panel = place(xychart.Panel(), "Best so far on $pool", text, width=24, height=9)
    panel = panel.repeat("pool").repeat_direction("h").max_per_row(2)
    panel = panel.with_target(over_time(queries.ended_trials(), _ENDED, ref="A"))
    panel = panel.with_target(over_time(f"max({best})", _BEST, ref="B"))
    panel = panel.with_transformation(step("joinByField", byField="Time", mode="outer"))
    panel = panel.mapping(SeriesMapping.MANUAL).series([_against(_ENDED, _BEST)]).show(XYShowMode.POINTS_AND_LINES)
    panel = panel.override_by_name(
        _ENDED, shown_as({"unit": "none", "decimals": 0, "custom.axisLabel": "ended trials"})
    )
    return panel.unit(TOKENS_PER_SECOND).legend(legend())


def _against(x: str, y: str) -> xychart.XYSeriesConfig:
    return (
        xychart.XYSeriesConfig()
        .frame(xychart.XychartXYSeriesConfigFrame().matcher(xychart.MatcherConfig().id("byIndex").options(0)))
        .x(xychart.XychartXYSeriesConfigX().matcher(xychart.MatcherConfig().id("byName").options(x)))
        .y(xychart.XychartXYSeriesConfigY().matcher(xychart.MatcherConfig().id("byName").options(y)))
    )


def _in_order(*fields: str) -> tuple[DataTransformerConfig, ...]:
    """Return the transformations that sort rows by these labels as numbers; the last label is the primary key."""
    names = {"gpu_count": _GPUS, "batch_size": _BATCH}
    numbers = [{"targetField": field, "destinationType": "number"} for field in fields]
    sorts = (step("sortBy", fields={}, sort=[{"field": field, "desc": False}]) for field in fields)
    return columns(names), step("convertFieldType", fields={}, conversions=numbers), *sorts


def _matrix(*, row: str, column: str) -> DataTransformerConfig:
    return step("groupingToMatrix", rowField=row, columnField=column, valueField="Value", emptyValue="null")
