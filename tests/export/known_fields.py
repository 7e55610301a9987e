"""Compare an output with the fields of another project, as `facts/*.json` lists them.

A list of facts has the fields' names and types, not the project's text. `name!` is required, `"*"` is any key,
`[type]` a list; a type is one of JSON Schema's names, several of them joined by `|`, or the only value allowed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "any": (str, bool, int, float, dict, list),
}


def known_facts(name: str) -> dict[str, Any]:
    """Return the facts of `facts/NAME.json`; they say where and at which version they were read."""
    facts: dict[str, Any] = json.loads((Path(__file__).parent / "facts" / f"{name}.json").read_text())
    assert facts["source"]
    assert facts["version"]
    return facts


def misfits(value: object, known: object, where: str = "") -> Iterator[str]:
    """Yield each place where `value` is not as the facts have it."""
    match known:
        case dict():
            yield from _object_misfits(value, known, where)
        case [item]:
            if isinstance(value, list):
                for index, entry in enumerate(value):
                    yield from misfits(entry, item, f"{where}[{index}]")
            else:
                yield f"{where}: {value!r} is no list"
        case str():
            kinds = known.split("|")
            fits = any(type(value) in _TYPES[kind] for kind in kinds) if kinds[0] in _TYPES else value == known
            if not fits:
                yield f"{where}: {value!r} is not {known}"


def _object_misfits(value: object, known: dict[str, Any], where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no object"
        return
    for name in known:
        if name.endswith("!") and name[:-1] not in value:
            yield f"{where}.{name[:-1]}: missing"
    for name, entry in value.items():
        kind = known.get(f"{name}!", known.get(name, known.get("*")))
        if kind is None:
            yield f"{where}.{name}: unknown"
        else:
            yield from misfits(entry, kind, f"{where}.{name}")
