"""The line of each field in the YAML text of a study."""

import re
from collections.abc import Iterator

import yaml


def line_of(text: str, field: str) -> int | None:
    """Return the line, from 1, of a field such as `spec.nodePools[0].name`; None if the text has no such path.

    Of a field that is missing it is the line of the nearest part of its path that is there, but not the whole document.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for part in _parts(field):
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return line


def _parts(field: str) -> Iterator[str | int]:
    for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", field):
        yield name or int(place)


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        pairs = ((key, value) for key, value in node.value if key.value == part)
        return next(((key.start_mark.line + 1, value) for key, value in pairs), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None
