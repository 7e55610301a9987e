"""Question 2: how does throughput change with the batch size, at each number of GPUs?

Besides the tests: the best batch size of each model at each GPU count; its knee, the smallest batch size that reaches
90 % of the best of its row; and where memory ends it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean as mean
from statistics import median

from infpop_operator.analysis.grids import Grid
from infpop_operator.analysis.statistics.factors import Factor, analyse
from infpop_operator.analysis.statistics.selection import Selection
from infpop_operator.analysis.statistics.statistic import Statistic
from infpop_operator.analysis.statistics.wording import count, rate

# A larger batch than the knee makes each sequence slower for at most a ninth more tokens/s. Reasoned, not measured.
KNEE_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchChoice:
    """The best batch size of one model at one GPU count, its knee, and the smallest that does not fit into memory.

    `memory_end` is None where no larger batch size than those with a number ran out of memory.
    """

    grid: Grid
    gpu_count: int
    best: int
    best_rate: float
    knee: int
    knee_rate: float
    memory_end: int | None
    tried: int

    @property
    def knee_share(self) -> float:
        """Throughput at the knee as a share of the best."""
        return self.knee_rate / self.best_rate


def batch_choices(grid: Grid) -> tuple[BatchChoice, ...]:
    """Return the choice at each GPU count with a number."""
    rows: dict[int, dict[int, float]] = {}
    for (gpus, batch), number in grid.rates.items():
        rows.setdefault(gpus, {})[batch] = number
    out_of_memory: dict[int, list[int]] = {}
    for gpus, batch in grid.without_number:
        if grid.is_out_of_memory((gpus, batch)):
            out_of_memory.setdefault(gpus, []).append(batch)
    return tuple(_choice(grid, gpus, rows[gpus], out_of_memory.get(gpus, [])) for gpus in sorted(rows))


def _choice(grid: Grid, gpus: int, rates: dict[int, float], out_of_memory: list[int]) -> BatchChoice:
    best = min(rates, key=lambda batch: (-rates[batch], batch))
    knee = min(batch for batch, number in rates.items() if number >= KNEE_SHARE * rates[best])
    above = [batch for batch in out_of_memory if batch > max(rates)]
    return BatchChoice(
        grid=grid,
        gpu_count=gpus,
        best=best,
        best_rate=rates[best],
        knee=knee,
        knee_rate=rates[knee],
        memory_end=min(above, default=None),
        tried=len(rates),
    )


def batch(selection: Selection) -> Iterator[Statistic]:
    """Yield the tests for each engine, GPU model and GPU count, whose samples are the models; then the choices."""
    for (engine, hardware), grids in selection.by_engine_and_hardware().items():
        choices: dict[int, list[BatchChoice]] = {}
        for grid in grids:
            for choice in batch_choices(grid):
                choices.setdefault(choice.gpu_count, []).append(choice)
        rates = _by_gpu_count(grids)
        for gpus in sorted(choices):
            factor = Factor(
                question="batch",
                unit="batch size",
                fixed=count(gpus, selection.device),
                engine=engine,
                gpu_model=hardware,
                gpu_count=gpus,
                workload=selection.workload,
                device=selection.device,
            )
            yield from analyse(factor, rates[gpus])
            yield from _choices(factor, choices[gpus])


def _by_gpu_count(grids: tuple[Grid, ...]) -> dict[int, dict[str, dict[int, float]]]:
    """Return tokens/s by GPU count, model and batch size."""
    found: dict[int, dict[str, dict[int, float]]] = {}
    for grid in grids:
        for (gpus, batch_size), number in grid.rates.items():
            found.setdefault(gpus, {}).setdefault(grid.model, {})[batch_size] = number
    return found


def _choices(factor: Factor, choices: list[BatchChoice]) -> Iterator[Statistic]:
    for choice in choices:
        yield from _of_model(factor, choice)
    for test, what, sizes in (
        ("best-batch", "the best batch size", [each.best for each in choices]),
        ("knee", f"the smallest batch size with {KNEE_SHARE * 100:.0f} % of the best", [each.knee for each in choices]),
        ("memory-end", "the smallest batch size that does not fit", [b for c in choices if (b := c.memory_end)]),
    ):
        if sizes:
            of = "(1 model)" if len(sizes) == 1 else f"in the median of {len(sizes)} models"
            yield factor.statistic(
                test=test,
                n=len(sizes),
                mean=float(mean(sizes)),
                median=float(median(sizes)),
                sentence=f"{factor.place}: {what} is {median(sizes):g} {of}.",
            )


def _of_model(factor: Factor, choice: BatchChoice) -> Iterator[Statistic]:
    where, model = f"{choice.grid.model}, {factor.place}", choice.grid.model
    yield factor.statistic(
        test="best-batch",
        model=model,
        batch_size=choice.best,
        n=choice.tried,
        statistic=choice.best_rate,
        sentence=f"{where}: batch size {choice.best} is the fastest, with {rate(choice.best_rate)} tokens/s.",
    )
    yield factor.statistic(
        test="knee",
        model=model,
        batch_size=choice.knee,
        n=choice.tried,
        statistic=choice.knee_rate,
        effect=choice.knee_share,
        sentence=(
            f"{where}: batch size {choice.knee} already gives {rate(choice.knee_rate)} tokens/s, "
            f"{choice.knee_share * 100:.0f} % of the best."
        ),
    )
    if choice.memory_end is not None:
        yield factor.statistic(
            test="memory-end",
            model=model,
            batch_size=choice.memory_end,
            n=choice.tried,
            sentence=f"{where}: batch size {choice.memory_end} does not fit into memory.",
        )
