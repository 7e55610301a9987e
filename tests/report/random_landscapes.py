"""Landscapes with every kind of cell and numbers of every width, drawn from a seed."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from infpop_operator.core.landscape import CellState, Landscape, LandscapeCell, arrange

NUMBERS = (0.0123, 1.234, 98.76, 812.0, 1234.0, 98_765.0, 1_234_567.0)
MOST_GPU_COUNTS, MOST_BATCH_SIZES = 16, 14


def random_landscape(seed: int, *, gpu_counts: int | None = None, batch_sizes: int | None = None) -> Landscape:
    """Return a landscape; about every third one has extra parameters, and most have a best."""
    draw = random.Random(seed)
    columns = gpu_counts or draw.randint(1, MOST_GPU_COUNTS)
    rows = batch_sizes or draw.randint(1, MOST_BATCH_SIZES)
    powers = draw.random() < 0.5
    most = draw.choice((1, 1, 3, 12))
    cells = [
        LandscapeCell(gpu_count=2**column if powers else column + 1, batch_size=2**row, state=CellState.UNTRIED)
        for column in range(columns)
        for row in range(rows)
    ]
    filled = [_filled(cell, draw, most) for cell in cells]
    eligible = [
        cell for cell in filled if cell.throughput_tokens_per_second and not cell.violations and not cell.missing
    ]
    if eligible and draw.random() < 0.8:
        best = max(eligible, key=lambda cell: cell.throughput_tokens_per_second or 0.0)
        filled[filled.index(best)] = replace(best, is_best=True)
    return arrange(filled, collapsed_extra=("enable_x", "mode") if most > 1 else ())


def _filled(cell: LandscapeCell, draw: random.Random, most: int) -> LandscapeCell:
    kind = draw.choice(_KINDS)
    if kind is None:
        return cell
    still_open = draw.randrange(most) if most > 1 else 0
    return replace(kind(cell, draw), variants=most, open_variants=still_open)


def _measured(cell: LandscapeCell, draw: random.Random) -> LandscapeCell:
    reused = "other" if draw.random() < 0.2 else None
    return replace(
        cell,
        state=CellState.MEASURED,
        throughput_tokens_per_second=draw.choice(NUMBERS) * draw.uniform(0.95, 1.0),
        reused_from=reused,
    )


def _violating(cell: LandscapeCell, draw: random.Random) -> LandscapeCell:
    return replace(_measured(cell, draw), violations=("throughputPerGPU 3 > 2",))


def _lacking(cell: LandscapeCell, draw: random.Random) -> LandscapeCell:
    return replace(_measured(cell, draw), missing=("power missing: NoWindow",))


def _raced_out(cell: LandscapeCell, draw: random.Random) -> LandscapeCell:
    return replace(cell, state=CellState.RACED_OUT, at_most_tokens_per_second=draw.choice(NUMBERS))


def _failed(state: CellState, reason: str) -> Callable[[LandscapeCell, random.Random], LandscapeCell]:
    detail = "CUDA out of memory. Tried to allocate 20.00 GiB; 模型太大 🚀 " * 3
    return lambda cell, _draw: replace(cell, state=state, reason=reason, detail=detail)


_KINDS = (
    *(_measured,) * 4,
    _violating,
    _lacking,
    _raced_out,
    _failed(CellState.INFEASIBLE, "GpuOutOfMemory"),
    _failed(CellState.INFEASIBLE, "HeadsNotDivisible"),
    _failed(CellState.INVALID, "UnstableRepeats"),
    _failed(CellState.BROKEN, "SomethingNew"),
    _failed(CellState.RUNNING, ""),
    None,
)


def cells_of(landscape: Landscape) -> Iterator[LandscapeCell]:
    """Yield all cells, row by row."""
    return (cell for row in landscape.rows for cell in row)
