"""Question 5: what does tuning again gain when the GPU model changes?

On landscapes: the best old configuration that works on the new GPUs, kept there, against the best of the new ones, as
the paper's program counts ("improvement"); and the same for the old best itself, which leaves out the models whose old
best does not work there, as `infpop replay retune` counts ("improvement-old-best").
Rounds of studies that changed their hardware say the same of real measurements ("improvement-rounds").

The gain of a landscape is never negative, because the old best is one of the new cells; and where cells are noisy it is
too large, because the new best is the largest of many numbers. No test against zero makes sense.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean as mean
from statistics import median

from infpop_operator.analysis.grids import Grid, Place
from infpop_operator.analysis.rows import RoundResultRow
from infpop_operator.analysis.statistics.selection import Selection
from infpop_operator.analysis.statistics.statistic import Statistic
from infpop_operator.analysis.statistics.wording import count, percent, rate

NO_GAIN_PERCENT = 1.0  # a smaller gain is a tie, as in `infpop replay retune`


@dataclass(frozen=True, slots=True, kw_only=True)
class Retuning:
    """What one model gains on one engine when the GPUs change from `old` to `new`.

    `kept` is the old best; `gain_percent` is None if it has no number on the new GPUs, and `problem` says why.
    `fallback` is the fastest old configuration with a number on the new GPUs, None if there is none.
    """

    old: Grid
    new: Grid
    kept: Place
    best: Place
    gain_percent: float | None
    problem: str | None
    fallback: Place | None
    fallback_gain_percent: float | None


def retunings(models: dict[str, tuple[Grid, Grid]]) -> tuple[Retuning, ...]:
    """Return what each model gains; models without a number on one of the two are left out."""
    found = (retuning(old, new) for old, new in models.values())
    return tuple(each for each in found if each is not None)


def retuning(old: Grid, new: Grid) -> Retuning | None:
    """Return what the model gains when it moves from `old` to `new`, None if one of them has no number."""
    kept, best = old.fastest, new.fastest
    if kept is None or best is None:
        return None
    works = [place for place in old.rates if place in new.rates]
    fallback = min(works, key=lambda place: (-old.rates[place], place), default=None)
    return Retuning(
        old=old,
        new=new,
        kept=kept,
        best=best,
        gain_percent=_gain(new, kept, best),
        problem=None if kept in new.rates else new.without_number.get(kept, "not tried there"),
        fallback=fallback,
        fallback_gain_percent=None if fallback is None else _gain(new, fallback, best),
    )


def _gain(new: Grid, kept: Place, best: Place) -> float | None:
    return (new.rates[best] / new.rates[kept] - 1) * 100 if kept in new.rates else None


def retune(selection: Selection) -> Iterator[Statistic]:
    """Yield the gain of each model, and over the models, for each change of GPU model in both directions."""
    for pair in selection.pairs("hardware"):
        for old, new in (pair, pair[::-1]):
            for engine, models in selection.matched("hardware", old, new).items():
                yield from _change(selection, engine, (old, new), retunings(models))


def _change(
    selection: Selection, engine: str, groups: tuple[str, str], found: tuple[Retuning, ...]
) -> Iterator[Statistic]:
    place = f"{engine}, from {groups[0]} to {groups[1]}"
    fixed = Statistic(question="retune", test="improvement", engine=engine, groups=groups, workload=selection.workload)
    strict = replace(fixed, test="improvement-old-best")
    for each in found:
        own = replace(fixed, model=each.new.model, gpu_count=each.best[0], batch_size=each.best[1], n=1)
        lost = None if each.problem is None else f"the old best has no number on {groups[1]}: {each.problem}"
        yield replace(
            own,
            statistic=each.fallback_gain_percent,
            sentence=_model_sentence(place, each, each.fallback),
            note=None if lost is None else f"{lost}; {_instead(each)}",
        )
        yield replace(
            own,
            test=strict.test,
            statistic=each.gain_percent,
            sentence=_model_sentence(place, each, None if each.gain_percent is None else each.kept),
            note=lost,
        )
    lost_bests = sum(each.gain_percent is None for each in found)
    what = f"; {count(lost_bests, 'old best has', 'old bests have')} no number there" if lost_bests else ""
    fallback = [each.fallback_gain_percent for each in found if each.fallback_gain_percent is not None]
    kept = [each.gain_percent for each in found if each.gain_percent is not None]
    yield _summary(fixed, fallback, f"{place}, with the best old configuration that works there")
    yield _summary(strict, kept, f"{place}, with the old best itself{what}")


def _instead(each: Retuning) -> str:
    if each.fallback is None:
        return "no other old configuration has one"
    return f"{_place(each, each.fallback)} is kept instead"


def _summary(fixed: Statistic, gains: Sequence[float], place: str, *, of: str = "model") -> Statistic:
    """Return what several gains amount to, as a statistic with the question, engine and groups of `fixed`.

    `of`: what has one gain each, in the singular.
    """
    if not gains:
        note = "too few samples: no old configuration has a number on the new GPUs"
        return replace(fixed, sentence=f"{place}: no {of} has a gain to compute.", note=note)
    unchanged = sum(gain <= 0 for gain in gains)
    small = sum(gain < NO_GAIN_PERCENT for gain in gains)
    return replace(
        fixed,
        n=len(gains),
        effect=1 - small / len(gains),  # the share of those that gain something worth having
        mean=mean(gains),
        median=median(gains),
        sentence=(
            f"{place}: tuning again gains {percent(mean(gains))} in the mean of {count(len(gains), of)}, "
            f"{percent(median(gains))} in the median, between {percent(min(gains))} and {percent(max(gains))}. "
            f"{count(small, f'{of} gains', f'{of}s gain')} less than {NO_GAIN_PERCENT:g} %; what was kept is the best "
            f"of {unchanged}."
        ),
    )


def _model_sentence(place: str, each: Retuning, kept: Place | None) -> str:
    """Return what tuning again gains against a configuration; None: the old best has no number to compare with."""
    best = f"{_place(each, each.best)} makes {rate(each.new.rates[each.best])} tokens/s"
    if kept is None:
        return (
            f"{each.new.model}, {place}: the old best, {_place(each, each.kept)}, has no number there "
            f"({each.problem}); {best}."
        )
    what = "the old best" if kept == each.kept else "the best old configuration that works there"
    gain = _gain(each.new, kept, each.best) or 0.0
    if gain <= 0:
        return f"{each.new.model}, {place}: {what} is the best: {best}."
    return f"{each.new.model}, {place}: {best}, {percent(gain)} against {what}, {_place(each, kept)}."


def _place(each: Retuning, place: Place) -> str:
    return f"{count(place[0], each.new.conditions.device)} with batch size {place[1]}"


def retuned_rounds(rounds: Sequence[RoundResultRow]) -> Iterator[Statistic]:
    """Yield what later rounds gained that measured a baseline, by engine and change of GPU model.

    The first round of a pool tunes, and not again, whatever it gains over the baseline that the user named.
    """
    found: dict[tuple[str, tuple[str, str]], list[float]] = defaultdict(list)
    for each in rounds:
        if each.improvement_percent is None or each.round == 1:
            continue
        new = each.gpu_model or each.pool
        groups = (each.previous_gpu_model or new, new)
        found[each.engine, groups].append(each.improvement_percent)
        yield Statistic(
            question="retune",
            test="improvement-rounds",
            engine=each.engine,
            model=each.model,
            groups=groups,
            n=1,
            statistic=each.improvement_percent,
            interval=each.improvement_interval_percent,
            sentence=(
                f"{each.model}, {each.engine}, {each.study}, round {each.round} of pool {each.pool} "
                f"({each.reason or 'no reason recorded'}): {percent(each.improvement_percent)} against its baseline."
            ),
        )
    for (engine, groups), gains in sorted(found.items()):
        fixed = Statistic(question="retune", test="improvement-rounds", engine=engine, groups=groups)
        yield _summary(fixed, gains, f"{engine}, from {groups[0]} to {groups[1]}, in rounds", of="round")
