"""The wheel installs what was tested from the tree."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Build the wheel as an installer would and return the names of its files."""
    target = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([str(uv), "build", "--quiet", "--wheel", "--out-dir", str(target), str(ROOT)], check=True)
    (wheel,) = target.glob("*.whl")
    return frozenset(zipfile.ZipFile(wheel).namelist())


def test_every_module_the_prompts_and_the_prior_are_in_the_wheel(wheel_names: frozenset[str]) -> None:
    """An image that installs the wheel has both complete packages, the built-in prompts and what the search knows."""
    files = [path.relative_to(ROOT / top) for top in ("operator", "runner") for path in (ROOT / top).rglob("*.*")]
    sources = [path for path in files if path.suffix in {".py", ".js", ".css"}]
    assert {str(path) for path in sources} <= wheel_names
    assert "infpop_runner/workload/data/code-infilling-v1.jsonl.gz" in wheel_names
    assert "infpop_operator/core/search/landscape/prior-v1.json" in wheel_names
    assert {"infpop/py.typed", "infpop_operator/py.typed", "infpop_runner/py.typed"} <= wheel_names


def test_nothing_else_is_in_the_wheel(wheel_names: frozenset[str]) -> None:
    """Installing the wheel makes no test, benchmark or example importable."""
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"infpop_operator", "infpop_runner", "infpop"}
