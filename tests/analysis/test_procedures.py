"""The tests give what a hand computes, from sums, counts and enumerations, not what the library under them gives."""

from fractions import Fraction
from itertools import product
from math import erfc, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infpop_operator.analysis.statistics.correction import correct
from infpop_operator.analysis.statistics.procedures import (
    MIN_PAIRS,
    anova,
    blocked_anova,
    cliffs_delta,
    pearson,
    spearman,
    tukey,
    wilcoxon,
)
from infpop_operator.analysis.statistics.statistic import Statistic
from infpop_operator.analysis.statistics.studentized_range import tukey_p_value

GROUPS = ([1, 2, 3], [2, 3, 4], [5, 6, 7])
FIRST = [10.0, 12.0, 9.0, 15.0, 11.0, 8.0]
SECOND = [12.5, 11.0, 13.5, 18.0, 16.0, 14.0]


def test_anova_is_the_ratio_of_mean_squares() -> None:
    """F, p and eta squared from sums of squares as fractions; of F(2, m) the tail is (1 + 2F/m)^(-m/2)."""
    grand = Fraction(sum(map(sum, GROUPS)), 9)
    between = sum(3 * (Fraction(sum(group), 3) - grand) ** 2 for group in GROUPS)
    within = sum((value - Fraction(sum(group), 3)) ** 2 for group in GROUPS for value in group)
    ratio = (between / 2) / (within / 6)
    found = anova(GROUPS)
    assert (found.n, found.statistic) == (9, pytest.approx(float(ratio)))
    assert found.effect == pytest.approx(float(between / (between + within)))
    assert found.p_value == pytest.approx((1 + 2 * float(ratio) / 6) ** -3)


def test_a_group_of_one_counts_in_anova_and_tukey() -> None:
    """It moves the grand mean and adds to the variance between groups; the error stays 6 with 6 degrees of freedom."""
    groups = [*GROUPS, [10]]
    between = sum(len(group) * (Fraction(sum(group), len(group)) - Fraction(43, 10)) ** 2 for group in groups)
    found = anova([[float(value) for value in group] for group in groups])
    assert (found.n, found.statistic) == (10, pytest.approx(float(between / 3 / (Fraction(6) / 6))))
    last = tukey(groups)[-1].outcome  # 6 against 10: of q the standard error is sqrt(1/2 * (1/3 + 1))
    assert (last.n, last.effect, last.statistic) == (4, 4.0, pytest.approx(4 / sqrt(2 / 3)))


def test_a_blocked_anova_of_two_levels_is_the_paired_t_test() -> None:
    """F = t²; of t with two degrees of freedom the two-sided tail is 1 - t / sqrt(t² + 2)."""
    table = {"a": {1: 1.0, 2: 2.0}, "b": {1: 3.0, 2: 5.0}, "c": {1: 6.0, 2: 7.0}}
    t = (4 / 3) / sqrt((1 / 3) / 3)  # differences 1, 2, 1
    found = blocked_anova(table)
    assert found.statistic == pytest.approx(t**2)
    assert found.p_value == pytest.approx(1 - t / sqrt(t**2 + 2))


def test_a_blocked_anova_uses_incomplete_blocks() -> None:
    """Three blocks with two of three levels each: F from the fit by hand, b = a + 2, c = a + 4 less residuals."""
    # y = block + level: residual freedom 6 - 3 - 2 = 1. Differences within blocks: b-a = 1, c-b = 2, c-a = 6.
    # Least squares of (u, v) with u ~ 1, v - u ~ 2, v ~ 6: u = 2, v = 5; residuals -1, -1, 1, each worth half a square.
    table = {"x": {1: 0.0, 2: 1.0}, "y": {2: 0.0, 3: 2.0}, "z": {1: 0.0, 3: 6.0}}
    residual, total = 3 / 2, (1 + 4 + 36) / 2
    found = blocked_anova(table | {"single": {1: 99.0}})
    assert found.n == 6
    assert found.statistic == pytest.approx(((total - residual) / 2) / residual)
    assert found.effect == pytest.approx((total - residual) / total)


@pytest.mark.parametrize(
    ("q", "groups", "freedom", "p"),
    [(3.877, 3, 10, 0.05), (3.958, 4, 20, 0.05), (4.102, 5, 30, 0.05), (5.270, 3, 10, 0.01), (4.560, 10, 120, 0.05)],
)
def test_the_studentized_range_agrees_with_printed_tables(q: float, groups: int, freedom: int, p: float) -> None:
    """The upper points of the tables in textbooks (Montgomery, appendix VII), to their three decimals."""
    assert tukey_p_value(q, groups=groups, freedom=freedom) == pytest.approx(p, rel=2e-3)


@pytest.mark.parametrize("q", [0.0, 0.5, 2.0, 10.0, 200.0])
def test_the_range_of_two_is_students_t(q: float) -> None:
    """With two groups and two degrees of freedom the tail has a closed form."""
    t = q / sqrt(2)
    assert tukey_p_value(q, groups=2, freedom=2) == pytest.approx(1 - t / sqrt(t**2 + 2), abs=1e-6)


def test_tukey_compares_the_means_of_each_pair() -> None:
    """Q is the difference over sqrt(mean square / n); here the mean square within groups is 1."""
    pairs = {(pair.first, pair.second): pair.outcome for pair in tukey(GROUPS)}
    assert {key: each.effect for key, each in pairs.items()} == {(0, 1): 1.0, (0, 2): 4.0, (1, 2): 3.0}
    assert pairs[0, 2].statistic == pytest.approx(4 / sqrt(1 / 3))
    # 4.339 is the printed upper 5 % point for 3 groups and 6 degrees of freedom, 6.331 the 1 % point.
    p_values = [pairs[key].p_value or 0 for key in ((0, 1), (1, 2), (0, 2))]
    assert p_values[0] > 0.05 > p_values[1] > 0.01 > p_values[2]


def test_wilcoxon_is_the_share_of_signs_that_are_as_extreme() -> None:
    """P by enumerating all 64 signs of six ranks; the effect is (sum of + ranks - sum of - ranks) / all ranks."""
    differences = [b - a for a, b in zip(FIRST, SECOND, strict=True)]  # 2.5 -1 4.5 3 5 6: ranks 2 1 4 3 5 6
    ranks = [1 + sorted(map(abs, differences)).index(abs(each)) for each in differences]
    below = sum(rank for rank, each in zip(ranks, differences, strict=True) if each < 0)
    sums = [sum(rank for rank, on in zip(ranks, signs, strict=True) if on) for signs in product((0, 1), repeat=6)]
    found = wilcoxon(FIRST, SECOND)
    assert (found.n, found.statistic) == (6, below)
    assert found.p_value == pytest.approx(sum(each <= below or each >= 21 - below for each in sums) / 64)
    assert found.effect == pytest.approx((21 - 2 * below) / 21)


def test_wilcoxon_is_exact_with_ties() -> None:
    """Of 1, 1, 1, -2, 3, 3 the ranks are 2, 2, 2, 4, 5.5, 5.5: p is counted over the 64 signs of these."""
    found = wilcoxon([0.0] * 6, [1, 1, 1, -2, 3, 3])
    ranks = (2, 2, 2, 4, 5.5, 5.5)
    sums = [sum(rank for rank, on in zip(ranks, signs, strict=True) if on) for signs in product((0, 1), repeat=6)]
    assert found.statistic == 4
    assert found.p_value == pytest.approx(sum(each <= 4 or each >= 17 for each in sums) / 64)


def test_wilcoxon_of_many_pairs_goes_by_the_normal_distribution() -> None:
    """Above 50 pairs p is the tail of (W - n(n+1)/4) / sqrt(n(n+1)(2n+1)/24)."""
    values = [(-1) ** (i % 3) * (i + 1.0) for i in range(51)]
    found = wilcoxon([0.0] * 51, values)
    below = sum(-value for value in values if value < 0)
    assert found.statistic == below
    z = (below - 51 * 52 / 4) / sqrt(51 * 52 * 103 / 24)
    assert found.p_value == pytest.approx(erfc(abs(z) / sqrt(2)))


def test_wilcoxon_leaves_out_equal_pairs_and_says_so() -> None:
    """Equal pairs have no sign; too few that differ give no test."""
    found = wilcoxon([*FIRST, 1.0], [*SECOND, 1.0])
    assert (found.n, found.p_value) == (6, wilcoxon(FIRST, SECOND).p_value)
    assert found.note == "1 equal pair left out"
    few = wilcoxon(FIRST, [*SECOND[:5], FIRST[5]])
    assert few.statistic is few.p_value is None
    assert "too few samples: 5 pairs differ" in (few.note or "")


def test_cliffs_delta_counts_pairs() -> None:
    """Delta by counting all 36 pairs, its variance by the definition, its interval within -1 and 1."""
    sign = [[(y > x) - (y < x) for x in FIRST] for y in SECOND]
    delta = sum(map(sum, sign)) / 36
    parts = [sum(sign[i]) / 6 + sum(sign[j][i] for j in range(6)) / 6 for i in range(6)]
    variance = sum((part - sum(parts) / 6) ** 2 for part in parts) / 5 / 6
    z = 1.959964
    half = z * sqrt(variance) * sqrt((1 - delta**2) ** 2 + z**2 * variance)
    scale = 1 - delta**2 + z**2 * variance
    found = cliffs_delta(FIRST, SECOND)
    assert (found.statistic, found.n) == (pytest.approx(delta), 6)
    assert found.interval == pytest.approx(((delta - delta**3 - half) / scale, (delta - delta**3 + half) / scale))


def test_cliffs_delta_without_overlap_keeps_an_interval() -> None:
    """Six pairs without an exception do not prove that there is none."""
    z2 = 1.959964**2
    found = cliffs_delta(FIRST, [value + 100 for value in FIRST])
    assert (found.effect, found.interval) == (1.0, pytest.approx(((6 - z2) / (6 + z2), 1.0)))
    turned = cliffs_delta([value + 100 for value in FIRST], FIRST)
    assert (turned.effect, turned.interval) == (-1.0, pytest.approx((-1.0, (z2 - 6) / (6 + z2))))


def test_correlations_of_four_points() -> None:
    """Pearson from sums; of four points the null distribution of r is uniform, so p = 1 - |r|."""
    x, y = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 9.0]
    r = (sum(a * b for a, b in zip(x, y, strict=True)) - 4 * 2.5 * 3.75) / sqrt(5.0 * (95 - 4 * 3.75**2))
    found = pearson(x, y)
    assert (found.n, found.statistic, found.p_value) == (4, pytest.approx(r), pytest.approx(1 - r))
    ranked = spearman(x, y)  # ranks 1 3 2 4: rho = 1 - 6 * 2 / 60
    assert (ranked.statistic, ranked.p_value) == (pytest.approx(0.8), pytest.approx(0.2))


def test_holm_multiplies_by_the_tests_that_are_left() -> None:
    """0.01, 0.03, 0.04 become 0.03, 0.06, 0.06; other questions, and tests with their own correction, do not count."""
    p_values = (0.01, 0.04, 0.03)
    family = [Statistic(question="hardware", test="wilcoxon", p_value=p) for p in p_values]
    other = Statistic(question="engine", test="wilcoxon", p_value=0.5)
    own = Statistic(question="hardware", test="tukey", p_value=0.2, p_corrected=0.2)
    found = correct([*family, other, own, Statistic(question="hardware", test="wilcoxon")])
    assert [each.p_corrected for each in found] == [pytest.approx(p) for p in (0.03, 0.06, 0.06, 0.5, 0.2)] + [None]


@pytest.mark.parametrize(
    "refused",
    [
        anova([[1.0, 2.0]]),
        anova([[1.0, 2.0], [3.0]]),
        anova([[5.0, 5.0], [7.0, 7.0]]),
        blocked_anova({"a": {1: 1.0, 2: 2.0}}),
        blocked_anova({"a": {1: 1.0, 2: 2.0}, "b": {1: 5.0, 2: 6.0}}),
        pearson([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        pearson([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]),
        spearman([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]),
        wilcoxon([1.0] * 9, [1.0] * 9),
        cliffs_delta([1.0] * 3, [2.0] * 3),
    ],
)
def test_too_few_or_constant_samples_give_no_number_but_a_reason(refused: object) -> None:
    """Absence is None with a note, never NaN."""
    assert (refused.statistic, refused.p_value, refused.effect) == (None, None, None)  # type: ignore[attr-defined]
    assert refused.note  # type: ignore[attr-defined]


def test_a_statistic_refuses_nan() -> None:
    """Nothing that is no number gets into `statistics.json`."""
    with pytest.raises(ValueError, match="is no number"):
        Statistic(question="batch", test="anova", effect=float("nan"))


rates = st.lists(st.floats(0.01, 1e6).map(lambda value: round(value, 2)), min_size=MIN_PAIRS, max_size=20)


@given(rates, rates)
def test_swapping_the_sides_swaps_the_signs(first: list[float], second: list[float]) -> None:
    """Wilcoxon's p does not depend on which side is first; effects and their intervals turn around."""
    length = min(len(first), len(second))
    first, second = first[:length], second[:length]
    one, other = wilcoxon(first, second), wilcoxon(second, first)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.effect is None or one.effect == pytest.approx(-(other.effect or 0))
    delta, turned = cliffs_delta(first, second), cliffs_delta(second, first)
    assert delta.effect is not None
    assert delta.interval is not None
    assert turned.interval is not None
    assert turned.effect == pytest.approx(-delta.effect)
    assert delta.interval == pytest.approx((-turned.interval[1], -turned.interval[0]))
    assert -1 <= delta.interval[0] <= delta.effect <= delta.interval[1] <= 1
