"""An engine argument as text, and as the value that the text stands for."""

import re

from infpop_runner.contract import is_structured


def parse_scalar(text: str) -> str | int | float | bool:
    """Return the value of an argument's text: true or false, an integer, a decimal, or else the text on one line.

    True and TRUE are as in YAML and Python: as text, an engine would take even "False" for true.
    """
    if text.lower() in {"true", "false"} and text in {text.lower(), text.upper(), text.capitalize()}:
        return text.lower() == "true"
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", text):
        return float(text)
    if is_structured(text):  # JSON has line breaks only between its parts, where a space means the same
        return re.sub(r"[\t\r\n]", " ", text).strip()
    return text


def scalar_text(value: str | float | bool) -> str:  # noqa: FBT001 - one type of value among others
    """Return a value as the API writes it; the inverse of `parse_scalar`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
