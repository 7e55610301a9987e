"""What all dashboards share: the title line, the variables, the links between them."""

from collections.abc import Callable, Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Panel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

TAG = "infpop"
DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
# Row title -> functions that build its panels.
Rows = Mapping[str, Sequence[Callable[[], Builder[Panel]]]]
_ALL = VariableOption(selected=True, text=["All"], value=["$__all"])


def empty_dashboard(title: str, *, uid: str, description: str, since: str) -> Dashboard:
    """Return a dashboard without panels whose time range is from `since` (such as `now-6h`) to now."""
    to_others = DashboardLink("InfPop").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(as_dropdown=True)
    return (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time(since, "now")
        .timezone("browser")
        .refresh("30s")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(to_others.include_vars(include_vars=True).keep_time(keep_time=True))
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )


def with_rows(board: Dashboard, rows: Rows) -> Dashboard:
    """Return the dashboard with a titled row of panels for each entry of `rows`."""
    for title, panels in rows.items():
        board = board.with_row(Row(title))
        for build in panels:
            board = board.with_panel(build())
    return board


def one_of(name: str, label: str, query: str) -> QueryVariable:
    """Return a variable with a single selected value, such as a namespace."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def some_of(name: str, label: str, query: str) -> QueryVariable:
    """Return a variable with several selected values, initially all of them."""
    return one_of(name, label, query).multi(multi=True).include_all(include_all=True).current(_ALL)
