"""Evaluate the CRD's rules as an API server does, without one: fill in defaults, then check each rule in its scope.

Two Kubernetes functions are not part of CEL itself and have stand-ins here: `findAll` of its regular expressions, and
`quantity` with `compareTo`, which uses the parser of Kubernetes' own client. `cluster/test_crd.py` asks a real server.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from math import ceil
from typing import Any

import celpy
from celpy import celtypes
from kubernetes.utils import parse_quantity

from infpop_operator.api.crd import build_crd

Schema = dict[str, Any]


@cache
def schema_of_object() -> Schema:
    """Return the schema of the whole object from `crds/`."""
    return build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def defaulted(value: Any, schema: Schema) -> Any:  # noqa: ANN401 - any JSON
    """Return `value` with defaults filled in as the API server does."""
    if isinstance(value, list):
        return [defaulted(element, schema["items"]) for element in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    defaults = {name: inner["default"] for name, inner in schema["properties"].items() if "default" in inner}
    return {name: defaulted(inner, schema["properties"].get(name, {})) for name, inner in (defaults | value).items()}


def broken_messages(document: Schema, *, at: str | None = None) -> list[tuple[str, str]]:
    """Return the path and the message of each rule that `document` breaks; paths omit list indexes.

    Evaluation takes milliseconds for each rule: `at` limits it to the rules of one path.
    """
    schema = schema_of_object()
    return [
        (path, validation["message"])
        for path, value, node in _nodes(defaulted(document, schema), schema)
        for validation in node.get("x-kubernetes-validations", ())
        if at in {None, path} and not _holds(validation["rule"], json.dumps(value))
    ]


def _nodes(value: Any, schema: Schema, path: str = "") -> Iterator[tuple[str, Any, Schema]]:  # noqa: ANN401 - any JSON
    yield path, value, schema
    if isinstance(value, list):
        for element in value:
            yield from _nodes(element, schema["items"], f"{path}[]")
    elif isinstance(value, dict):
        for name in value.keys() & schema.get("properties", {}).keys():
            yield from _nodes(value[name], schema["properties"][name], f"{path}.{name}".removeprefix("."))


@cache
def _holds(rule: str, value: str) -> bool:
    return bool(_program(rule).evaluate({"self": celpy.json_to_cel(json.loads(value))}))


@cache
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    functions = {"findAll": _find_all, "quantity": _quantity, "compareTo": _compare}
    return environment.program(environment.compile(rule), functions=functions)


def _find_all(text: celtypes.StringType, pattern: celtypes.StringType) -> celtypes.Value:
    return celpy.json_to_cel([found[0] for found in re.finditer(pattern, text)])


def _quantity(text: celtypes.StringType) -> celtypes.IntType:
    return celtypes.IntType(ceil(parse_quantity(str(text))))


def _compare(one: celtypes.IntType, other: celtypes.IntType) -> celtypes.IntType:
    return celtypes.IntType((one > other) - (one < other))
