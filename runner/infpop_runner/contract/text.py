"""Clean what a run wrote: an engine, a model or an image may write anything, and all of it is shown as text.

A line break would forge a line of a log, an escape sequence would move the cursor of a terminal, and a mark of
direction would show a text in another order than its own.
"""

import re

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and movements
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links and other strings
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)


def printable(text: str) -> str:
    """Return `text` without escape sequences, and with a space for each other character that is not printable."""
    if text.isprintable():
        return text
    text = _ESCAPE.sub("", text)
    return "".join(character if character.isprintable() else " " for character in text)


def one_line(text: str) -> str:
    """Return `text` as `printable` does, with one space for each gap and none around it."""
    return " ".join(printable(text).split())
