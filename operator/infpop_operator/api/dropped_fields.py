"""Find the fields that an API server drops, because its CustomResourceDefinition is that of another version."""

from collections.abc import Iterator, Mapping
from typing import Any

from infpop_operator.api.crd import build_crd
from infpop_operator.api.resource import KIND, VERSION

Schema = Mapping[str, Any]


def dropped_fields(served: Schema) -> tuple[str, ...]:
    """Return the fields of this version that are unknown there, as in `spec.engine.podTemplate`.

    Args:
        served: what the API server publishes of the group as OpenAPI v3.

    Returns:
        The fields in the order of the definition, without what is below one of them; none if the kind is not published.
    """
    schemas = served.get("components", {}).get("schemas", {})
    theirs = next((schema for name, schema in schemas.items() if name.endswith(f".{VERSION}.{KIND}")), None)
    if theirs is None:
        return ()
    ours = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return tuple(field for part in ("spec", "status") for field in _unknown(_of(ours, part), _of(theirs, part), part))


def _unknown(ours: Schema, theirs: Schema, path: str) -> Iterator[str]:
    if "items" in ours:
        yield from _unknown(ours["items"], theirs.get("items", {}), f"{path}[]")
    known = theirs.get("properties", {})
    for name, inner in ours.get("properties", {}).items():
        if name in known:
            yield from _unknown(inner, known[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"


def _of(schema: Schema, part: str) -> Schema:
    found: Schema = schema.get("properties", {}).get(part, {})
    return found
