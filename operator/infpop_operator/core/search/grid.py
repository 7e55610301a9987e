"""Grid search: measure every cell in a fixed order. The better choice for small spaces (up to about 24 cells).

The most GPUs come first, because the model most likely fits there. Within one engine load batch sizes ascend, because
an out-of-memory result then rules out all remaining cells of that load: each load fails at most once. For the same
reason the search skips a load with a pending cell while another load has open cells.
"""

from infpop_operator.core.search.request import SearchRequest
from infpop_operator.core.study import Configuration


def propose(request: SearchRequest) -> Configuration | None:
    """Return the first open cell in grid order, None when no cell is open. The seed is not used."""
    busy = {trial.configuration.load_key for trial in request.trials if trial.state == "pending"}

    def order(cell: Configuration) -> tuple[bool, int, list[int], int]:
        return (cell.load_key in busy, -cell.gpu_count, _extra_positions(request, cell), cell.batch_size)

    return min(request.open_cells, key=order, default=None)


def _extra_positions(request: SearchRequest, cell: Configuration) -> list[int]:
    chosen = dict(cell.extra)
    return [parameter.values.index(chosen[parameter.name]) for parameter in request.space.extra]
