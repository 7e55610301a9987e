"""Grid search: measure every cell in a fixed order. The better choice for small spaces (up to about 24 cells).

The most GPUs come first, because the model most likely fits there. Within one engine load batch sizes ascend, because
an out-of-memory result then rules out all remaining cells of that load: each load fails at most once. For the same
reason the search skips a load with a pending cell while another load has open cells.

A budget that does not cover the space would end such an order before it has seen the smaller GPU counts, and recommend
the best of what it happened to reach. Then GPU counts take turns, and the batch sizes of a load go from coarse to fine:
the middle one first, then the middles of what is above and below it, and so on. So each GPU count has its share, and a
rough picture of each is there before the details of any.
"""

from collections import Counter
from math import prod

from infpop_operator.core.search.request import Companion, SearchRequest
from infpop_operator.core.study import Configuration, SearchSpace


def propose(request: SearchRequest) -> Configuration | None:
    """Return the first open cell in grid order, None when no cell is open. The seed is not used."""
    busy = {trial.configuration.load_key for trial in request.trials if trial.state == "pending"}
    counts = Counter(trial.configuration.gpu_count for trial in request.trials)
    loads = Counter(trial.configuration.load_key for trial in request.trials)
    rank = _ranks(request)

    def load_by_load(cell: Configuration) -> tuple[bool, int, list[int], int]:
        return (cell.load_key in busy, -cell.gpu_count, _extra_positions(request, cell), cell.batch_size)

    def in_turns(cell: Configuration) -> tuple[bool, int, int, int, list[int], int]:
        turn = (counts[cell.gpu_count], -cell.gpu_count, loads[cell.load_key])
        return (cell.load_key in busy, *turn, _extra_positions(request, cell), rank.get(cell.batch_size, 0))

    return min(request.open_cells, key=in_turns if _is_cut_short(request) else load_by_load, default=None)


def companions(request: SearchRequest, first: Configuration, most: int) -> tuple[Companion, ...]:
    """Return the next cells in grid order that share the load of `first`.

    All of them are to be measured anyway, unless the budget does not cover the space: then those that are the load's
    share of it.
    """
    same = [cell for cell in request.open_cells if cell.load_key == first.load_key and cell != first]
    if not _is_cut_short(request):
        following = sorted(cell for cell in same if cell.batch_size > first.batch_size)
        return tuple(Companion(configuration=cell) for cell in following[:most])
    rank, tried = _ranks(request), sum(trial.configuration.load_key == first.load_key for trial in request.trials)
    share = (request.max_trials or 0) // _loads(request.space) - tried - 1
    chosen = sorted(same, key=lambda cell: rank.get(cell.batch_size, 0))[: max(0, min(most, share))]
    return tuple(Companion(configuration=cell) for cell in sorted(chosen))


def coarse_to_fine(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the middle of ascending sizes, then the middles of the parts above and below it, and so on."""
    parts, order = [sizes], []
    while parts:
        order += [part[len(part) // 2] for part in parts]
        halves = (half for part in parts for half in (part[len(part) // 2 + 1 :], part[: len(part) // 2]))
        parts = [half for half in halves if half]
    return tuple(order)


def _is_cut_short(request: SearchRequest) -> bool:
    size = _loads(request.space) * len(request.space.batch_sizes)
    return request.max_trials is not None and request.max_trials < size


def _loads(space: SearchSpace) -> int:
    return len(space.gpu_counts) * prod(len(parameter.values) for parameter in space.extra)


def _ranks(request: SearchRequest) -> dict[int, int]:
    return {size: number for number, size in enumerate(coarse_to_fine(request.space.batch_sizes))}


def _extra_positions(request: SearchRequest, cell: Configuration) -> list[int]:
    chosen = dict(cell.extra)
    return [parameter.values.index(chosen[parameter.name]) for parameter in request.space.extra]
