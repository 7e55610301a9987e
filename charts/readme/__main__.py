"""Write the chart's README."""

from pathlib import Path

from readme import readme_of

CHART = Path(__file__).parents[1] / "infpop"

if __name__ == "__main__":
    (CHART / "README.md").write_text(readme_of(CHART))
