"""Clip text from outside InfPop (an engine's error, a node's message) for a status: printable, of bounded size.

The bound is in bytes of the stored JSON: Go's encoder writes "<" as six bytes.
"""

_ELLIPSIS = "…"
_ELLIPSIS_BYTES = 3
_MOST_BYTES = 6  # maximum of one character
_SIX_BYTES = frozenset("<>&")
_TWO_BYTES = frozenset('"\\')


def clip(text: str, limit: int) -> str:
    """Return `text` with unprintable characters replaced by spaces, cut to at most `limit` stored bytes."""
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


def clip_cause(text: str, limit: int) -> str:
    """Return `text` as `clip` does, but shortened before its last sentence, which says what to do."""
    whole = clip(text, limit)
    cause, stop, remedy = text.rpartition(". ")
    if not stop or not whole.endswith(_ELLIPSIS):
        return whole
    last = clip(remedy, limit)
    needed = sum(map(stored_bytes, last)) + 1
    return whole if needed > limit * 3 // 4 else f"{clip(cause, limit - needed)} {last}"


def stored_bytes(character: str) -> int:
    """Return the number of bytes of a printable character in a stored JSON string."""
    if character in _SIX_BYTES:
        return 6
    return 2 if character in _TWO_BYTES else len(character.encode())
