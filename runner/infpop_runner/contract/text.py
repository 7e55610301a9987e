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


def one_line(text: str) -> str:
    """Return `text` on one line of printable characters: without escape sequences, a space for each other gap."""
    if text.isprintable() and "  " not in text:
        return text.strip()
    text = _ESCAPE.sub("", text)
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
