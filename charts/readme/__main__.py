"""Write the chart's README."""

from pathlib import Path

from readme import render_page

PAGE = Path(__file__).parent / "page.md"
CHART = Path(__file__).parents[1] / "infpop"


def rendered_readme() -> str:
    """Return the README as it has to be."""
    values = (CHART / "values.yaml").read_text()
    rules = (CHART / "templates" / "_rules.tpl").read_text()
    return render_page(PAGE.read_text(), values=values, rules=rules)


if __name__ == "__main__":
    (CHART / "README.md").write_text(rendered_readme())
