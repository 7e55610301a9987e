"""CEL validation rules, and builders for the rules that several fields share."""

from collections.abc import Iterable
from dataclasses import dataclass

from infpop_operator.core.object_names import LABEL_KEY_PATTERN, LONGEST_LABEL_KEY, LONGEST_SUBDOMAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A validation rule on the value at `path`; `[]` stands for the items of a list, the empty path for the object.

    Args:
        name: unique name of the rule; the tests have an example for each name.
        path: path of the validated value.
        rule: the CEL expression; `self` is the value at `path`.
        message: what is wrong, and the remedy.
        field: the field below `path` that the error names.
    """

    name: str
    path: str
    rule: str
    message: str
    field: str | None = None


# CEL: every key of the map `self` may be that of a label.
LABEL_KEYS = (
    f"self.all(key, size(key) <= {LONGEST_LABEL_KEY} && key.matches('^[^/]{{0,{LONGEST_SUBDOMAIN}}}(/|$)') && "
    f"key.matches('{LABEL_KEY_PATTERN}'))"
)


def listed(names: Iterable[str]) -> str:
    """Return the names as a CEL list."""
    return "[" + ", ".join(f"'{name}'" for name in sorted(names)) + "]"


def unique(name: str, path: str, *, key: str = "") -> Rule:
    """Return the rule that the list at `path` has no duplicate entries, or no duplicate `key` of entries."""
    return Rule(
        name=name,
        path=path,
        rule=f"self.all(x, self.exists_one(y, x{key} == y{key}))",
        message="has duplicate entries. List each one once",
    )


def above_zero(name: str, path: str) -> Rule:
    """Return the rule that the decimal at `path` is above zero."""
    return Rule(name=name, path=path, rule="double(self) > 0.0", message='must be above 0. Use for example "1"')


def at_most(name: str, path: str, longest: str) -> Rule:
    """Return the rule that the duration at `path` is at most `longest`."""
    return Rule(
        name=name,
        path=path,
        rule=f"duration(self) <= duration('{longest}')",
        message=f'is too long. Use "{longest}" or less',
    )
