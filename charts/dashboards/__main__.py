"""Write the dashboards into the chart."""

from pathlib import Path

from dashboards import DASHBOARDS, render_dashboard

FOLDER = Path(__file__).parents[1] / "infpop" / "dashboards"

if __name__ == "__main__":
    for name, build in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(render_dashboard(build()))
