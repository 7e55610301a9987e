"""Question 4: how much faster is one engine than another on the same GPU model?

Three comparisons: in all cells that both have; at each GPU count, over all batch sizes as the paper did, and at one;
and its table of the best of each engine: GPU count, batch size, throughput, the factor between the engines' own bests,
and the factor at the same GPU count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import fmean as mean
from statistics import median

from infpop_operator.analysis.grids import Grid, Place, shared_places
from infpop_operator.analysis.statistics.paired import Comparison, compare, compare_pairs, join, pair_cells
from infpop_operator.analysis.statistics.selection import Selection
from infpop_operator.analysis.statistics.statistic import ALL, Statistic
from infpop_operator.analysis.statistics.wording import count, rate


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """The bests of two engines for one model on one GPU model, and by what factor the second is faster.

    `same_gpu_count` is the factor at the GPU count at which the first engine is best, each engine at its own best batch
    size there; None if the second has no number there.
    """

    model: str
    first_best: Place
    first_rate: float
    second_best: Place
    second_rate: float
    same_gpu_count: float | None

    @property
    def factor(self) -> float:
        """The second engine's best over the first engine's best."""
        return self.second_rate / self.first_rate


def engine(selection: Selection, batch_size: int) -> Iterator[Statistic]:
    """Yield the comparisons of each two engines on each GPU model; at each GPU count also at `batch_size` alone."""
    for first, second in selection.pairs("engine"):
        for gpu_model, models in selection.matched("engine", first, second).items():
            comparison = Comparison(
                question="engine",
                first=first,
                second=second,
                gpu_model=gpu_model,
                workload=selection.workload,
                device=selection.device,
            )
            yield from compare(comparison, {model: pair_cells(*grids) for model, grids in models.items()})
            yield from _at_gpu_counts(comparison, models, batch_size)
            yield from _table(comparison, engine_table(models))
            yield from _table(replace(comparison, batch_size=batch_size), engine_table(models, batch_size))


def engine_table(models: Mapping[str, tuple[Grid, Grid]], batch_size: int | None = None) -> tuple[EngineRow, ...]:
    """Return a row for each model that works on both engines, at one batch size or each engine's best one."""
    rows = (_row(model, *_within(grids, batch_size)) for model, grids in models.items())
    return tuple(row for row in rows if row is not None)


def _within(grids: tuple[Grid, Grid], batch_size: int | None) -> tuple[Grid, Grid]:
    if batch_size is None:
        return grids
    first, second = (
        replace(grid, rates={place: number for place, number in grid.rates.items() if place[1] == batch_size})
        for grid in grids
    )
    return first, second


def _row(model: str, first: Grid, second: Grid) -> EngineRow | None:
    own, other = first.best, second.best
    if own is None or other is None:
        return None
    there = [number for (gpus, _), number in second.rates.items() if gpus == own.place[0]]
    return EngineRow(
        model=model,
        first_best=own.place,
        first_rate=own.rate,
        second_best=other.place,
        second_rate=other.rate,
        same_gpu_count=max(there) / own.rate if there else None,
    )


def _at_gpu_counts(
    comparison: Comparison, models: Mapping[str, tuple[Grid, Grid]], batch_size: int
) -> Iterator[Statistic]:
    """Yield the tests at each GPU count: of all cells of the models, and of one cell each, at one batch size."""
    shared = {model: shared_places(*grids) for model, grids in models.items()}
    for gpus in sorted({gpus for places in shared.values() for gpus, _ in places}):
        for only in (None, batch_size):
            wanted = {
                model: [place for place in places if place[0] == gpus and only in {None, place[1]}]
                for model, places in shared.items()
            }
            known = [model for model, places in wanted.items() if places]
            pairs = join([pair_cells(*models[model], places=wanted[model]) for model in known])
            if pairs.first:
                fixed = replace(comparison, gpu_count=gpus, batch_size=only)
                several = len(pairs.first) > len(known) > 1
                yield from compare_pairs(fixed, ALL, pairs, models=len(known), several_of_each=several)


def _table(comparison: Comparison, rows: tuple[EngineRow, ...]) -> Iterator[Statistic]:
    device = comparison.device
    for row in rows:
        at_first, at_second = _place(row.first_best, device), _place(row.second_best, device)
        yield comparison.statistic(
            test="factor-best",
            model=row.model,
            groups=(f"{comparison.first}: {at_first}", f"{comparison.second}: {at_second}"),
            n=2,
            statistic=row.factor,
            sentence=(
                f"{row.model}, {comparison.place}: {comparison.second} at its best ({at_second}) makes "
                f"{rate(row.second_rate)} tokens/s, {row.factor:.3g} times {comparison.first} at its best "
                f"({at_first}, {rate(row.first_rate)} tokens/s)."
            ),
        )
        if row.same_gpu_count is not None:
            yield comparison.statistic(
                test="factor-same-gpus",
                model=row.model,
                gpu_count=row.first_best[0],
                n=2,
                statistic=row.same_gpu_count,
                sentence=(
                    f"{row.model}, {comparison.place}, {count(row.first_best[0], device)}: {comparison.second} is "
                    f"{row.same_gpu_count:.3g} times as fast as {comparison.first}."
                ),
            )
    same = [row.same_gpu_count for row in rows if row.same_gpu_count is not None]
    for test, factors, what in (
        ("factor-best", [row.factor for row in rows], "each at its best"),
        ("factor-same-gpus", same, f"at the GPU count that is best for {comparison.first}"),
    ):
        if factors:
            yield comparison.statistic(
                test=test,
                n=len(factors),
                mean=mean(factors),
                median=median(factors),
                sentence=(
                    f"{count(len(factors), 'model')}, {comparison.place}, {what}: {comparison.second} is "
                    f"{mean(factors):.3g} times as fast as {comparison.first} in the mean, {median(factors):.3g} times "
                    "in the median."
                ),
            )


def _place(place: Place, device: str) -> str:
    return f"{count(place[0], device)}, batch size {place[1]}"
