"""CSV files of recorded landscapes, made for one test."""

from collections.abc import Iterable
from pathlib import Path

HEADER = "gpu_model,engine,model,gpu_count,batch_size,outcome,throughput_tokens_per_second"
GPU_COUNTS, BATCH_SIZES = (1, 2, 4), (8, 16, 32, 64, 128)


def write_file(directory: Path, *lines: str, header: str = HEADER) -> Path:
    """Write a file with these lines, and return its path."""
    path = directory / "landscapes.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def peak_lines(
    gpu_model: str,
    best: tuple[int, int],
    *,
    engine: str = "vllm",
    model: str = "m",
    top: float = 1000.0,
    fits: int = 64,
) -> Iterable[str]:
    """Return the lines of a landscape with one peak, in which batches above `fits` run out of memory."""
    for gpus in GPU_COUNTS:
        for batch in BATCH_SIZES:
            away = abs(gpus.bit_length() - best[0].bit_length()) + abs(batch.bit_length() - best[1].bit_length())
            outcome = f"ok,{top * 0.8**away:.3f}" if batch <= fits else "infeasible,"
            yield f"{gpu_model},{engine},{model},{gpus},{batch},{outcome}"
