"""Measure how long the statistics take, and how much memory, for 100 models and a million made-up cells.

Usage: python benchmarks/bench_statistics.py [CELLS [MODELS]]
"""

import random
import resource
import sys
import time
from collections.abc import Iterator

from infpop_operator.analysis.rows import ResultTable, TrialResultRow
from infpop_operator.analysis.statistics import answer
from infpop_operator.core.landscape import CellState

_ENGINES, _GPU_MODELS, _GPU_COUNTS = ("hf", "vllm"), ("V100", "A100"), 50


def rows(cells: int, models: int) -> Iterator[TrialResultRow]:
    """Yield rows whose throughput rises with the batch size and the GPU count, with noise; some ran out of memory."""
    rng = random.Random(0)
    batches = max(1, cells // (models * len(_ENGINES) * len(_GPU_MODELS) * _GPU_COUNTS))
    for model in range(models):
        size = 1 + model % 70
        for engine in _ENGINES:
            for speed, gpu_model in enumerate(_GPU_MODELS, start=1):
                for gpus in range(1, _GPU_COUNTS + 1):
                    for batch in range(1, batches + 1):
                        fits = batch < batches or size < gpus * 40
                        rate = 100 * speed * gpus**0.5 * batch**0.7 / size * rng.uniform(0.95, 1.05)
                        yield TrialResultRow(
                            source="made-up",
                            study="made-up",
                            pool=gpu_model,
                            trial=0,
                            gpu_model=gpu_model,
                            model=f"model-{model}-{size}b",
                            engine=engine,
                            gpu_count=gpus,
                            batch_size=batch,
                            state=CellState.MEASURED if fits else CellState.INFEASIBLE,
                            reason=None if fits else "GpuOutOfMemory",
                            throughput_tokens_per_second=rate if fits else None,
                        )


def peak_gib() -> float:
    """Return the largest memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print time and memory of the rows and of the answers."""
    given = [int(text) for text in sys.argv[1:]]
    cells, models = (*given, *(1_000_000, 100)[len(given) :])
    table = ResultTable(trials=tuple(rows(cells, models)))
    print(f"{len(table.trials):,} rows, {peak_gib():.2f} GiB")
    start = time.process_time()
    found = answer(table)
    seconds = time.process_time() - start
    print(f"{len(found):,} statistics in {seconds:.1f} s of processor time, at most {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
