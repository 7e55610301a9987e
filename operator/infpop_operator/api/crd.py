"""Build the CustomResourceDefinition from the models in `spec` and `status_model`.

pydantic's JSON schema is not a structural schema. The conversion inlines references, turns `anyOf[T, null]` into an
optional T and `const` into a one-value `enum`, splits exclusive bounds, drops titles, null defaults and
`additionalProperties: false`, and leaves the pattern of a map's keys to a rule. An unknown keyword is an error.
"""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from infpop_operator.api.cel import rules_by_path
from infpop_operator.api.cel_rule import Rule
from infpop_operator.api.resource import GROUP, KIND, NAME, PLURAL, SHORT_NAME, SINGULAR, VERSION
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.status_model import StudyStatus

Schema = dict[str, Any]

_KEPT = frozenset(
    {
        "default", "description", "enum", "maximum", "maxItems", "maxLength", "maxProperties", "minimum", "minItems",
        "minLength", "minProperties", "pattern", "required", "x-kubernetes-int-or-string",
    }
)  # fmt: skip
_DROPPED = frozenset({"title", "propertyNames"})  # a rule validates the keys of maps
_NOTHING = (("default", None), ("additionalProperties", False))
# No number: Kubernetes APIs should not use floats.
_TYPES = frozenset({"array", "boolean", "integer", "object", "string"})
_READY = '.status.conditions[?(@.type=="Ready")].reason'
# Name, type, path and priority. Those of priority 0 are always shown, and fit in 80 columns with a name of 28
# characters; kubectl shows the others with `-o wide`.
_COLUMNS = (
    ("State", "string", _READY, 0),
    ("Trials", "string", ".status.progress", 0),
    ("Pool", "string", ".status.best.pool", 0),
    ("Tok/s", "string", ".status.best.throughput", 0),
    ("GPUs", "integer", ".status.best.gpuCount", 1),
    ("Batch", "integer", ".status.best.batchSize", 1),
    ("Model", "string", ".spec.model.name", 1),
    ("Engine", "string", ".spec.engine.name", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
_API_VERSION_HELP = "API version of the object; https://kubernetes.io/docs/reference/using-api"
_KIND_HELP = "kind of the object; https://kubernetes.io/docs/reference/using-api"
_STUDY = "A search for the configuration that serves a model fastest, by measurement."


def render_crd() -> str:
    """Return the CustomResourceDefinition as YAML; the text is deterministic."""
    head = "# Generated from the models in operator/infpop_operator/api by `make crds`.\n"
    return head + yaml.dump(build_crd(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def build_crd() -> Schema:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": [SHORT_NAME],
                "categories": ["infpop"],
            },
            "versions": [_version()],
        },
    }


def structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Return a JSON schema from pydantic as a structural schema.

    Raises:
        ValueError: it has a keyword or a union without a known structural form.
    """
    schema = _single(schema, definitions)
    result: Schema = {}
    for keyword, value in schema.items():
        result |= _convert(keyword, value, definitions)
    return result


def _version() -> Schema:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": _object_schema()},
    }


def _object_schema() -> Schema:
    spec = _schema_of(StudySpec) | {"description": "Desired state of the study."}
    status = _without_defaults(_schema_of(StudyStatus)) | {
        "description": "Observed state of the study: conditions, results and live runs."
    }
    _by_key(status["properties"]["conditions"], "type")
    for name in ("metrics", "nodePools"):  # the lists of a search space stay atomic: they have one field manager
        _by_key(spec["properties"][name], "name")
    for holder in (spec["properties"]["engine"], spec["properties"]["nodePools"]["items"]):
        _by_key_as_in_a_pod(holder["properties"]["podTemplate"]["properties"]["spec"])
    schema: Schema = {
        "type": "object",
        "description": _STUDY,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION_HELP},
            "kind": {"type": "string", "description": _KIND_HELP},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    for path, rules in rules_by_path().items():
        _node_at(schema, path)["x-kubernetes-validations"] = [_validation(rule) for rule in rules]
    return schema


def _schema_of(model: type[BaseModel]) -> Schema:
    tree = model.model_json_schema(schema_generator=_WholeDefaults)
    return structural({key: value for key, value in tree.items() if key != "$defs"}, tree.get("$defs", {}))


class _Dumper(yaml.SafeDumper):
    """Writes an object that is used twice in full both times, because some YAML readers support no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature of the base class
        return True


class _WholeDefaults(GenerateJsonSchema):
    """Writes the default of a nested object with all nested defaults, because rules validate it as written."""

    def encode_default(self, dft: Any) -> Any:  # noqa: ANN401 - the signature of the base class
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_none=True)
        return super().encode_default(dft)


def _single(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `schema` with its reference and its union with null resolved; sibling keywords win."""
    while "$ref" in schema or "anyOf" in schema:
        siblings = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
        if "$ref" in schema:
            inner = definitions[schema["$ref"].removeprefix("#/$defs/")]
        else:
            choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
            if len(choices) != 1 or len(choices) == len(schema["anyOf"]):
                raise ValueError(f"a union that is not 'T or null': {schema}")
            inner = choices[0]
        schema = {**inner, **siblings}
    return schema


def _convert(keyword: str, value: Any, definitions: Mapping[str, Any]) -> Schema:  # noqa: ANN401 - any JSON
    if keyword in _DROPPED or (keyword, value) in _NOTHING:
        return {}
    if keyword in _KEPT or (keyword == "type" and value in _TYPES) or (keyword, value) == ("format", "date-time"):
        return {keyword: value}
    if keyword == "const":
        return {"enum": [value]}
    if keyword in ("exclusiveMinimum", "exclusiveMaximum"):
        return {keyword.removeprefix("exclusive").lower(): value, keyword: True}
    return _convert_inner(keyword, value, definitions)


def _convert_inner(keyword: str, value: Any, definitions: Mapping[str, Any]) -> Schema:  # noqa: ANN401 - any JSON
    match keyword, value:
        case "items" | "additionalProperties", {}:
            return {keyword: structural(value, definitions)}
        case "properties", {}:
            return {keyword: {name: structural(inner, definitions) for name, inner in value.items()}}
        case "patternProperties", {} if len(value) == 1:
            return {"additionalProperties": structural(next(iter(value.values())), definitions)}
    raise ValueError(f"unknown structural form of {keyword}: {value!r}")


def _without_defaults(schema: Schema) -> Schema:
    """Return `schema` without defaults: the API server must not add values to a status that nothing observed."""
    result = {key: value for key, value in schema.items() if key != "default"}
    for keyword in ("items", "additionalProperties"):
        if keyword in result:
            result[keyword] = _without_defaults(result[keyword])
    if "properties" in result:
        result["properties"] = {name: _without_defaults(inner) for name, inner in result["properties"].items()}
    return result


def _by_key(schema: Schema, key: str) -> None:
    """Make server-side apply merge the items of a list by `key`, so that each item has its own field manager."""
    schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _by_key_as_in_a_pod(spec: Schema) -> None:
    """Give the lists of a Pod's spec the keys that they have in Kubernetes, so that the API server takes each once."""
    containers, volumes = (spec["properties"][name] for name in ("containers", "volumes"))
    fields = containers["items"]["properties"]
    _by_key(containers, "name")
    _by_key(volumes, "name")
    _by_key(fields["env"], "name")
    _by_key(fields["volumeMounts"], "mountPath")


def _node_at(schema: Schema, path: str) -> Schema:
    """Return the part of `schema` at `path`."""
    for part in path.split(".") if path else []:
        name = part.removesuffix("[]")
        schema = schema["properties"][name]
        schema = schema["items"] if part != name else schema
    return schema


def _validation(rule: Rule) -> Schema:
    validation: Schema = {"rule": rule.rule, "message": rule.message}
    if rule.field is not None:
        validation["fieldPath"] = f".{rule.field}"
    return validation
