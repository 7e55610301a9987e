"""The packages can be imported, installed and found from any directory."""

import re
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("root", "packages"), [("operator", {"infpop", "infpop_operator"}), ("runner", {"infpop_runner"})]
)
def test_source_roots_are_no_packages(root: str, packages: set[str]) -> None:
    """With an `__init__.py`, `operator/` would hide the standard library's module of that name."""
    assert not (ROOT / root / "__init__.py").exists()
    assert {entry.name for entry in (ROOT / root).iterdir() if entry.name != "__pycache__"} == packages


def test_the_standard_library_works_in_the_repository_root() -> None:
    """A Python started in the repository root imports the standard library's `operator` module."""
    program = "import collections, operator; assert operator.add(1, 2) == 3"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_the_programs_of_the_tests_are_built_before_anything_is_installed() -> None:
    """What `make control-plane` imports is there while `make setup` still installs beside it."""
    recipe = re.search(r"^control-plane:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    modules = re.findall(r" -m (\S+)", recipe[1])
    assert len(modules) > 1
    program = f"import {', '.join(modules)}"
    subprocess.run([sys.executable, "-S", "-c", program], env={"PYTHONPATH": "tests"}, cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("name", ["infpop", "infpop-runner"])
def test_commands_resolve(name: str) -> None:
    """Each console script names a function that exists."""
    (script,) = entry_points(group="console_scripts", name=name)
    assert callable(script.load())


def test_the_runner_says_what_a_base_install_lacks() -> None:
    """Without its extra the runner names the package and the command that installs it, and still has a version."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None; from infpop_runner.command import main; exit(main())"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", program, *arguments]
        return subprocess.run(argv, cwd=ROOT / "runner", capture_output=True, text=True, check=False, timeout=60)

    missing, known = run(), run("--version")
    assert missing.returncode == 2
    assert "infpop-runner needs prometheus_client, which is not installed here" in missing.stderr
    assert "pip install '.[runner]'" in missing.stderr
    assert (known.returncode, known.stdout) == (0, f"infpop-runner {version('infpop')}\n")


@pytest.mark.parametrize("package", ["operator/infpop", "operator/infpop_operator", "runner/infpop_runner"])
def test_packages_say_that_they_are_typed(package: str) -> None:
    """Without the marker a type checker ignores every annotation here."""
    assert (ROOT / package / "py.typed").exists()
