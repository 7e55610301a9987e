"""Read YAML together with the comments above its parts, which YAML's own readers drop."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

_KINDS = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "seq": "list", "map": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Commented:
    """A part of a YAML document.

    Attributes:
        path: its keys, joined by dots; the items of a list have none.
        kind: `string`, `number`, `boolean`, `list` or `object`.
        text: as it is written in the file, on one line; None for a map whose entries follow.
        comment: the comment directly above, on one line, without its examples; empty if there is none.
    """

    path: str
    kind: str
    text: str | None
    comment: str


def commented_values(text: str) -> tuple[Commented, ...]:
    """Return the values of a file in its order: each leaf, and each map of values that has a comment.

    A map in braces is a leaf: its entries are the user's.
    """
    return tuple(_values(text, yaml.compose(text), prefix=""))


def commented_items(text: str) -> tuple[Commented, ...]:
    """Return the items of a list."""
    node = yaml.compose(text)
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    return tuple(_commented(text, item, path="", line=item.start_mark.line) for item in items)


def _values(text: str, node: yaml.Node | None, *, prefix: str) -> Iterator[Commented]:
    for key, child in node.value if isinstance(node, yaml.MappingNode) else []:
        path = f"{prefix}{key.value}"
        value = _commented(text, child, path=path, line=key.start_mark.line)
        if value.text is not None or value.comment:
            yield value
        if value.text is None:
            yield from _values(text, child, prefix=f"{path}.")


def _commented(text: str, node: yaml.Node, *, path: str, line: int) -> Commented:
    is_group = isinstance(node, yaml.MappingNode) and not node.flow_style
    written = text[node.start_mark.index : node.end_mark.index]
    return Commented(
        path=path,
        kind=_KINDS[node.tag.rpartition(":")[2]],
        text=None if is_group else " ".join(written.split()),
        comment=_comment_above(text.splitlines(), line),
    )


def _comment_above(lines: list[str], line: int) -> str:
    """Return the comment that ends above a line; lines that are indented by three spaces are examples."""
    first = line
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    said = [each.strip().removeprefix("#") for each in lines[first:line]]
    return " ".join(each.strip() for each in said if not each.startswith("   "))
