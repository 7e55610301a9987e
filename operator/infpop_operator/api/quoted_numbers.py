"""Write numbers that should be text as text, to check the rest of a document in the same pass."""

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

_NO_TEXT = "string_type"  # pydantic's name of the error


def with_quotes(tree: Mapping[str, Any], errors: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return a copy of `tree` in which each number that has to be text is text; None if there is none.

    Args:
        tree: the document.
        errors: pydantic's errors about it.
    """
    places = [error["loc"] for error in errors if error["type"] == _NO_TEXT and _is_number(error["input"])]
    if not places:
        return None
    quoted = copy.deepcopy(dict(tree))
    for *parents, last in places:
        owner: Any = quoted
        for key in parents:
            owner = owner[key]
        owner[last] = str(owner[last])
    return quoted


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
