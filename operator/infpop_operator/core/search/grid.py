"""Measure everything, in a fixed order: the search for small spaces (up to some 24 cells it is the better one).

Most GPUs first, because there the model most likely fits; within one engine load ascending batch sizes, because an
out-of-memory result then rules out every cell that is still to come for that load: at most one such failure for each.
For the same reason a load with a pending cell is passed over while another load has open cells.
"""

from infpop_operator.core.model import Configuration
from infpop_operator.core.search.request import SearchRequest


def propose(question: SearchRequest) -> Configuration | None:
    """Return the first open cell in grid order, None when none is open. The seed plays no part."""
    busy = {record.configuration.load_key for record in question.records if record.state == "pending"}

    def order(cell: Configuration) -> tuple[bool, int, list[int], int]:
        return (cell.load_key in busy, -cell.gpu_count, _extra_positions(question, cell), cell.batch_size)

    return min(question.open_cells, key=order, default=None)


def _extra_positions(question: SearchRequest, cell: Configuration) -> list[int]:
    chosen = dict(cell.extra)
    return [parameter.values.index(chosen[parameter.name]) for parameter in question.space.extra]
