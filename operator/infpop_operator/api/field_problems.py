"""What pydantic found wrong with a study, as problems that name field, value and remedy."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from infpop_operator.api.fields import (
    ARGUMENT_PATTERN,
    ARGUMENT_VALUE_PATTERN,
    LINE_PATTERN,
    METRIC_PATTERN,
    PRODUCT_PATTERN,
)
from infpop_operator.api.guesses import listed_range, meant_decimal, meant_duration, meant_whole_number
from infpop_operator.api.quantities import CPU_PATTERN, DECIMAL_PATTERN, DURATION_PATTERN, MEMORY_PATTERN
from infpop_operator.api.refused_pod_fields import words_for_unknown, words_for_value
from infpop_operator.api.resource import API_VERSION, KIND
from infpop_operator.api.rules_pools import unsupported_resource
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.spec_pod_template import (
    ENV_NAME_PATTERN,
    ENV_VALUE_PATTERN,
    FIELD_PATH_PATTERN,
    KEY_PATH_PATTERN,
    MOUNT_PATH_PATTERN,
    RELATIVE_PATH_PATTERN,
)
from infpop_operator.core.errors import Problem
from infpop_operator.core.object_names import (
    DATA_KEY_PATTERN,
    IMAGE_PATTERN,
    LABEL_KEY_PATTERN,
    LABEL_VALUE_PATTERN,
    NAME_PATTERN,
    OBJECT_PATTERN,
)
from infpop_runner.contract import pinned_message

_SHOWN_CHARACTERS = 60  # enough to recognise a value, short enough for one terminal line
_KEY_ITSELF = "[key]"  # pydantic's marker that a key, not its value, is wrong

# pydantic's error type -> (message, remedy); the values of `ctx` fill the braces.
_MESSAGES: Mapping[str, tuple[str, str]] = {
    "missing": ("this field is required", "Add it"),
    "greater_than_equal": ("must be at least {ge}", "Use {ge} or more"),
    "less_than_equal": ("must be at most {le}", "Use {le} or less"),
    "too_short": ("needs at least {min_length} entries, has {actual_length}", "Add an entry"),
    "too_long": ("may have at most {max_length} entries", "Remove some"),
    "string_too_short": ("is too short", "Use at least {min_length} characters"),
    "string_too_long": ("is too long", "Use at most {max_length} characters"),
    "int_type": ("must be a whole number", "Write it without quotes or decimals, for example 8"),
    "trials_per_run": (
        "must be a whole number from 1 to {most}, or auto",
        "Write auto, or a number from 1 to {most} without quotes",
    ),
    "bool_type": ("must be true or false", "Write true or false without quotes"),
    "string_type": ("must be text", 'Put it in quotes, for example "0.85"'),
    "invalid_key": (
        "is a key here, and keys must be text",
        "Put it in quotes; if it is the end of a number with a decimal comma, write a dot",
    ),
    "list_type": ("must be a list", "Write it as [a, b, c]"),
    "dict_type": ("must be a mapping", "Write it as key: value"),
    "model_type": ("must be a mapping", "Write it as key: value"),
    "model_attributes_type": ("must be a mapping", "Write it as key: value"),
}
_OF_A_CLUSTER = ("the operator writes it", "Remove it")
# How to write what every study begins with.
_BEGINNINGS: Mapping[str, str] = {
    "apiVersion": f"Add apiVersion: {API_VERSION}",
    "kind": f"Add kind: {KIND}",
    "metadata": "Add metadata: {name: my-study}",
}
# What other tools call a field, in lower case and without underscores -> the field.
_OTHER_WORDS: Mapping[str, str] = {"maxduration": "deadline", "maxtime": "deadline", "timelimit": "deadline"}
_PATTERNS = {
    DURATION_PATTERN: ("is not a duration", 'Write for example "30s", "10m" or "1h30m"'),
    DECIMAL_PATTERN: ("is not a decimal", 'Write a plain decimal in quotes, for example "0.85"'),
    CPU_PATTERN: ("is not an amount of CPUs", 'Write for example 8, "1.5" or "500m"'),
    MEMORY_PATTERN: ("is not an amount of memory", 'Write it with its unit, for example "64Gi"'),
    NAME_PATTERN: (
        "is not a valid name",
        "Use lower-case letters, digits and dashes, a letter or digit at both ends",
    ),
    OBJECT_PATTERN: (
        "is not the name of an object",
        "Use lower-case letters, digits, dashes and dots, a letter or digit at both ends and beside each dot",
    ),
    ARGUMENT_PATTERN: ("is not an argument name", "Use the engine's Python name, for example max_num_batched_tokens"),
    ARGUMENT_VALUE_PATTERN: ("has a line break or another control character", "Write it on one line"),
    LINE_PATTERN: ("has a line break or another control character", "Write it on one line"),
    DATA_KEY_PATTERN: (
        "is not a key of a Secret or ConfigMap",
        "Use letters, digits, dashes, underscores and dots, but not two dots at its start",
    ),
    LABEL_KEY_PATTERN: ("is not the key of a label", "Write for example nvidia.com/gpu.product"),
    LABEL_VALUE_PATTERN: (
        "is not the value of a label",
        "Use letters, digits, dashes, underscores and dots, a letter or digit at both ends",
    ),
    IMAGE_PATTERN: (
        "is not an image",
        "Write it in lower case (the tag may be upper-case), for example registry.example.com/runner:1.0",
    ),
    METRIC_PATTERN: (
        "is not the name of a metric",
        "Use letters and digits, a lower-case letter first, as in gpuPower",
    ),
    PRODUCT_PATTERN: ("is not a pattern of a product name", 'Write for example "A100"'),
    ENV_NAME_PATTERN: ("is not the name of a variable", "Use letters, digits and underscores, as in NCCL_DEBUG"),
    ENV_VALUE_PATTERN: ("has a line break or another control character", "Write it on one line"),
    FIELD_PATH_PATTERN: ("is not a field of a Pod that a variable can have", "Use for example status.podIP"),
    MOUNT_PATH_PATTERN: (
        "is not a path where a volume can be mounted",
        "Write for example /data, with a slash at its beginning and none at its end",
    ),
    KEY_PATH_PATTERN: (
        "is not the path of a file in a volume",
        "Write for example certs/ca.crt, without . or .. as a part",
    ),
    RELATIVE_PATH_PATTERN: ("is not a path in a volume", "Write for example certs/ca.crt, without a slash at an end"),
}


def to_problems(errors: Sequence[ErrorDetails], hint: str) -> list[Problem]:
    """Return the problems of all errors; `hint` is added to the remedy of an unknown field.

    A required field that was only misspelt is one problem, that of the unknown field.
    """
    misspelt = {
        (*details["loc"][:-1], _meant_key(details["loc"])) for details in errors if details["type"] == "extra_forbidden"
    }
    told = (details for details in errors if details["type"] != "missing" or details["loc"] not in misspelt)
    return [_to_problem(details, hint) for details in told]


def _to_problem(details: ErrorDetails, hint: str) -> Problem:
    location, kind, context = details["loc"], details["type"], details.get("ctx", {})
    field = _path(location)
    if kind == "extra_forbidden":
        refused = _OF_A_CLUSTER if location == ("status",) else words_for_unknown(location)
        message, remedy = refused or ("unknown field", _unknown_key_remedy(location, hint))
        return Problem(field=field, value="", message=message, remedy=remedy)
    is_resource = location[-1:] == ("gpuResource",)
    other = unsupported_resource(str(details["input"])) if is_resource else words_for_value(location, kind)
    if other is not None:
        return Problem(field=field, value=_shown(details["input"]), message=other[0], remedy=other[1])
    if kind == "literal_error":
        return Problem(
            field=field,
            value=_shown(details["input"]),
            message=f"must be {context['expected']}",
            remedy=_choice_remedy(details["input"], str(context["expected"])),
        )
    message, remedy = _words(kind, context, details["msg"])
    guessed = _guess(kind, details["input"], location, str(context.get("pattern") or _pattern_at(location)))
    if guessed is not None:
        message, remedy = guessed
    value = "" if kind == "missing" else _shown(details["input"])
    return Problem(field=field, value=value, message=message, remedy=remedy)


def _guess(kind: str, value: object, location: Sequence[int | str], pattern: str) -> tuple[str, str] | None:
    """Return message and remedy if it can be guessed what the user meant by the value."""
    match kind:
        case "int_type":
            number = meant_whole_number(value)
            guess = None if number is None else (_MESSAGES[kind][0], f"Write {number}, without quotes or decimals")
        case "model_type" | "model_attributes_type":
            guess = _mapping_guess(value, location)
        case "missing" if len(location) == 1:
            remedy = _BEGINNINGS.get(str(location[0]))
            guess = None if remedy is None else (_MESSAGES[kind][0], remedy)
        case "too_short" if value == []:
            guess = "must not be empty", "Add an entry"
        case "string_type" if pattern == DURATION_PATTERN and isinstance(value, int | float):
            meant = meant_duration(str(value))
            remedy = _PATTERNS[pattern][1] if meant is None else f'Write "{meant}"'
            guess = "is a duration without a unit", remedy
        case "string_type":
            guess = "must be text", _text_remedy(value)
        case "list_type":
            guess = _list_guess(value)
        case "string_pattern_mismatch":
            guess = _pattern_guess(str(value), pattern)
        case _:
            guess = None
    return guess


def _mapping_guess(value: object, location: Sequence[int | str]) -> tuple[str, str] | None:
    """Return how to write a value alone as the mapping it belongs in, under that mapping's first key."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\w+):(\S+)", value)) and found[1] in _known_keys(location):
        return _MESSAGES["model_type"][0], f"Put a space after the colon: {found[1]}: {_cut(found[2])}"
    first = next(iter(_known_keys(location)), None)
    if first is None or isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return _MESSAGES["model_type"][0], f"Write {{{first}: {_cut(str(value))}}}"


def _list_guess(value: object) -> tuple[str, str] | None:
    if isinstance(value, dict):
        values = listed_range(value)
        alone = "must be a list", "Put a dash before its first key, or [ ] around it"
        return alone if values is None else ("ranges are not supported", f"Write the values: {values}")
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]+(\s*[,;]?\s+[0-9]+|,[0-9]+)+\s*", value):
        return "must be a list", f"Write it as [{_cut(', '.join(re.findall('[0-9]+', value)))}]"
    return None if value is None else ("must be a list", f"Write it as [{_shown(value)}]")


def _pattern_guess(text: str, pattern: str) -> tuple[str, str] | None:
    meant: str | None = None
    if pattern == ARGUMENT_PATTERN:
        remedy = _argument_remedy(text)
        return None if remedy is None else (_PATTERNS[pattern][0], remedy)
    if pattern == DURATION_PATTERN:
        meant = meant_duration(text)
    elif pattern == DECIMAL_PATTERN:
        if re.fullmatch(r"-[0-9.]+", text):
            return "must not be negative", _PATTERNS[pattern][1]
        meant = meant_decimal(text)
    return None if meant is None else (_PATTERNS[pattern][0], f'Did you mean "{meant}"?')


def _words(kind: str, context: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """Return message and remedy. The templates are all from this module, and only numbers are inserted."""
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return _PATTERNS.get(pattern, (f"does not match {pattern}", "Correct it"))
    if kind not in _MESSAGES:
        return otherwise, "Correct it"
    message, remedy = _MESSAGES[kind]
    return message.format_map(context), remedy.format_map(context)


def _argument_remedy(name: str) -> str | None:
    """Return how a flag of a command line (--max-num-seqs) or a name in camelCase is written as an argument."""
    plain = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.strip("-")).replace("-", "_").lower()
    if not re.fullmatch(ARGUMENT_PATTERN, plain):
        return None
    pinned = pinned_message(plain)
    return f"Write {plain}, the engine's Python name" if pinned is None else f"Remove it: {plain} {pinned}"


def _text_remedy(value: object) -> str:
    """Return how to write a value of another type as text: objects and lists as JSON."""
    try:
        text = value.isoformat() if isinstance(value, date) else json.dumps(value)
    except (TypeError, ValueError):
        return 'Put it in quotes, for example "0.85"'
    if len(text) > _SHOWN_CHARACTERS or value is None:
        return (
            "Write it as JSON in quotes" if isinstance(value, dict | list) else 'Put it in quotes, for example "0.85"'
        )
    return f"Write it as JSON in quotes: '{text}'" if isinstance(value, dict | list) else f'Put it in quotes: "{text}"'


def _path(location: Sequence[int | str]) -> str:
    """Return the path of a value; a key that is not a plain word is quoted and escaped."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part):
            path += f".{part}"
        elif part != _KEY_ITSELF:
            path += f"[{_cut(json.dumps(part))}]"
    return path.removeprefix(".") or "study"


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = type(value).__name__
    return _cut("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _choice_remedy(value: object, expected: str) -> str:
    choices = [part.strip("'") for part in expected.replace(" or ", ", ").split(", ")]
    if len(choices) == 1:
        return f"Write {choices[0]}"
    meant = str(value).lower()
    close = [choice for choice in choices if meant in (choice.lower(), choice.lower().rpartition("/")[2])]
    close += difflib.get_close_matches(str(value), choices, n=1)
    return f"Did you mean {close[0]!r}?" if close else "Choose one of these"


def _unknown_key_remedy(location: Sequence[int | str], hint: str) -> str:
    meant = _meant_key(location)
    if re.fullmatch(r"\w+:\S+", str(location[-1])):
        return "Put a space after the colon" + hint
    known_here = f"Known here: {', '.join(_known_keys(location[:-1]))}" if meant is None else f"Did you mean {meant}?"
    return known_here + hint.replace(". ", ". " if meant is None else " ", 1)


def _meant_key(location: Sequence[int | str]) -> str | None:
    """Return the known key that an unknown one was meant to be: by another word for it, or by its spelling."""
    known, key = _known_keys(location[:-1]), str(location[-1])
    other = _OTHER_WORDS.get(key.replace("_", "").lower())
    close = [other] if other is not None and other in known else difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return close[0] if close else None


def _known_keys(location: Sequence[int | str]) -> list[str]:
    model = _model_at(location)
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []


def _model_at(location: Sequence[int | str]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = ThroughputStudy
    for part in location:
        if isinstance(part, int) or model is None:
            continue
        field = _field_of(model, part)
        model = _model_in(field.annotation) if field is not None else None
    return model


def _field_of(model: type[BaseModel], alias: str) -> FieldInfo | None:
    return next((field for field in model.model_fields.values() if field.alias == alias), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - a type expression has no static type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _pattern_at(location: Sequence[int | str]) -> str | None:
    """Return the pattern of the text that belongs at the location; pydantic names it only if it got a text."""
    model = _model_at(location[:-1])
    field = None if model is None or not location else _field_of(model, str(location[-1]))
    return None if field is None else next(_patterns_in(field), None)


def _patterns_in(part: Any) -> Iterator[str]:  # noqa: ANN401 - a part of a type expression has no static type
    if isinstance(part, FieldInfo):
        for each in (*part.metadata, part.annotation):
            yield from _patterns_in(each)
    elif isinstance(pattern := getattr(part, "pattern", None), str):
        yield pattern
    for argument in get_args(part):
        yield from _patterns_in(argument)
