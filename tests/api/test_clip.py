"""A text is kept up to its limit in stored bytes, and truncated with an ellipsis beyond it."""

import pytest

from infpop_operator.api.clip import clip, stored_bytes


@pytest.mark.parametrize(
    ("text", "limit", "clipped"),
    [
        ("", 3, ""),
        ("abc", 3, "abc"),
        ("abcd", 3, "…"),
        ("abcd", 4, "abcd"),
        ("abcde", 4, "a…"),
        ("abcdef", 5, "ab…"),
        ("  abc  ", 3, "abc"),
        ("  ab  ", 30, "ab"),
        ("a\nb\tc", 100, "a b c"),
        ("a\nb\tc", 5, "a b c"),
        ("ab  cdefgh", 7, "ab…"),
        ("<b>", 13, "<b>"),
        ("<b>", 12, "<b…"),
        ("<b>c", 13, "<b…"),
        ('"\\', 4, '"\\'),
        ('"\\', 3, "…"),
        ("éé", 4, "éé"),
        ("ééé", 5, "é…"),
        ("€€", 6, "€€"),
        ("€€€", 8, "€…"),
        ("\x1b[2J", 30, "[2J"),
    ],
)
def test_a_text_is_cut_where_its_limit_is(text: str, limit: int, clipped: str) -> None:
    """A text that just fits is kept whole; a longer one keeps as much as leaves room for the ellipsis."""
    assert clip(text, limit) == clipped


@pytest.mark.parametrize(
    ("character", "size"), [("<", 6), (">", 6), ("&", 6), ('"', 2), ("\\", 2), ("a", 1), ("é", 2), ("€", 3), ("😀", 4)]
)
def test_characters_take_what_the_api_server_stores(character: str, size: int) -> None:
    """Go's JSON writes some characters as escapes."""
    assert stored_bytes(character) == size
