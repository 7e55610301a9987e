"""Analyses of variance over one factor, the GPU count or the batch size, whose samples are models.

Three tests for each: the one-way analysis of the raw tokens/s, as the paper made it; Tukey's HSD for its pairs; and
the analysis of the logarithm with the models as blocks. Models differ in throughput by an order of magnitude, which is
error in the first and hides what a factor does; the third takes it out, and a model then counts by its ratios alone, at
those levels where it has a number.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log

from infpop_operator.analysis.statistics.procedures import MAX_TUKEY_GROUPS, MIN_GROUP, anova, blocked_anova, tukey
from infpop_operator.analysis.statistics.statistic import Statistic, Topic
from infpop_operator.analysis.statistics.wording import p_words, rate, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor(Topic):
    """What is varied and what is held fixed: `unit` names a level, `fixed` is shown in the sentences."""

    unit: str
    fixed: str
    engine: str
    gpu_model: str

    @property
    def place(self) -> str:
        """Where the numbers are from, in words."""
        return f"{self.engine} on {self.gpu_model}, {self.fixed}"


def analyse(factor: Factor, rates: Mapping[str, Mapping[int, float]]) -> Iterator[Statistic]:
    """Yield the three tests.

    Args:
        factor: what is varied.
        rates: tokens/s of each model at each level of the factor.
    """
    levels = sorted({level for of_model in rates.values() for level in of_model})
    samples = {level: [own[level] for own in rates.values() if level in own] for level in levels}
    yield _one_way(factor, levels, samples)
    yield _blocked(factor, [level for level in levels if len(samples[level]) >= MIN_GROUP], rates)
    yield from _pairs(factor, levels, samples)


def _one_way(factor: Factor, levels: list[int], samples: Mapping[int, list[float]]) -> Statistic:
    outcome = anova([samples[level] for level in levels])
    sentence = verdict(
        outcome,
        yes=f"{factor.place}: tokens/s differ between {factor.unit}s, over models as they are",
        no=f"{factor.place}: no difference of tokens/s between {factor.unit}s is shown, over models as they are",
    )
    notes = [outcome.note] if outcome.note else []
    if len({len(samples[level]) for level in levels}) > 1:
        sizes = ", ".join(f"{level}: {len(samples[level])}" for level in levels)
        notes.append(f"not all models have every {factor.unit} (models at {sizes}), so the groups differ in models too")
    if outcome.statistic is not None and len(levels) > MAX_TUKEY_GROUPS:
        notes.append(f"Tukey's test left out: {len(levels)} groups make {len(levels) * (len(levels) - 1) // 2} pairs")
    return factor.tested(
        outcome,
        test="anova",
        groups=_labels(levels),
        sentence=sentence,
        note="; ".join(notes) or None,
    )


def _blocked(factor: Factor, levels: list[int], rates: Mapping[str, Mapping[int, float]]) -> Statistic:
    usable = frozenset(levels)
    outcome = blocked_anova(
        {model: {level: log(own[level]) for level in own if level in usable} for model, own in rates.items()}
    )
    sentence = verdict(
        outcome,
        yes=f"{factor.place}: each model taken by itself, tokens/s change with the {factor.unit}",
        no=f"{factor.place}: each model taken by itself, no change of tokens/s with the {factor.unit} is shown",
    )
    return factor.tested(
        outcome,
        test="anova-blocked",
        groups=_labels(levels),
        sentence=sentence,
        note=outcome.note or "logarithm of tokens/s, with the models as blocks",
    )


def _pairs(factor: Factor, levels: list[int], samples: Mapping[int, list[float]]) -> Iterator[Statistic]:
    for pair in tukey([samples[level] for level in levels]):
        outcome, (first, second) = pair.outcome, (levels[pair.first], levels[pair.second])
        difference, p_value = outcome.effect, outcome.p_value
        if difference is None or p_value is None:
            continue
        yield factor.tested(
            outcome,
            test="tukey",
            groups=_labels([first, second]),
            p_corrected=p_value,
            sentence=(
                f"{factor.place}: {factor.unit} {second} is {rate(abs(difference))} tokens/s "
                f"{'faster' if difference >= 0 else 'slower'} on average than {first} ({p_words(p_value)})."
            ),
        )


def _labels(levels: list[int]) -> tuple[str, ...]:
    return tuple(map(str, levels))
