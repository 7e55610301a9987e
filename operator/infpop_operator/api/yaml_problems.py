"""What is wrong with a text that is not YAML: in which line, and what to do, in words of a user and not of a parser."""

import re

import yaml

_CORRECT = "Correct the YAML"
_INDENTATION = "Check the indentation. The keys of a mapping start in the same column"
_LONGEST = 300
# Part of what the YAML parser says -> what to do about it.
_REMEDIES = {
    "<block mapping start>": _INDENTATION,
    "<block end>": _INDENTATION,
    "mapping values are not allowed": "Check the indentation, and put a text with a colon in quotes",
    "is used twice": "Keep one of them",
    "only one alias is supported": "Write the other keys out",
}


def yaml_problem(text: str, error: Exception) -> tuple[str, str]:
    """Return what is wrong with `text` and what to do, from what the YAML parser raised.

    Args:
        text: the whole text.
        error: of the parser.
    """
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line} has a control character (U+{_code(error.character):04X})", "Remove it"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        what = " ".join(str(error).split())[:_LONGEST]
        return f"is not valid YAML: {what}", _remedy(what)
    rows = text.splitlines()
    row = rows[mark.line] if mark.line < len(rows) else ""
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return f"line {mark.line + 1} is indented with a tab", "Indent with spaces"
    context, problem = (" ".join((getattr(error, part) or "").split()) for part in ("context", "problem"))
    opened = getattr(error, "context_mark", None)
    if (known := _known(context, problem, opened.line + 1 if opened is not None else None)) is not None:
        message, remedy = known
        return f"is not valid YAML in line {mark.line + 1}: {message}", remedy
    what = ", ".join(part for part in (context, problem) if part)[:_LONGEST]
    return f"is not valid YAML in line {mark.line + 1}: {what}", _remedy(what)


def _known(context: str, problem: str, opened: int | None) -> tuple[str, str] | None:
    """Return message and remedy for what people do, None for anything else; `opened` is the line of the beginning."""
    if found := re.search(r"could not determine a constructor for the tag '(?P<tag>[^']*)'", problem):
        return f"the tag {found['tag']} is not supported", "Remove it"
    if found := re.search(r"found undefined alias '(?P<name>[^']*)'", problem):
        return f"the alias *{found['name']} has no anchor", f"Put &{found['name']} before its value, or write the value"
    if "quoted scalar" in context and opened is not None:
        return f"the quote that line {opened} opens is not closed", "Close it"
    if "flow" in context and opened is not None:
        bracket = "[" if "sequence" in context else "{"
        return f"the {bracket} of line {opened} is not closed", f"Close it with {']' if bracket == '[' else '}'}"
    return None


def _remedy(what: str) -> str:
    return next((remedy for words, remedy in _REMEDIES.items() if words in what), _CORRECT)


def _code(character: str | bytes | int) -> int:
    """Return the code of a character, which the parser gives in one of three forms."""
    return character if isinstance(character, int) else ord(character)
