"""Compare two sides cell by cell: GPU models or engines at the same model, GPU count and batch size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean as mean
from statistics import median

from infpop_operator.analysis.grids import Grid, Place, shared_places
from infpop_operator.analysis.statistics.procedures import MIN_PAIRS, Outcome, cliffs_delta, wilcoxon
from infpop_operator.analysis.statistics.statistic import ALL, Statistic, Topic
from infpop_operator.analysis.statistics.wording import count, delta_size, p_words, percent, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Topic):
    """Two sides of a question, the slower one first, and what both have in common."""

    first: str
    second: str

    @property
    def groups(self) -> tuple[str, ...]:
        """Both sides, the first one first."""
        return (self.first, self.second)

    @property
    def place(self) -> str:
        """Where the numbers are from, in words."""
        fixed = [
            self.engine,
            self.gpu_model,
            None if self.gpu_count is None else count(self.gpu_count, self.device),
            None if self.batch_size is None else f"batch size {self.batch_size}",
        ]
        return ", ".join(part for part in fixed if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Tokens/s of the cells that both sides have, in the same order; and how many only one of them has."""

    first: tuple[float, ...]
    second: tuple[float, ...]
    only_first: int = 0
    only_second: int = 0

    @property
    def improvements(self) -> tuple[float, ...]:
        """How much faster the second side is in each cell, in percent."""
        return tuple((new / old - 1) * 100 for old, new in zip(self.first, self.second, strict=True))

    @property
    def ratio(self) -> float | None:
        """Geometric mean of second / first, None without a pair."""
        logs = [log(new / old) for old, new in zip(self.first, self.second, strict=True)]
        return exp(mean(logs)) if logs else None


def pair_cells(first: Grid, second: Grid, places: Sequence[Place] | None = None) -> Pairs:
    """Return the cells that both have, or those of them that are in `places`."""
    if places is None:
        shared = shared_places(first, second)
    else:
        shared = tuple(place for place in places if place in first.rates and place in second.rates)
    return Pairs(
        first=tuple(first.rates[place] for place in shared),
        second=tuple(second.rates[place] for place in shared),
        only_first=len(first.rates) - len(shared) if places is None else 0,
        only_second=len(second.rates) - len(shared) if places is None else 0,
    )


def join(found: Sequence[Pairs]) -> Pairs:
    """Return the pairs of several models as one."""
    return Pairs(
        first=tuple(number for each in found for number in each.first),
        second=tuple(number for each in found for number in each.second),
        only_first=sum(each.only_first for each in found),
        only_second=sum(each.only_second for each in found),
    )


def compare(comparison: Comparison, by_model: Mapping[str, Pairs]) -> Iterator[Statistic]:
    """Yield the tests of each model and of all models together, and the test over models."""
    known = {model: pairs for model, pairs in by_model.items() if pairs.first}
    for model, pairs in known.items():
        yield from compare_pairs(comparison, model, pairs)
    if known:
        joined = join(list(known.values()))
        several = len(joined.first) > len(known) > 1
        yield from compare_pairs(comparison, ALL, joined, models=len(known), several_of_each=several)
        yield _over_models(comparison, known)


def compare_pairs(
    comparison: Comparison, model: str, pairs: Pairs, *, models: int = 1, several_of_each: bool = False
) -> Iterator[Statistic]:
    """Yield Wilcoxon's test, Cliff's delta and the improvement of one set of pairs.

    Args:
        comparison: the two sides.
        model: the model, or "all".
        pairs: the cells, at least one.
        models: how many models the cells are from.
        several_of_each: whether there are several cells of a model, which are then no independent samples.
    """
    whose = f"{count(models, 'model')}, {comparison.place}" if model == ALL else f"{model}, {comparison.place}"
    first, second = comparison.first, comparison.second
    dependent = "cells of one model are alike, so p is too small: see wilcoxon-models" if several_of_each else None
    tested = wilcoxon(pairs.first, pairs.second)
    faster = second if (tested.effect or 0) >= 0 else first
    yield comparison.tested(
        tested,
        test="wilcoxon",
        model=model,
        sentence=verdict(
            tested,
            yes=f"{whose}: {faster} is faster than {first if faster == second else second} in the same cells",
            no=f"{whose}: no difference between {first} and {second} is shown in the same cells",
        ),
        note="; ".join(note for note in (tested.note, dependent) if note) or None,
    )
    delta = cliffs_delta(pairs.first, pairs.second)
    yield comparison.tested(
        delta,
        test="cliffs-delta",
        model=model,
        sentence=f"{whose}: {_delta_words(f'{second} against {first}', delta)}",
    )
    gains = pairs.improvements
    yield comparison.statistic(
        test="improvement",
        model=model,
        n=len(gains),
        statistic=None if pairs.ratio is None else (pairs.ratio - 1) * 100,
        mean=mean(gains),
        median=median(gains),
        sentence=(
            f"{whose}: {second} is {percent(mean(gains))} against {first} in the mean of "
            f"{count(len(gains), 'cell')}, {percent(median(gains))} in the median."
        ),
        note=_unpaired(comparison, pairs),
    )


def _over_models(comparison: Comparison, by_model: Mapping[str, Pairs]) -> Statistic:
    """Return Wilcoxon's test with one sample for each model: the geometric mean of its ratios."""
    ratios = [ratio for pairs in by_model.values() if (ratio := pairs.ratio) is not None]
    gains = [(ratio - 1) * 100 for ratio in ratios]
    tested = wilcoxon([0.0] * len(ratios), [log(ratio) for ratio in ratios])
    place = f"{count(len(ratios), 'model')}, {comparison.place}"
    gain = f"{percent(mean(gains))} in the mean, {percent(median(gains))} in the median"
    detail = f" ({p_words(tested.p_value)})" if tested.p_value is not None else ""
    return comparison.tested(
        tested,
        test="wilcoxon-models",
        mean=mean(gains),
        median=median(gains),
        sentence=f"{place}: {comparison.second} against {comparison.first}, one number for each model: {gain}{detail}.",
    )


def _delta_words(sides: str, delta: Outcome) -> str:
    if delta.effect is None or delta.interval is None:
        return f"no Cliff's delta of {sides}: {delta.note}."
    low, high = delta.interval
    size = delta_size(delta.effect)
    return f"Cliff's delta of {sides} is {delta.effect:+.2f} ({low:+.2f} to {high:+.2f}): a {size} effect."


def _unpaired(comparison: Comparison, pairs: Pairs) -> str | None:
    sides = ((pairs.only_first, comparison.first), (pairs.only_second, comparison.second))
    parts = [f"{number} only on {side}" for number, side in sides if number]
    few = f"fewer than {MIN_PAIRS} cells" if len(pairs.first) < MIN_PAIRS else None
    left = f"cells without a partner: {', '.join(parts)}" if parts else None
    return "; ".join(part for part in (few, left) if part) or None
