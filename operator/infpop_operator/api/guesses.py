"""Guess what a user meant by a value that is not written as the API wants it. A guess is shown, never used."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from infpop_operator.api.quantities import DECIMAL_PATTERN, DURATION_PATTERN, decimal_string

_UNIT_SECONDS = {
    "": 1.0,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "ms": 0.001,
}
_AROUND_NUMBERS = " \t$\u20ac\u00a3+"  # currency signs among them: a price has none
_QUOTES = "\u201c\u201d\u201e\u2018\u2019"  # of a text processor: YAML takes them for letters
_MOST_VALUES = 16  # of a list that fits into a message
_LARGEST_GUESS = 1e6
_ALL_PERCENT = 100.0


def meant_duration(text: str) -> str | None:
    """Return the duration that a number, or a number with the name of a unit, was meant to be: "90 sec" is "1m30s"."""
    found = re.fullmatch(r"\s*([0-9]{1,6}(?:[.,][0-9]{1,3})?)\s*([A-Za-z]*)\.?\s*", text.strip(_QUOTES))
    if found is None:
        return None
    name = found[2].lower()
    unit = _UNIT_SECONDS.get(name) or _UNIT_SECONDS.get(name.removesuffix("s"))
    if unit is None:
        return None
    milliseconds = round(float(found[1].replace(",", ".")) * unit * 1000)
    meant = ""
    for symbol, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        meant += f"{count}{symbol}" if count else ""
    meant = meant or "0s"
    return meant if re.fullmatch(DURATION_PATTERN, meant) else None


def meant_decimal(text: str) -> str | None:
    """Return the plain decimal that a number with a comma, an exponent or a currency was meant to be."""
    plain = text.strip(_QUOTES).strip(_AROUND_NUMBERS)
    plain = plain.replace(",", ".") if plain.count(",") == 1 and "." not in plain else plain
    try:
        number = Decimal(plain)
    except InvalidOperation:
        return None
    if not number.is_finite() or not 0 <= number < _LARGEST_GUESS:
        return None
    meant = decimal_string(float(number), significant=9)
    return meant if re.fullmatch(DECIMAL_PATTERN, meant) else None


def meant_whole_number(value: object) -> int | None:
    """Return the whole number that a text such as "20", or a number such as 20.0, was meant to be."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _LARGEST_GUESS else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value, re.ASCII) else None


def meant_ratio(text: str) -> str | None:
    """Return the ratio that a number from 1 to 100 was meant to be, if it was meant in percent."""
    percent = float(text)
    if not 1 < percent <= _ALL_PERCENT:
        return None
    return f"{percent / _ALL_PERCENT:.2f}" if percent == round(percent) else decimal_string(percent / _ALL_PERCENT)


def listed_range(fields: Mapping[object, object]) -> list[int] | None:
    """Return the values of a range such as {min: 1, max: 64} or {from: 1, to: 9, step: 4}; by default powers of two."""
    low, high = (_whole(fields.get(first, fields.get(second))) for first, second in (("min", "from"), ("max", "to")))
    if low is None or high is None or not 1 <= low <= high:
        return None
    step, factor = _whole(fields.get("step")), _whole(fields.get("factor")) or 2
    values = [low]
    while len(values) < _MOST_VALUES and factor > 1:
        following = values[-1] + step if step else values[-1] * factor
        if following > high:
            break
        values.append(following)
    return values


def _whole(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None
