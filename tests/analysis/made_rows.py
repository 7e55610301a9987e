"""Rows of made-up results: short to write, valid by default."""

from collections.abc import Iterable, Mapping

from infpop_operator.analysis.rows import ResultTable, TrialResultRow
from infpop_operator.core.landscape import CellState


def make_row(rate: float | None = 100.0, **changes: object) -> TrialResultRow:
    """Return a measured row, or one that ran out of memory where `rate` is None."""
    values: dict[str, object] = {
        "source": "made-up",
        "study": "made-up",
        "pool": "pool",
        "trial": 0,
        "gpu_model": "A100",
        "model": "Tiny-1b",
        "engine": "vllm",
        "gpu_count": 1,
        "batch_size": 1,
        "state": CellState.INFEASIBLE if rate is None else CellState.MEASURED,
        "reason": "GpuOutOfMemory" if rate is None else None,
        "throughput_tokens_per_second": rate,
    }
    return TrialResultRow(**(values | changes))  # type: ignore[arg-type]


def make_grid(cells: Mapping[tuple[int, int], float | None], **changes: object) -> tuple[TrialResultRow, ...]:
    """Return a row for each (GPU count, batch size)."""
    return tuple(make_row(rate, gpu_count=gpus, batch_size=batch, **changes) for (gpus, batch), rate in cells.items())


def make_table(*rows: TrialResultRow | Iterable[TrialResultRow], **changes: object) -> ResultTable:
    """Return a table of rows, and of iterables of rows."""
    flat = [row for each in rows for row in ([each] if isinstance(each, TrialResultRow) else each)]
    return ResultTable(trials=tuple(flat), **changes)  # type: ignore[arg-type]
