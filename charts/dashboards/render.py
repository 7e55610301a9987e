"""Render a dashboard as the text of its file: the same dashboard gives the same bytes."""

import json

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder


def render_dashboard(builder: Dashboard) -> str:
    """Return the dashboard as JSON, with its panels numbered from 1 in order, and a final newline."""
    dashboard = builder.build()
    for number, panel in enumerate(dashboard.panels or (), start=1):
        panel.id_val = number
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
