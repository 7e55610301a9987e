"""The packages of the operator's image are locked with hashes, and match the project's dependencies."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-operator.txt"
PYTHONS = ("3.11", "3.12", "3.13")


def locked() -> list[tuple[Requirement, int]]:
    """Return each locked package with the number of its hashes."""
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", LOCK.read_text()))
    return [(Requirement(entry.split("\\\n")[0]), entry.count("--hash=sha256:")) for entry in entries]


def pinned_for(python: str) -> dict[str, Requirement]:
    """Return the locked packages for Linux with this Python, by name."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    found = [each for each, _ in locked() if each.marker is None or each.marker.evaluate(environment)]
    return {canonicalize_name(each.name): each for each in found}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_the_project(python: str) -> None:
    """A raised or added dependency is in the image too: run `make lock` after changing pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = pinned_for(python)
    for wanted in map(Requirement, project["dependencies"] + project["optional-dependencies"]["operator"]):
        (specifier,) = pinned[canonicalize_name(wanted.name)].specifier
        assert specifier.operator == "=="
        assert wanted.specifier.contains(specifier.version), wanted


def test_every_package_is_locked_with_hashes() -> None:
    """A package that was changed on its index is refused."""
    assert [each.name for each, hashes in locked() if hashes == 0] == []


def test_the_operator_installs_no_engine() -> None:
    """No torch and no CUDA package: the operator only decides."""
    names = {each.name for each, _ in locked()}
    assert not [name for name in names if re.match(r"torch|vllm|transformers|nvidia|triton|accelerate", name)]


def test_the_lock_names_no_index() -> None:
    """The lock does not depend on the index mirror with which it was created."""
    assert not re.search(r"://|--index|--find-links|--trusted-host", LOCK.read_text())
