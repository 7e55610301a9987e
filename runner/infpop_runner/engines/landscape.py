"""The landscapes that the simulated engine replays: recorded cells, or a formula with a known optimum."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from infpop_runner.contract import FormulaLandscape, RecordedLandscape
from infpop_runner.engines.errors import EngineBrokenError, EngineRefusedError

Cells = Mapping[tuple[int, int], float | None]  # (GPU count, batch size) -> tokens/s, None: recorded as failed
COLUMNS = {
    "gpu_model",
    "engine",
    "model",
    "gpu_count",
    "batch_size",
    "outcome",
    "throughput_tokens_per_second",
}


def formula_throughput(landscape: FormulaLandscape, *, gpu_count: int, batch_size: int) -> float:
    """Return the tokens/s of a cell according to the formula.

    Raises:
        EngineRefusedError: the batch does not fit into the memory of `gpu_count` devices.
    """
    largest = landscape.largest_batch_per_gpu * gpu_count
    if batch_size > largest:
        raise EngineRefusedError("GpuOutOfMemory", f"simulated: batch {batch_size} > {largest} on {_gpus(gpu_count)}")
    doublings = abs(math.log2(gpu_count / landscape.best_gpu_count))
    doublings += abs(math.log2(batch_size / landscape.best_batch_size))
    return float(landscape.peak_tokens_per_second * (1 - landscape.falloff_ratio) ** doublings)


def recorded_throughput(cells: Cells, *, gpu_count: int, batch_size: int) -> float:
    """Return the tokens/s of a recorded cell.

    Raises:
        EngineRefusedError: the cell was recorded as failed, or was not recorded.
    """
    throughput = cells.get((gpu_count, batch_size))
    if throughput is None:
        state = "failed when it was recorded" if (gpu_count, batch_size) in cells else "is not recorded"
        raise EngineRefusedError("NotRecorded", f"simulated: {_gpus(gpu_count)}, batch {batch_size} {state}")
    return throughput


def load_cells(landscape: RecordedLandscape) -> Cells:
    """Read the cells of one GPU model, engine and model from a CSV file.

    Raises:
        EngineBrokenError: the file cannot be read, lacks a column, or has no matching cell.
    """
    try:
        with Path(landscape.path).open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if missing := COLUMNS - set(rows.fieldnames or ()):
                raise EngineBrokenError("ModelUnavailable", f"{landscape.path}: lacks the columns {sorted(missing)}")
            cells = dict(_cell(row) for row in rows if _matches(row, landscape))
    except (OSError, ValueError) as error:
        raise EngineBrokenError("ModelUnavailable", f"landscape {landscape.path}: {error}") from error
    if not cells:
        wanted = f"gpu_model {landscape.gpu_model}, engine {landscape.engine}, model {landscape.model}"
        raise EngineBrokenError("ModelUnavailable", f"{landscape.path}: no row for {wanted}")
    return cells


def _matches(row: Mapping[str, str], landscape: RecordedLandscape) -> bool:
    recorded = (row["gpu_model"], row["engine"], row["model"])
    return recorded == (landscape.gpu_model, landscape.engine, landscape.model)


def _cell(row: Mapping[str, str]) -> tuple[tuple[int, int], float | None]:
    throughput = float(row["throughput_tokens_per_second"]) if row["outcome"] == "ok" else None
    return (int(row["gpu_count"]), int(row["batch_size"])), throughput


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
