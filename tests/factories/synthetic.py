"""Random landscapes of many shapes: what a search may meet, and more."""

from itertools import product
from math import exp, log, log2
from random import Random

from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, ExtraParameter, SearchSpace
from infpop_operator.replay.grids import Grid

_ENGINES = ("vllm", "hf", "another")
_MODELS = ("Model-1b7", "Model-7b", "Model-70b", "Model-8x7b", "Model")
_GPUS = ("NVIDIA A10", "L4", "A100", "H100 80GB HBM3", "H200", "B200", "AMD Instinct MI300X", "V100", "Accelerator")
_EXTRAS = (
    ExtraParameter(name="enforce_eager", values=(False, True)),
    ExtraParameter(name="gpu_memory_utilization", values=(0.8, 0.9, 0.95)),
    ExtraParameter(name="kv_cache_dtype", values=("auto", "fp8")),
)


def synthetic(seed: int, *, most_cells: int = 24) -> Grid:
    """Return a landscape with at least one cell that works; equal arguments give the same one.

    It saturates, and may dip, be ragged or turn upside down. Its columns end at a batch size, in some no cell works.
    Some landscapes have extra parameters.
    """
    random = Random(f"synthetic {seed}")
    space = _space(random, most_cells)
    limits = {
        (gpus, extra): _limit(random, space) for gpus, extra in dict.fromkeys(cell.load_key for cell in cells(space))
    }
    rate = _surface(random)
    rates = {cell: rate(cell) for cell in cells(space) if cell.batch_size <= limits[cell.load_key]}
    if not rates:
        first = cells(space)[0]
        rates = {first: rate(first)}
    return Grid(
        gpu_model=random.choice(_GPUS),
        engine=random.choice(_ENGINES),
        model=random.choice(_MODELS),
        workload="",
        space=space,
        rates=rates,
    )


def _space(random: Random, most_cells: int) -> SearchSpace:
    gpus = random.choice([(1,), (1, 2), (1, 2, 4), (1, 2, 4, 6), (2, 8, 16), (3, 5)])
    extra = tuple(random.sample(_EXTRAS, k=random.choice([0, 0, 0, 1, 2])))
    loads = len(gpus) * len(list(product(*(entry.values for entry in extra))))
    start = random.choice([0, 0, 3, 7])
    count = max(1, min(random.randint(1, 12 - start), most_cells // loads))
    sizes = [2 ** (start + place) for place in range(count)]
    if random.random() < 0.3:
        sizes = [size + random.randint(0, size // 3) for size in sizes]
    return SearchSpace(
        gpu_counts=gpus, batch_sizes=tuple(sizes), extra=tuple(sorted(extra, key=lambda entry: entry.name))
    )


def _limit(random: Random, space: SearchSpace) -> float:
    kind = random.random()
    if kind < 0.25:
        return 0.0
    return float("inf") if kind < 0.6 else random.choice(space.batch_sizes)


def _surface(random: Random):  # noqa: ANN202 - a function of a cell
    level, half = exp(random.uniform(-3, 9)), 2 ** random.uniform(0, 9)
    by_gpus, dip = random.uniform(-1.2, 1.2), random.choice([0.0, 0.0, random.uniform(0, 0.3)])
    ragged, sign = random.choice([0.0, 0.01, 0.05, 0.4]), random.choice([1, 1, 1, -1])
    rough: dict[Configuration, float] = {}

    def rate(cell: Configuration) -> float:
        size = float(cell.batch_size)
        value = log(size / (1 + size / half)) - dip * max(0.0, log2(size / half)) ** 2
        value += by_gpus * log2(cell.gpu_count) + sum(0.2 * len(str(chosen)) for _, chosen in cell.extra)
        rough[cell] = rough.get(cell, random.gauss(0, ragged))
        return level * exp(max(-30.0, min(30.0, sign * value + rough[cell])))

    return rate
