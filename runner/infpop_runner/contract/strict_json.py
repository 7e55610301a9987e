"""Parse JSON from users with the same verdict in every process.

Python's own parser accepts NaN, keeps the last of duplicate keys, and refuses deep nesting and long integers depending
on the depth of its caller and on settings of the interpreter. A text that the operator accepts must not fail in the
runner, so these cases have fixed limits here.
"""

import json
import re
from collections.abc import Callable
from typing import Any

Pairs = list[tuple[str, Any]]

MOST_LEVELS = 64
MOST_DIGITS = 640  # Python converts an integer of this length under any setting
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SURROGATE = re.compile("[\ud800-\udfff]")


class StrictJsonError(ValueError):
    """The text is not acceptable; `message` continues a sentence that names the text, `remedy` is one of its own."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def parse_json(text: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value of a JSON text.

    Raises:
        StrictJsonError: it is not JSON, is nested too deeply, repeats a key, or has a number that not every reader has.
    """
    return _parse(text, constant=_refuse_constant, make_object=_object_without_repeats)


def parse_object_with(wanted: str, text: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value of a JSON text of which only the key `wanted` is used.

    What is not used may repeat, and may be NaN or infinite, as pandas and Python write it.

    Raises:
        StrictJsonError: it is not JSON, is nested too deeply, repeats the wanted key, or has too long an integer.
    """
    outermost: Pairs = []

    def make_object(pairs: Pairs) -> dict[str, Any]:
        outermost[:] = pairs  # the parser makes the outermost object last
        return dict(pairs)

    value = _parse(text, constant=float, make_object=make_object)
    _object_without_repeats([pair for pair in outermost if pair[0] == wanted])
    return value


def _parse(text: str, *, constant: Callable[[str], float], make_object: Callable[[Pairs], dict[str, Any]]) -> Any:  # noqa: ANN401
    if _levels(text) > MOST_LEVELS:
        raise StrictJsonError(f"is nested more than {MOST_LEVELS} levels deep", "Write a flat object")
    try:
        return json.loads(text, parse_int=_integer, parse_constant=constant, object_pairs_hook=make_object)
    except json.JSONDecodeError as error:
        raise StrictJsonError(f"is not JSON ({error.msg} at character {error.pos + 1})", "Correct it") from error


def find_surrogate(text: str) -> str | None:
    r"""Return the first half of a surrogate pair in `text` as JSON writes it, such as \ud83d; None if it has none.

    JSON can write such a half, but no encoding and no tokenizer can.
    """
    found = _SURROGATE.search(text)
    return None if found is None else f"\\u{ord(found[0]):04x}"


def _levels(text: str) -> int:
    if text.count("[") + text.count("{") <= MOST_LEVELS:
        return 0  # only an upper bound of the depth matters
    deepest = level = 0
    for character in _STRING.sub("", text):
        level += (character in "[{") - (character in "]}")
        deepest = max(deepest, level)
    return deepest


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise StrictJsonError(f"has an integer of {len(digits)} digits", f"Use at most {MOST_DIGITS} digits")
    return int(digits)


def _refuse_constant(name: str) -> float:
    raise StrictJsonError(f"has {name}, which is not JSON", "Write a number, null or a text")


def _object_without_repeats(pairs: Pairs) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise StrictJsonError(f"has the key {json.dumps(repeated)[:60]} twice", "Keep one of the two")
    return found
