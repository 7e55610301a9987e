"""Every example and every YAML block of the documentation is a study that InfPop accepts."""

import re
from pathlib import Path

import pytest

from infpop_operator.api.parse import parse_document

ROOT = Path(__file__).parents[2]
BLOCKS = [
    (page.name, block)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)
]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_a_valid_study(path: Path) -> None:
    """A user can start from any file in `examples/`."""
    assert parse_document(path.read_text(), source=path.name).metadata.name


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_a_study_in_the_documentation_is_valid(page: str, block: str) -> None:
    """What the README shows can be copied and used."""
    assert parse_document(block, source=page).spec.node_pools
