"""The chart as it was."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from charts.boards import ROOT


def chart_of(commit: str, folder: Path) -> Path:
    """Return the chart as it was in a commit; skip the test where there is no such commit, or no chart in it."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("needs git")
    command = [git, "archive", commit, "charts/infpop"]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if packed.returncode == 0:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
    chart = folder / "charts" / "infpop"
    if not (chart / "Chart.yaml").exists():
        pytest.skip(f"there is no chart in {commit}")
    return chart
