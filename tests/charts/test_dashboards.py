"""Checks of every dashboard without a Prometheus: it loads in Grafana, fits the grid, and matches the code."""

import itertools
import json
import re
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.dashboard import Dashboard

from charts.boards import FOLDER, load, panels, queries
from charts.known_metrics import known_series
from dashboards import DASHBOARDS, render_dashboard
from dashboards.panels import COLUMNS

BOARDS = sorted(DASHBOARDS)
# Grafana's own panel types that are neither deprecated nor alpha.
CURRENT_PANELS = {"barchart", "bargauge", "stat", "table", "timeseries", "xychart"}


@pytest.fixture(autouse=True)
def _plugins() -> None:
    register_default_plugins()


@pytest.mark.parametrize("name", BOARDS)
def test_the_chart_ships_the_generated_dashboards(name: str) -> None:
    """The files are those that `make dashboards` writes."""
    assert (FOLDER / f"{name}.json").read_text() == render_dashboard(DASHBOARDS[name]())


def test_the_chart_ships_no_other_dashboard() -> None:
    """A dashboard that no code generates would become outdated."""
    assert sorted(path.stem for path in FOLDER.iterdir()) == BOARDS


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_loads_by_its_schema_and_loses_nothing(name: str) -> None:
    """Grafana's own model reads the file and writes the same content again."""
    board = Dashboard.from_json(load(name))
    targets = [target for panel in board.panels or () for target in getattr(panel, "targets", None) or ()]
    assert targets
    assert not any(isinstance(target, UnknownDataquery) for target in targets)
    assert json.loads(json.dumps(board, cls=JSONEncoder)) == load(name)


@pytest.mark.parametrize("name", BOARDS)
def test_a_panel_says_what_it_shows(name: str) -> None:
    """Every panel has a title, an explanation, a unit or its own columns, and a current type."""
    for panel in panels(load(name)):
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["type"] in CURRENT_PANELS, panel["title"]
        assert panel["type"] == "table" or "unit" in panel["fieldConfig"]["defaults"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_goes_to_the_chosen_data_source(name: str) -> None:
    """If the user has several Prometheus servers, panels and variables query the one that the variable names."""
    board = load(name)
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = [variable for variable in board["templating"]["list"] if variable["type"] == "query"]
    asked = [*variables, *panels(board), *(target for panel in panels(board) for target in panel["targets"])]
    assert [each["datasource"] for each in asked] == [chosen] * len(asked)


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_is_defined_before_it_is_used(name: str) -> None:
    """An undefined variable would stay in the query unexpanded."""
    defined: set[str] = set()
    for variable in load(name)["templating"]["list"]:
        query = variable["query"] if isinstance(variable["query"], str) else variable["query"]["query"]
        assert _variables(query) <= defined, variable["name"]
        defined.add(variable["name"])
    for query in queries(name):
        assert _variables(query.text) <= defined, query.name


def test_a_study_is_chosen_by_data_source_namespace_study_and_pool() -> None:
    """The user chooses what to show above the panels."""
    assert [each["name"] for each in load("study")["templating"]["list"]] == [
        "datasource",
        "namespace",
        "study",
        "pool",
    ]
    assert [each["name"] for each in load("operator")["templating"]["list"]] == ["datasource", "namespace"]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_fill_the_grid_and_do_not_overlap(name: str) -> None:
    """Every row of panels is 24 columns wide and none hides another."""
    places = [panel["gridPos"] for panel in load(name)["panels"]]
    cells = [cell for place in places for cell in _cells(place)]
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(COLUMNS))
    assert sum(place["w"] for place in places) % COLUMNS == 0


def test_every_study_of_the_overview_leads_to_its_own_dashboard() -> None:
    """Tables and charts link to the dashboard of the study, with its namespace and name and the same time range."""
    uid, chosen = load("study")["uid"], {each["name"] for each in load("study")["templating"]["list"]}
    links = [
        link["url"]
        for panel in panels(load("studies"))
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "links"
        for link in each["value"]
    ]
    assert len(links) == 5
    for url in links:
        path, _, query = url.partition("?")
        given = dict(part.partition("=")[::2] for part in query.split("&"))
        assert path == f"/d/{uid}"
        assert {name.removeprefix("var-") for name in given if name.startswith("var-")} == chosen - {"pool"}
        assert all(name in given["var-study"] for name in ("${__", "study}"))
        assert "${__url_time_range}" in given


@pytest.mark.parametrize("name", BOARDS)
def test_queries_name_metrics_that_are_shown(name: str) -> None:
    """A metric renamed in the code must be renamed here."""
    for query in queries(name):
        assert set(re.findall(r"\binfpop_\w+", query.text)) <= known_series(), query.name


def _variables(text: str) -> set[str]:
    return {name for name in re.findall(r"\$([a-z]\w*)", text) if not name.startswith("__")}


def _cells(place: dict[str, Any]) -> set[tuple[int, int]]:
    columns = range(place["x"], place["x"] + place["w"])
    lines = range(place["y"], place["y"] + place["h"])
    return set(itertools.product(columns, lines))
