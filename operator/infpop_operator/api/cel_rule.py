"""What a rule of the API server is, and the kinds of rules that several fields have."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule on the value at `path`; a list's elements are written `[]`, the whole object is the empty path.

    Args:
        name: tells the rule from others; the tests have an example for each.
        path: where it holds.
        rule: the expression; `self` is the value at `path`.
        message: what is wrong, and the remedy.
        field: the field below `path` that is complained of.
    """

    name: str
    path: str
    rule: str
    message: str
    field: str | None = None


def listed(names: Iterable[str]) -> str:
    """Return names as a list of CEL."""
    return "[" + ", ".join(f"'{name}'" for name in sorted(names)) + "]"


def unique(name: str, path: str, *, key: str = "") -> Rule:
    """Return the rule that the list at `path` has each entry, or each `key` of an entry, once."""
    return Rule(
        name=name,
        path=path,
        rule=f"self.all(x, self.exists_one(y, x{key} == y{key}))",
        message="has the same entry more than once. List each one once",
    )


def above_zero(name: str, path: str) -> Rule:
    """Return the rule that the decimal at `path` is above zero."""
    return Rule(name=name, path=path, rule="double(self) > 0.0", message='must be above 0. Use for example "1"')


def at_most(name: str, path: str, longest: str) -> Rule:
    """Return the rule that the duration at `path` is no longer than `longest`."""
    return Rule(
        name=name,
        path=path,
        rule=f"duration(self) <= duration('{longest}')",
        message=f'is too long. Use "{longest}" or less',
    )
