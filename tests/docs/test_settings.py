"""The pages name exactly the operator's settings, and the current version."""

import re
from pathlib import Path

from infpop_operator import __version__, settings

DOCS = Path(__file__).parents[2] / "docs"
NAMED = {
    name
    for page in ("install.md", "prometheus.md", "metrics.md")
    for name in re.findall(r"INFPOP_[A-Z_]+", (DOCS / page).read_text())
}


def test_every_setting_is_documented_and_no_other() -> None:
    """docs/install.md and docs/prometheus.md document all variables that the operator reads."""
    there_are = {value for name, value in vars(settings).items() if name.endswith("_VARIABLE")}
    assert there_are == NAMED


def test_images_are_pushed_under_the_version_that_the_chart_asks_for() -> None:
    """The commands in docs/install.md name the images that `make images` builds."""
    tags = re.findall(r"^docker push \S+:(\S+)$", (DOCS / "install.md").read_text(), re.MULTILINE)
    assert tags == [__version__, __version__]
