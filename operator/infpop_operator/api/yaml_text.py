"""YAML with comments, in a form that every reader of YAML takes for the same."""

from collections.abc import Mapping, Sequence

import yaml

_ONE_LINE = 1 << 30  # no line is broken: a patch is easier to review with one argument on each line


class LiteralText(str):
    """Text that is written as a block, with its own lines."""

    __slots__ = ()


def render_yaml(tree: Mapping[str, object], notes: Sequence[str] = ()) -> str:
    """Return `tree` as YAML under a comment line for each of `notes`, which have no line breaks."""
    comments = "".join(f"# {note}\n" for note in notes)
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_ONE_LINE)
    return comments + text


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1, YAML 1.2 or the parsers of Go may take for a number, a word or a mark."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write equal values twice: anchors are not allowed everywhere."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    is_plain = text[:1].isalpha() and all(letter.isalnum() or letter in "-_./" for letter in text) and text.isascii()
    if is_plain and text.lower() not in {"y", "yes", "n", "no", "true", "false", "on", "off", "null"}:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text)
    is_quoted = '"' in text and "'" not in text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if is_quoted else '"')


def _represent_block(dumper: _Dumper, text: LiteralText) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(LiteralText, _represent_block)
