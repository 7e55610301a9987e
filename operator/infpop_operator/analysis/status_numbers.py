"""The numbers in a status, which are text there: those of its best configuration, and intervals."""

from typing import Any

from infpop_operator.analysis.rows import Interval
from infpop_operator.api.status_model import Best


def to_numbers(best: Best) -> dict[str, Any]:
    """Return what only the recommended configuration tells; confirmed, its number is the mean of fresh loads."""
    loads = best.confirmed
    more = {
        "throughput_tokens_per_second": float(best.throughput),
        "interval_tokens_per_second": to_interval(best.interval if loads is None else loads.interval),
        "spread_ratio": float(best.spread),
        "repeats": best.repeats,
        "mode": (best.mode or "Full").lower(),
        "measured_seconds": to_number(best.measured_seconds),
        "seconds_per_output_token": to_number(best.seconds_per_output_token),
        "tokens_per_joule": to_number(best.tokens_per_joule),
        "confirmed_loads": None if loads is None else loads.loads,
    }
    return {name: value for name, value in more.items() if value is not None}


def to_number(text: str | None) -> float | None:
    """Return the number that a status writes as text."""
    return None if text is None else float(text)


def to_interval(text: str | None) -> Interval | None:
    """Return the ends of an interval such as "812 to 830"."""
    low, _, high = (text or "").partition(" to ")
    return (float(low), float(high)) if high else None
