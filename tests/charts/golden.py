"""The reviewed rendering of each preset. `PYTHONPATH=tests:charts python -m charts.golden` writes the files again."""

import re
from pathlib import Path

from charts.helm import PRESETS, template

PRESET_NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))
# Files with their own tests, which are the same in every preset.
_ELSEWHERE = re.compile(r"# Source: infpop/templates/(crd|dashboards|prometheusrule)\.yaml")


def reviewed_text(preset: str) -> str:
    """Return the rendering of a preset, without the CRD, the dashboards and the alerts."""
    parts = re.split(r"^---\n", template(f"--values={PRESETS / preset}.yaml"), flags=re.MULTILINE)
    return "---\n".join(part for part in parts if part.strip() and not _ELSEWHERE.match(part))


def golden_file(preset: str) -> Path:
    """Return the file with the reviewed text."""
    return Path(__file__).parent / "golden" / f"{preset}.yaml"


if __name__ == "__main__":
    for name in PRESET_NAMES:
        golden_file(name).write_text(reviewed_text(name))
