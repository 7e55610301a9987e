"""Question 1: how does throughput change with the number of GPUs, at one batch size?"""

from collections.abc import Iterator

from infpop_operator.analysis.grids import Grid
from infpop_operator.analysis.statistics.factors import Factor, analyse
from infpop_operator.analysis.statistics.selection import Selection
from infpop_operator.analysis.statistics.statistic import Statistic


def gpu_scaling(selection: Selection, batch_size: int) -> Iterator[Statistic]:
    """Yield the tests for each engine and GPU model; the samples are the models, at one batch size."""
    for (engine, hardware), grids in selection.by_engine_and_hardware().items():
        factor = Factor(
            question="gpu-scaling",
            unit="GPU count",
            fixed=f"batch size {batch_size}",
            engine=engine,
            gpu_model=hardware,
            batch_size=batch_size,
            workload=selection.workload,
        )
        yield from analyse(factor, _rates(grids, batch_size))


def _rates(grids: tuple[Grid, ...], batch_size: int) -> dict[str, dict[int, float]]:
    found = {grid.model: grid.at_batch(batch_size) for grid in grids}
    return {model: rates for model, rates in found.items() if rates}
