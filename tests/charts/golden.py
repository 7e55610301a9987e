"""What each preset renders, as reviewed. `PYTHONPATH=tests:charts python -m charts.golden` writes it anew."""

import re
from pathlib import Path

from charts.helm import PRESETS, template

PRESET_NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))
# What these hold has its own tests, and is the same in every preset.
_ELSEWHERE = re.compile(r"# Source: infpop/templates/(crd|dashboards|prometheusrule)\.yaml")


def reviewed_text(preset: str) -> str:
    """Return what a preset renders, without the definition, the dashboards and the alerts."""
    parts = re.split(r"^---\n", template(f"--values={PRESETS / preset}.yaml"), flags=re.MULTILINE)
    return "---\n".join(part for part in parts if part.strip() and not _ELSEWHERE.match(part))


def golden_file(preset: str) -> Path:
    """Return the file with the reviewed text."""
    return Path(__file__).parent / "golden" / f"{preset}.yaml"


if __name__ == "__main__":
    for name in PRESET_NAMES:
        golden_file(name).write_text(reviewed_text(name))
