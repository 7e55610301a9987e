"""Landscapes of two pools with a known optimum: made up from a seed, or recorded ones from a file."""

from collections.abc import Mapping
from pathlib import Path
from random import Random

from infpop_runner.contract import InfeasibleReason, RecordedLandscape
from infpop_runner.engines.landscape import load_cells

Outcome = float | InfeasibleReason  # tokens/s, or why there is no such number
Cell = tuple[int, int]  # GPU count, batch size
Landscapes = Mapping[str, Mapping[Cell, Outcome]]  # by pool
Place = tuple[str, int, int]  # pool, GPU count, batch size
POOLS = {"a100": "A100", "v100": "V100"}
GPU_COUNTS = (1, 2, 4, 8)
BATCH_SIZES = (1, 8, 32, 64, 128, 256)
_LEAD_RATIO = 1.01  # how much better the best of a made-up landscape is than anything else


def make_up(seed: int) -> Landscapes:
    """Return irregular landscapes: GPU counts that scale badly, a memory edge at another batch for each of them."""
    random = Random(seed)
    while True:
        drawn = {pool: _draw(random, peak=random.uniform(1500.0, 4000.0)) for pool in POOLS}
        best, second = sorted(feasible(drawn).values(), reverse=True)[:2]
        if best > second * _LEAD_RATIO:
            return drawn


def read_recorded(path: Path, *, model: str, engine: str) -> Landscapes:
    """Return the recorded landscapes of a model; a cell that failed or is not there is `NotRecorded`."""
    recorded = {
        pool: load_cells(RecordedLandscape(path=str(path), gpu_model=gpu, engine=engine, model=model))
        for pool, gpu in POOLS.items()
    }
    gpu_counts, batch_sizes = axes(recorded)
    return {
        pool: {(gpus, batch): cells.get((gpus, batch)) or "NotRecorded" for gpus in gpu_counts for batch in batch_sizes}
        for pool, cells in recorded.items()
    }


def axes(landscapes: Mapping[str, Mapping[Cell, object]]) -> tuple[list[int], list[int]]:
    """Return the GPU counts and the batch sizes that occur."""
    cells = {cell for cells in landscapes.values() for cell in cells}
    return sorted({gpus for gpus, _ in cells}), sorted({batch for _, batch in cells})


def feasible(landscapes: Landscapes) -> dict[Place, float]:
    """Return tokens/s of every cell that has them."""
    return {
        (pool, *cell): outcome
        for pool, cells in landscapes.items()
        for cell, outcome in cells.items()
        if isinstance(outcome, float)
    }


def optimum(landscapes: Landscapes) -> Place:
    """Return the best cell, by looking at each of them."""
    known = feasible(landscapes)
    return max(known, key=known.__getitem__)


def _draw(random: Random, *, peak: float) -> dict[Cell, Outcome]:
    cells: dict[Cell, Outcome] = {}
    for gpus in GPU_COUNTS:
        scale = peak * gpus ** random.uniform(-0.2, 0.5)
        largest = random.choice(BATCH_SIZES[1:])
        for batch in BATCH_SIZES:
            fits = batch <= largest * gpus
            throughput = scale * batch / (batch + 40.0) * random.uniform(0.6, 1.4)
            cells[gpus, batch] = round(throughput, 3) if fits else "GpuOutOfMemory"
    return cells
