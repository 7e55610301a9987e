"""The number of parameters of a model, read from its name where nothing better is known.

A name says it roughly ("7b" may be 6.7 billion), and often not at all ("Phi-1"). What the engine counted is better.
"""

import re
from collections.abc import Iterable

from infpop_operator.analysis.rows import TrialResultRow

_UNITS = {"m": 1e6, "b": 1e9, "t": 1e12}
# "7b", "1.3B", "1_6b", "125m", "8x7b", and "1b7" for 1.7 billion. Not "4bit", "A14B" (active parameters) or "v1b".
_COUNT = re.compile(
    r"(?<![a-z0-9._])(?:(?P<experts>[0-9]{1,3})x)?(?P<whole>[0-9]{1,4})(?:[._](?P<part>[0-9]{1,3}))?"
    r"(?P<unit>[mbt])(?P<after>[0-9]{1,2})?(?![a-z0-9])",
    re.IGNORECASE,
)


def parameters_from_name(model: str) -> float | None:
    """Return the number of parameters that the name of a model says, None if it says none.

    Of "8x7b" it is 8 times 7 billion, which is more than such a model has: experts share their attention layers.
    """
    found = _COUNT.search(model.rpartition("/")[2])
    if found is None:
        return None
    fraction = found["part"] or found["after"] or "0"
    count = float(f"{found['whole']}.{fraction}") * int(found["experts"] or 1) * _UNITS[found["unit"].lower()]
    return count if count > 0 else None


def parameter_counts(rows: Iterable[TrialResultRow]) -> dict[str, float]:
    """Return the number of parameters of each model as an engine counted it, else from its name, if either is known."""
    counted: dict[str, float] = {}
    names: set[str] = set()
    for row in rows:
        names.add(row.model)
        if row.parameters is not None and row.parameters > 0:
            counted[row.model] = float(row.parameters)
    named = {name: count for name in names - counted.keys() if (count := parameters_from_name(name)) is not None}
    return {**named, **counted}
