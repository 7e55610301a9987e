"""The Grafana dashboards as code: what each panel asks Prometheus, and how it is shown.

Pure; only `python -m dashboards` writes files. No panel invents a number: what was not measured is an empty cell. Every
dashboard works with any Prometheus that scrapes the runners and the operator, and shows "no data" if there is none.
"""

from dashboards.operator_board import build_operator_dashboard
from dashboards.render import render_dashboard
from dashboards.studies_board import build_studies_dashboard
from dashboards.study_board import build_study_dashboard

# By the name of the file in the chart.
DASHBOARDS = {
    "operator": build_operator_dashboard,
    "studies": build_studies_dashboard,
    "study": build_study_dashboard,
}

__all__ = [
    "DASHBOARDS",
    "build_operator_dashboard",
    "build_studies_dashboard",
    "build_study_dashboard",
    "render_dashboard",
]
