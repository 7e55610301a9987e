"""Documents at the bounds of a rule, and tables of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from api.rule_examples import Changes

TINY = "0.000000001"
SIMULATION = "spec.engine.simulation"
SIMULATED = {"spec.engine.name": "simulated", SIMULATION: {"formula": {}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Changes to the valid document of `api.documents`, and whether they satisfy the rule of that name."""

    rule: str
    changes: Changes
    holds: bool


def table(
    rule: str, path: str, *, good: tuple[object, ...], bad: tuple[object, ...], more: Changes | None = None
) -> Iterator[Bound]:
    """Yield a document for each value at `path`; `more` is applied to all of them."""
    for holds, values in ((True, good), (False, bad)):
        for value in values:
            yield Bound(rule=rule, changes={**(more or {}), path: value}, holds=holds)
