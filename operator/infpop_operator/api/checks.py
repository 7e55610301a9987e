"""Checks of single values that several rules share; each yields problems that name field, value and remedy."""

from collections.abc import Iterator, Sequence

from infpop_operator.api.quantities import seconds
from infpop_operator.core.errors import Problem

_MOST_SHOWN_AS_MINUTES = 1  # hours


def short(field: str, text: str, longest_seconds: float) -> Iterator[Problem]:
    """Yield a problem if a duration exceeds a limit."""
    if seconds(text) > longest_seconds:
        hours, minutes = longest_seconds / 3600, longest_seconds / 60
        longest = f"{hours:g}h" if hours > _MOST_SHOWN_AS_MINUTES else f"{minutes:g}m"
        yield Problem(field=field, value=text, message=f"is longer than {longest}", remedy=f'Use "{longest}" or less')


def positive(field: str, text: str) -> Iterator[Problem]:
    """Yield a problem if a decimal is not above zero."""
    if float(text) <= 0:
        yield Problem(field=field, value=f'"{text}"', message="must be above 0", remedy="Correct it")


def at_most(field: str, text: str, high: float) -> Iterator[Problem]:
    """Yield a problem if a decimal exceeds a limit."""
    if float(text) > high:
        yield Problem(field=field, value=f'"{text}"', message=f"must be at most {high:g}", remedy="Correct it")


def unique_names(field: str, names: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each entry that has the name of an earlier one."""
    for place, name in enumerate(names):
        first = names.index(name)
        if first < place:
            message = f"is the name of {field.rpartition('.')[2]}[{first}] too"
            yield Problem(
                field=f"{field}[{place}].name", value=name, message=message, remedy="Give each a name of its own"
            )


def unique(field: str, values: Sequence[object]) -> Iterator[Problem]:
    """Yield a problem if a list has duplicate entries."""
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        remedy = "List each value once"
        yield Problem(field=field, value=", ".join(repeated), message="is listed more than once", remedy=remedy)
