"""The names of the resource, which charts, examples and documentation repeat as text."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from infpop_operator.api import resource

ROOT = Path(__file__).parents[2]
TEXTS = ("charts/infpop", "crds", "deploy", "docs", "examples", "README.md")
NAMES = {
    r"\binfpop\.io/v\d\w*": {resource.API_VERSION},
    r"\bThroughputStud\w*": {resource.KIND, f"{resource.KIND}List", "ThroughputStudies"},
    r"\bthroughputstud\w*": {resource.SINGULAR, resource.PLURAL},
    r"\btstud\w*": {resource.SHORT_NAME},
    r"\w+\.infpop\.io\b(?!_)": {resource.NAME},
}


def files() -> Iterator[Path]:
    """Yield the files that contain the resource's names."""
    for name in TEXTS:
        path = ROOT / name
        inside = (each for each in sorted(path.rglob("*")) if each.is_file() and each.suffix != ".pyc")
        yield from (path,) if path.is_file() else inside


@pytest.mark.parametrize("pattern", NAMES)
def test_names_in_text_files_match_the_resource(pattern: str) -> None:
    """A chart, an example or a page with another version, kind or plural would not work on a cluster."""
    found = {name for path in files() for name in re.findall(pattern, path.read_text(errors="replace"))}
    assert found
    assert found <= NAMES[pattern]


def test_the_names_are_those_that_studies_and_rights_are_written_with() -> None:
    """The names are public, so existing studies and Roles must stay valid."""
    assert (resource.GROUP, resource.VERSION, resource.KIND) == ("infpop.io", "v1alpha1", "ThroughputStudy")
    assert (resource.PLURAL, resource.SINGULAR, resource.SHORT_NAME) == (
        "throughputstudies",
        "throughputstudy",
        "tstudy",
    )
    assert (resource.NAME, resource.API_PATH) == ("throughputstudies.infpop.io", "apis/infpop.io/v1alpha1")
