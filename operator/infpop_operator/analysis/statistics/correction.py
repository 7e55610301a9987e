"""Correct p-values for several tests at once: Holm's step-down method, within one question and one test."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from statsmodels.stats.multitest import multipletests

from infpop_operator.analysis.statistics.statistic import Statistic


def correct(statistics: Iterable[Statistic]) -> tuple[Statistic, ...]:
    """Return the statistics with `p_corrected` where they have a p-value and no correction of their own.

    All tests of one question by one test are a family: a reader who looks for the smallest p among them looks at all.
    """
    found = list(statistics)
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, each in enumerate(found):
        if each.p_value is not None and each.p_corrected is None:
            families[each.question, each.test].append(index)
    for indices in families.values():
        for index, value in zip(indices, holm([found[index].p_value or 0.0 for index in indices]), strict=True):
            found[index] = replace(found[index], p_corrected=value)
    return tuple(found)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values corrected by Holm's method, in their order; at least one.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    return tuple(map(float, multipletests(p_values, method="holm")[1]))
