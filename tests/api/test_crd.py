"""The CRD matches the models: structural, described at every depth, bounded, and up to date in `crds/`."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from api.cel_evaluation import Schema, defaulted, schema_of_object
from api.documents import changed
from api.rule_examples import EXAMPLES
from infpop_operator.api.cel import RULES, Rule
from infpop_operator.api.crd import NAME, build_crd, render_crd, structural
from infpop_operator.api.parse import parse_document, parse_object
from infpop_operator.core.errors import StudyError

ROOT = Path(__file__).parents[2]
FILE = ROOT / "crds" / "infpop.io_throughputstudies.yaml"
KEYWORDS = {
    "additionalProperties", "default", "description", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "items",
    "maximum", "maxItems", "maxLength", "maxProperties", "minimum", "minItems", "minLength", "minProperties",
    "nullable", "pattern", "properties", "required", "type", "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type", "x-kubernetes-validations",
}  # fmt: skip


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every part of a schema with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def kind(schema: Schema) -> str:
    """Return the type of a value; an integer-or-string value has a flag instead of a type."""
    if schema.get("x-kubernetes-int-or-string") is True:
        return "int or string" if "type" not in schema else "two kinds"
    return str(schema["type"])


def test_the_file_is_what_the_models_say() -> None:
    """A user who applies `crds/` gets the API of this source; `make crds` writes it."""
    assert render_crd() == FILE.read_text()


def test_the_command_prints_the_file() -> None:
    """An installed InfPop can set up a cluster without a checkout."""
    program = "from infpop_operator.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "crds"], capture_output=True, timeout=60, check=True)
    assert done.stdout == FILE.read_bytes()


def test_it_is_plain_yaml_of_a_size_that_kubectl_can_keep_in_an_annotation() -> None:
    """`kubectl apply` keeps the whole object in an annotation of at most 262,144 bytes."""
    assert len(json.dumps(build_crd())) < 150_000
    assert yaml.safe_load(FILE.read_text()) == build_crd()
    assert not re.search(r"[&*]id\d+", FILE.read_text())


def test_names_of_the_resource() -> None:
    """`kubectl get tstudy` and `kubectl get infpop` find studies."""
    spec = build_crd()["spec"]
    assert NAME == "throughputstudies.infpop.io"
    assert (spec["group"], spec["scope"], spec["versions"][0]["name"]) == ("infpop.io", "Namespaced", "v1alpha1")
    assert (spec["names"]["shortNames"], spec["names"]["categories"]) == (["tstudy"], ["infpop"])
    assert spec["versions"][0]["subresources"] == {"status": {}}


def test_columns_read_fields_that_exist() -> None:
    """Every column of `kubectl get` reads a field of the schema."""
    fields = {path for path, _ in nodes(schema_of_object())}
    for column in build_crd()["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = re.sub(r"\[\?.*?\]", "[]", column["jsonPath"]).removeprefix(".")
        assert path in fields or path == "metadata.creationTimestamp"


@pytest.mark.parametrize(("path", "schema"), list(nodes(schema_of_object())))
def test_every_part_is_structural(path: str, schema: Schema) -> None:
    """No keyword that an API server refuses, no float, a type everywhere, and no map of two kinds at once."""
    assert set(schema) <= KEYWORDS, path
    assert kind(schema) in {"array", "boolean", "integer", "object", "string", "int or string"}
    assert not {"properties", "additionalProperties"} <= set(schema)
    assert schema.get("default", 0) is not None


FIELDS = [
    (path, schema)
    for path, schema in nodes(schema_of_object())
    if path and not path.endswith(("[]", "{}")) and path != "metadata"
]


@pytest.mark.parametrize(("path", "schema"), FIELDS)
def test_every_field_is_described(path: str, schema: Schema) -> None:
    """`kubectl explain` describes every field at every depth."""
    assert len(schema["description"]) > 5, path


IN_SPEC = [(path, schema) for path, schema in nodes(schema_of_object()) if path.startswith("spec")]


@pytest.mark.parametrize(("path", "schema"), IN_SPEC)
def test_everything_that_a_user_writes_is_bounded(path: str, schema: Schema) -> None:
    """The cost of rules follows from bounds, and no study is larger than an API object may be."""
    match kind(schema):
        case "string":
            assert "maxLength" in schema or "enum" in schema, path
        case "array":
            assert "maxItems" in schema, path
        case "integer":
            assert {"minimum", "maximum"} <= set(schema), path
        case "int or string":
            assert {"minimum", "maximum", "maxLength"} <= set(schema), path
        case "object" if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


def test_whatever_has_a_default_in_python_has_the_same_in_the_schema() -> None:
    """A study means the same on a cluster and on one machine."""
    document = parse_object(changed({}))
    from_python = document.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]
    assert defaulted(changed({})["spec"], schema_of_object()["properties"]["spec"]) == from_python


def test_a_status_is_never_filled_in() -> None:
    """A status reports observations: it has no defaults, and no bound that could make its write fail."""
    for path, schema in nodes(schema_of_object()["properties"]["status"]):
        assert not {"default", "maxLength", "maxItems", "pattern"} & set(schema), path


def test_conditions_are_merged_by_type() -> None:
    """Two writers that each own one condition do not delete each other's."""
    conditions = schema_of_object()["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_pools_and_metrics_are_merged_by_name() -> None:
    """A server-side apply of one pool's image does not take the list from the owner of the study."""
    spec = schema_of_object()["properties"]["spec"]["properties"]
    for name in ("metrics", "nodePools"):
        assert (spec[name]["x-kubernetes-list-type"], spec[name]["x-kubernetes-list-map-keys"]) == ("map", ["name"])
        assert "name" in spec[name]["items"]["required"]


class _Odd(BaseModel):
    ratio: float = 1.0


class _Union(BaseModel):
    either: int | str = 1


class _Pair(BaseModel):
    pair: tuple[int, str] = (1, "a")


class _Free(BaseModel):
    anything: dict[str, Any] = {}


@pytest.mark.parametrize("model", [_Odd, _Union, _Pair, _Free])
def test_what_has_no_structural_form_is_an_error(model: type[BaseModel]) -> None:
    """A field without a structural form fails for its author, not in a user's API server."""
    with pytest.raises(ValueError, match=r"known|union"):
        structural(model.model_json_schema(), {})


class _Bounds(BaseModel):
    above: int = Field(gt=1, lt=9)
    word: Literal["one"] | None = None


def test_bounds_and_single_words_are_rewritten() -> None:
    """An exclusive bound becomes a flag of the bound, and a constant becomes an enum with one value."""
    properties = structural(_Bounds.model_json_schema(), {})["properties"]
    bounds = {"type": "integer", "minimum": 1, "maximum": 9, "exclusiveMinimum": True, "exclusiveMaximum": True}
    assert properties["above"] == bounds
    assert properties["word"] == {"type": "string", "enum": ["one"]}


def test_every_rule_has_an_example() -> None:
    """Every rule has a test, and no example remains of a removed rule."""
    assert sorted(EXAMPLES) == sorted(rule.name for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_the_api_server_refuses_is_refused_here_too(rule: Rule) -> None:
    """Local tuning, and an operator with an older CRD, enforce the same rules."""
    assert parse_object(changed(EXAMPLES[rule.name].valid))
    with pytest.raises(StudyError):
        parse_document(yaml.safe_dump(changed(EXAMPLES[rule.name].invalid)), source="study.yaml")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_says_what_to_do(rule: Rule) -> None:
    """A message ends with a remedy and names a field that exists."""
    assert re.search(r"\. (Use|Add|Remove|Give|Swap|List|Write) |: at most", rule.message)
    fields = {path for path, _ in nodes(schema_of_object())}
    assert rule.path in fields or rule.path == ""
    assert rule.field is None or f"{rule.path}.{rule.field}" in fields
