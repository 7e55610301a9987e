"""Text of others (an engine's error, a node's message) made fit for a status: printable, and of bounded size.

The bound is in bytes as an object is stored: Go's JSON writes six bytes for "<".
"""

_ELLIPSIS = "…"
_ELLIPSIS_BYTES = 3
_MOST_BYTES = 6  # of one character
_SIX_BYTES = frozenset("<>&")
_TWO_BYTES = frozenset('"\\')


def clip(text: str, limit: int) -> str:
    """Return `text` with blanks for what is not printable, cut so that it is stored in at most `limit` bytes."""
    if len(text) * _MOST_BYTES <= limit and text.isprintable():
        return text.strip()
    text = "".join(character if character.isprintable() else " " for character in text).strip()
    used = 0
    fitting = 0  # characters that leave room for the ellipsis
    for position, character in enumerate(text):
        used += stored_bytes(character)
        if used > limit:
            return text[:fitting].rstrip() + _ELLIPSIS
        if used <= limit - _ELLIPSIS_BYTES:
            fitting = position + 1
    return text


def stored_bytes(character: str) -> int:
    """Return how many bytes a printable character takes inside a stored JSON string."""
    if character in _SIX_BYTES:
        return 6
    return 2 if character in _TWO_BYTES else len(character.encode())
