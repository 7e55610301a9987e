"""A future instant as text."""

from datetime import datetime


def instant_text(instant: datetime | None, now: datetime) -> str:
    """Return a time for a message, with its date if that is not the date of `now`; both timezone-aware."""
    if instant is None:
        return "an unknown time"
    return f"{instant:%H:%M:%S %Z}" if instant.date() == now.date() else f"{instant:%Y-%m-%d %H:%M:%S %Z}"
