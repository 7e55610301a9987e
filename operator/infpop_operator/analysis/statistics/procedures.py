"""The statistical tests, with what makes each of them refuse: too few samples, or samples without variation.

Every function returns an `Outcome`, whose numbers are finite or None; None has a note that says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from scipy import stats

from infpop_operator.analysis.statistics.studentized_range import tukey_p_value

MIN_GROUP = 2  # a group of one has no variance: it adds to that between the groups only
# Of five pairs that differ no arrangement is rarer than p = 0.0625, so Wilcoxon's test cannot reject anything at 5 %.
MIN_PAIRS = 6
MIN_POINTS = 4  # three points fit a line with one degree of freedom; Fisher's interval of r needs more than three
# More groups make more than 120 pairs: more than a reader of the report can take in. Reasoned, not measured.
MAX_TUKEY_GROUPS = 16
_EXACT_PAIRS = 50  # scipy's own limit without ties
_CONSTANT = 1e-12  # relative; a smaller variation is rounding
_Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a test found; `n` counts its samples or pairs."""

    n: int
    statistic: float | None = None
    p_value: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TukeyPair:
    """Two groups of an ANOVA, by their position: the difference of their means (second - first)."""

    first: int
    second: int
    outcome: Outcome


def anova(groups: Sequence[Sequence[float]]) -> Outcome:
    """Return the one-way analysis of variance: F, p and eta squared (the share of the variance between the groups).

    Groups of one sample count too, as in the paper, if at least two others have more.
    """
    n = sum(map(len, groups))
    if sum(len(group) >= MIN_GROUP for group in groups) < 2:  # noqa: PLR2004 - two groups
        return Outcome(n=n, note=f"too few samples: needs two groups with at least {MIN_GROUP} samples each")
    if all(_is_constant(group) for group in groups):
        return Outcome(n=n, note="the samples of each group are equal: without variation there is no test")
    samples = [np.asarray(group, dtype=float) for group in groups]
    found = stats.f_oneway(*samples)
    pooled = np.concatenate(samples)
    between = sum(len(group) * (group.mean() - pooled.mean()) ** 2 for group in samples)
    total = float(((pooled - pooled.mean()) ** 2).sum())
    effect = float(between) / total
    return _finite(n=n, statistic=float(found.statistic), p_value=float(found.pvalue), effect=effect)


def blocked_anova(table: Mapping[str, Mapping[int, float]]) -> Outcome:
    """Return the analysis of variance of levels with blocks: what a block shares is taken out of the error.

    Args:
        table: a number of each block at each of its levels. Blocks need not have every level; those with only one say
            nothing and are left out.

    F compares the additive model of blocks and levels with that of the blocks alone; where every block has every level
    it is the two-way analysis without replication. The effect is partial eta squared.
    Source: Montgomery, Design and Analysis of Experiments, chapters 4.1 and 15.2.
    """
    blocks = [own for own in table.values() if len(own) > 1]
    levels = sorted({level for own in blocks for level in own})
    n = sum(map(len, blocks))
    if len(blocks) < MIN_GROUP:
        return Outcome(n=n, note=f"too few samples: needs {MIN_GROUP} models with two values each")
    residual, total, rank = _within_blocks(blocks, levels)
    freedom = (rank, n - len(blocks) - rank)
    scale = max(abs(value) for own in blocks for value in own.values())
    if freedom[1] < 1 or residual <= (_CONSTANT * scale) ** 2 * n:
        return Outcome(n=n, note="the levels differ by the same in each model: there is no error to test against")
    ratio = (total - residual) / freedom[0] / (residual / freedom[1])
    effect = (total - residual) / total
    return _finite(n=n, statistic=ratio, p_value=float(stats.f.sf(ratio, *freedom)), effect=effect)


def _within_blocks(blocks: Sequence[Mapping[int, float]], levels: Sequence[int]) -> tuple[float, float, int]:
    """Return the sum of squares within blocks that the levels leave, all of it, and the rank of the levels."""
    column = {level: index for index, level in enumerate(levels)}
    values, design = [], []
    for own in blocks:
        numbers = np.asarray(list(own.values()), dtype=float)
        places = np.zeros((len(own), len(levels)))
        places[np.arange(len(own)), [column[level] for level in own]] = 1
        values.append(numbers - numbers.mean())
        design.append(places - places.mean(axis=0))
    y, x = np.concatenate(values), np.concatenate(design)
    found, _, rank, _ = np.linalg.lstsq(x, y, rcond=1e-10)
    return float(((y - x @ found) ** 2).sum()), float((y**2).sum()), int(rank)


def tukey(groups: Sequence[Sequence[float]]) -> tuple[TukeyPair, ...]:
    """Return Tukey's HSD (Tukey-Kramer where groups differ in size) for each pair; empty where `anova` refuses.

    The statistic is q, the effect the difference of the means (second - first); p is corrected for all pairs.
    """
    if anova(groups).statistic is None or len(groups) > MAX_TUKEY_GROUPS:
        return ()
    samples = [np.asarray(group, dtype=float) for group in groups]
    freedom = sum(map(len, samples)) - len(samples)
    error = float(sum(((group - group.mean()) ** 2).sum() for group in samples)) / freedom
    pairs = [(first, second) for first in range(len(samples)) for second in range(first + 1, len(samples))]
    differences = [float(samples[second].mean() - samples[first].mean()) for first, second in pairs]
    spreads = [sqrt(error / 2 * (1 / len(samples[a]) + 1 / len(samples[b]))) for a, b in pairs]
    found = []
    for (first, second), difference, spread in zip(pairs, differences, spreads, strict=True):
        q = abs(difference) / spread
        outcome = Outcome(
            n=len(samples[first]) + len(samples[second]),
            statistic=q,
            p_value=tukey_p_value(q, groups=len(samples), freedom=freedom),
            effect=difference,
        )
        found.append(TukeyPair(first=first, second=second, outcome=outcome))
    return tuple(found)


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> Outcome:
    """Return Wilcoxon's signed-rank test of pairs: W (the smaller sum of ranks), p and the effect.

    p is exact for up to 50 pairs, also with ties; above, of the normal distribution with scipy's correction for ties.

    The effect is the matched-pairs rank-biserial correlation: 1 if the second is larger in every pair, -1 if the first
    is. Pairs that are equal are left out, as Wilcoxon did. `n` counts the pairs that are left.
    """
    differences = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    differences = differences[differences != 0]
    n, equal = len(differences), len(first) - len(differences)
    left_out = f"{equal} equal {'pair' if equal == 1 else 'pairs'} left out" if equal else None
    if n < MIN_PAIRS:
        note = f"too few samples: {n} pairs differ, and fewer than {MIN_PAIRS} cannot show anything at 5 %"
        return Outcome(n=n, note=note)
    ranks = stats.rankdata(np.abs(differences))
    above, below = float(ranks[differences > 0].sum()), float(ranks[differences < 0].sum())
    smaller = min(above, below)
    if n <= _EXACT_PAIRS:
        p_value = _exact_p_value(ranks, smaller)
    else:
        p_value = float(stats.wilcoxon(differences, method="asymptotic").pvalue)
    effect = (above - below) / (above + below)
    return _finite(n=n, statistic=smaller, p_value=p_value, effect=effect, note=left_out)


def _exact_p_value(ranks: np.ndarray, smaller: float) -> float:
    """Return the share of all signs of the ranks whose smaller sum is at most `smaller`.

    scipy enumerates 8,192 signs of 13 tied pairs one by one, which takes seconds. Here the sums are counted: the ranks,
    doubled because those of ties may be halves, are added to the distribution one after another.
    """
    doubled = np.rint(2 * ranks).astype(int)
    shares = np.zeros(int(doubled.sum()) + 1)
    shares[0] = 1.0
    for rank in doubled:
        with_rank = np.zeros_like(shares)
        with_rank[rank:] = shares[: len(shares) - rank]
        shares = (shares + with_rank) / 2
    return min(1.0, 2 * float(shares[: round(2 * smaller) + 1].sum()))


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> Outcome:
    """Return Cliff's delta of paired samples: P(a second > a first) - P(a second < a first), with a 95 % interval.

    The interval takes into account that the samples are paired: its variance is that of the mean of
    mean_j sign(y_i - x_j) + mean_j sign(y_j - x_i) over the pairs i. Its ends are asymmetric, so that they stay within
    -1 and 1; where all samples of one side are larger, it is that of n pairs without an exception.

    Source: Cliff, Ethical Statistics 1996, equations 5.12 and 5.15; Feng and Cliff 2004.
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    n = len(x)
    if n < MIN_PAIRS:
        return Outcome(n=n, note=f"too few samples: {n} pairs, and an interval needs at least {MIN_PAIRS}")
    of_second, of_first = _dominance(y, x), -_dominance(x, y)
    delta = float(of_second.mean())
    variance = float((of_second + of_first).var(ddof=1)) / n
    return Outcome(n=n, statistic=delta, effect=delta, interval=_delta_interval(delta, variance, n))


def pearson(x: Sequence[float], y: Sequence[float]) -> Outcome:
    """Return Pearson's r, its p and its 95 % interval (Fisher)."""
    refused = _refuse_points(x, y)
    if refused is not None:
        return refused
    found = stats.pearsonr(x, y)
    low, high = found.confidence_interval(0.95)
    r = float(found.statistic)
    interval = (float(low), float(high)) if isfinite(low) and isfinite(high) else None
    return _finite(n=len(x), statistic=r, p_value=float(found.pvalue), effect=r, interval=interval)


def spearman(x: Sequence[float], y: Sequence[float]) -> Outcome:
    """Return Spearman's rho and its p."""
    refused = _refuse_points(x, y)
    if refused is not None:
        return refused
    found = stats.spearmanr(x, y)
    rho = float(found.statistic)
    return _finite(n=len(x), statistic=rho, p_value=float(found.pvalue), effect=rho)


def _refuse_points(x: Sequence[float], y: Sequence[float]) -> Outcome | None:
    if len(x) < MIN_POINTS:
        return Outcome(n=len(x), note=f"too few samples: {len(x)}, and a correlation needs at least {MIN_POINTS}")
    if _is_constant(x) or _is_constant(y):
        return Outcome(n=len(x), note="one of the two is the same for all: there is nothing to correlate")
    return None


def _dominance(of: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Return for each of `of` the share of `over` that is smaller, less the share that is larger."""
    ordered = np.sort(over)
    smaller = np.searchsorted(ordered, of, side="left")
    larger = len(ordered) - np.searchsorted(ordered, of, side="right")
    return np.asarray((smaller - larger) / len(ordered), dtype=float)


def _delta_interval(delta: float, variance: float, n: int) -> tuple[float, float]:
    if abs(delta) >= 1:
        bound = (n - _Z**2) / (n + _Z**2)
        return (bound, 1.0) if delta > 0 else (-1.0, -bound)
    spread = _Z * sqrt(variance) * sqrt((1 - delta**2) ** 2 + _Z**2 * variance)
    scale = 1 - delta**2 + _Z**2 * variance
    low, high = ((delta - delta**3 + sign * spread) / scale for sign in (-1, 1))
    return (max(low, -1.0), min(high, 1.0))


def _is_constant(samples: Sequence[float]) -> bool:
    return max(samples) - min(samples) <= _CONSTANT * max(map(abs, samples))


def _finite(
    *,
    n: int,
    statistic: float,
    p_value: float,
    effect: float,
    interval: tuple[float, float] | None = None,
    note: str | None = None,
) -> Outcome:
    """Return the outcome, without its numbers if one of them is not finite."""
    if not (isfinite(statistic) and isfinite(p_value) and isfinite(effect)):
        return Outcome(n=n, note="the numbers are too extreme for this test")
    return Outcome(n=n, statistic=statistic, p_value=p_value, effect=effect, interval=interval, note=note)
