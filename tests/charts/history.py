"""Earlier versions of the chart."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from charts.boards import ROOT


def chart_of(commit: str, folder: Path) -> Path:
    """Return the chart of a commit; skip the test if there is no git history."""
    packed = _git("archive", commit, "charts/infpop")
    if packed.returncode == 0:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
    elif not (ROOT / ".git").exists() or _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        pytest.skip(f"there is no {commit} here")
    else:
        raise AssertionError(packed.stderr.decode())
    return folder / "charts" / "infpop"


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    git = shutil.which("git")
    if git is None:
        pytest.skip("needs git")
    return subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, check=False)
