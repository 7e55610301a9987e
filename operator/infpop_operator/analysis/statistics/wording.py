"""Put numbers and tests into words for the sentences of the answers."""

from infpop_operator.analysis.statistics.procedures import Outcome

SIGNIFICANCE = 0.05  # the customary level; every p is given, so that a reader may choose another
# Bounds of |delta|: Romano, Kromrey, Coraggio and Skowronek 2006, as the literature on Cliff's delta uses them.
_DELTA_SIZES = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))
_SMALLEST_P = 0.001


def p_words(p_value: float) -> str:
    """Return "p = 0.012", or "p < 0.001"."""
    return f"p < {_SMALLEST_P}" if p_value < _SMALLEST_P else f"p = {p_value:.2g}"


def percent(value: float) -> str:
    """Return "+12.3 %"."""
    return f"{value:+.1f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return "1 model" or "3 models"."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def rate(value: float) -> str:
    """Return tokens/s with about three digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def delta_size(delta: float) -> str:
    """Return how large a Cliff's delta is, in a word."""
    return next((word for bound, word in _DELTA_SIZES if abs(delta) < bound), "large")


def verdict(outcome: Outcome, *, yes: str, no: str) -> str:
    """Return a sentence about a test: `yes` if it rejects equality at 5 %, else `no`; or why there is no test."""
    if outcome.p_value is None:
        return f"Not tested: {outcome.note}."
    return f"{yes if outcome.p_value < SIGNIFICANCE else no} ({p_words(outcome.p_value)})."
