"""Every example and every YAML block in the documentation is a study that InfPop accepts."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.documents import VALID
from infpop_operator.api.crd import build_crd
from infpop_operator.api.parse import parse_document

ROOT = Path(__file__).parents[2]
BLOCKS = [
    (page.name, block)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)
]


EXAMPLES = [path for path in sorted((ROOT / "examples").rglob("*.yaml")) if "ThroughputStudy" in path.read_text()]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_valid_study(path: Path) -> None:
    """A user can start from any file in `examples/`."""
    assert parse_document(path.read_text(), source=path.name).metadata.name


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_a_study_in_the_documentation_is_valid(page: str, block: str) -> None:
    """What the README shows can be copied and run, and a part of a `spec` can be copied into one."""
    if "kind:" not in block:
        block = yaml.safe_dump({**VALID, "spec": {**VALID["spec"], **yaml.safe_load(block)}})
    assert parse_document(block, source=page).spec.node_pools


def test_the_documentation_names_every_field_of_a_study() -> None:
    """`docs/study.md` names every field that a user can write."""
    text = re.sub(r"```.*?```", "", (ROOT / "docs" / "study.md").read_text(), flags=re.DOTALL)
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
    spec = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert _fields(spec) - named == set()


def _fields(schema: dict[str, Any]) -> set[str]:
    """Return the names of all fields of a schema, at every depth."""
    schema = schema.get("items", schema)
    properties: dict[str, Any] = schema.get("properties", {})
    return set(properties).union(*(_fields(inner) for inner in properties.values()))
