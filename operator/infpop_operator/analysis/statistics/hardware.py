"""Question 3: how much faster is one GPU model than another, at the same configurations?"""

from collections.abc import Iterator

from infpop_operator.analysis.statistics.paired import Comparison, compare, pair_cells
from infpop_operator.analysis.statistics.selection import Selection
from infpop_operator.analysis.statistics.statistic import Statistic


def hardware(selection: Selection) -> Iterator[Statistic]:
    """Yield the tests for each two GPU models and each engine that ran on both; the samples are pairs of cells."""
    for first, second in selection.pairs("hardware"):
        for engine, models in selection.matched("hardware", first, second).items():
            comparison = Comparison(
                question="hardware",
                first=first,
                second=second,
                engine=engine,
                workload=selection.workload,
                device=selection.device,
            )
            yield from compare(comparison, {model: pair_cells(*grids) for model, grids in models.items()})
