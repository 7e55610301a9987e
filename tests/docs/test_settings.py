"""The pages name every setting of the operator, and none that there is not."""

import re
from pathlib import Path

from infpop_operator import settings

DOCS = Path(__file__).parents[2] / "docs"
NAMED = {
    name
    for page in ("install.md", "prometheus.md", "metrics.md")
    for name in re.findall(r"INFPOP_[A-Z_]+", (DOCS / page).read_text())
}


def test_every_setting_is_documented_and_no_other() -> None:
    """Whoever reads docs/install.md and docs/prometheus.md has heard of all variables that the operator reads."""
    there_are = {value for name, value in vars(settings).items() if name.endswith("_VARIABLE")}
    assert there_are == NAMED
