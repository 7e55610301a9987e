"""What pairs of two harnesses say: the ratio of their medians with a 95 % interval. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

DRAWS = 10_000  # enough for two stable digits of a 95 % interval (Efron and Tibshirani 1993, chapter 13)
FEWEST = 3  # pairs: with fewer, an interval is only the two pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one side needed for one pass."""

    tokens: int
    wall_seconds: float
    cpu_seconds: float


Pair = tuple[Timing, Timing]  # ours, the reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ours divided by the reference; above 1 ours is faster. `low` and `high` bound the 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, object]:
        """Return the ratio for a JSON file."""
        return {"ratio": round(self.value, 4), "interval_95": [round(self.low, 4), round(self.high, 4)]}


def summarise(pairs: Sequence[Pair], *, seed: int) -> dict[str, Ratio]:
    """Return the ratios of tokens per wall second and per CPU second, each of the medians and as median of the ratios.

    Both sides of a pair ran one after the other, while much the same else ran on the machine. So the median of the
    pairs' own ratios has less noise than the ratio of the two medians.
    """
    wall = [(ours.tokens / ours.wall_seconds, other.tokens / other.wall_seconds) for ours, other in pairs]
    cpu = [(ours.tokens / ours.cpu_seconds, other.tokens / other.cpu_seconds) for ours, other in pairs]
    return {
        "wall": estimate(ratio_of_medians, wall, seed=seed),
        "wall_pair_by_pair": estimate(median_of_ratios, wall, seed=seed),
        "cpu": estimate(ratio_of_medians, cpu, seed=seed),
        "cpu_pair_by_pair": estimate(median_of_ratios, cpu, seed=seed),
    }


def ratio_of_medians(pairs: Sequence[tuple[float, float]]) -> float:
    """Return median(first) / median(second)."""
    return median(ours for ours, _ in pairs) / median(reference for _, reference in pairs)


def median_of_ratios(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median of first / second."""
    return median(ours / reference for ours, reference in pairs)


def estimate(
    statistic: Callable[[Sequence[tuple[float, float]]], float],
    pairs: Sequence[tuple[float, float]],
    *,
    seed: int,
    draws: int = DRAWS,
) -> Ratio:
    """Return the statistic of the pairs with a percentile-bootstrap interval over whole pairs.

    Args:
        statistic: a ratio.
        pairs: shape (n, 2), n >= `FEWEST`, all > 0. All of them count: no rule drops a pair.
        seed: of the resampling; the same seed gives the same interval.
        draws: number of resamplings.

    Raises:
        ValueError: fewer than `FEWEST` pairs.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if len(pairs) < FEWEST:
        raise ValueError(f"an interval needs {FEWEST} pairs or more, got {len(pairs)}")
    random = Random(seed)
    drawn = sorted(statistic(random.choices(pairs, k=len(pairs))) for _ in range(draws))
    return Ratio(value=statistic(pairs), low=drawn[round(0.025 * draws)], high=drawn[round(0.975 * draws) - 1])
