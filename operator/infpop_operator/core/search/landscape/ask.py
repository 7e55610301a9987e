"""Answer requests: the next cell, its companions on the same load, and how sure the search is of its best."""

from dataclasses import replace

import numpy as np

from infpop_operator.core.search.landscape.companions import companions
from infpop_operator.core.search.landscape.earlier import old_best
from infpop_operator.core.search.landscape.gain import best_cell
from infpop_operator.core.search.landscape.outlook import TOLERANCE, outlook
from infpop_operator.core.search.request import SearchRequest
from infpop_operator.core.study import Configuration

__all__ = ["companions", "confidence", "propose"]


def propose(request: SearchRequest) -> Configuration | None:
    """Return the open cell that gains most for its cost; None when no cell is open."""
    if not request.open_cells:
        return None
    first = old_best(request)
    if first is not None:
        return first
    seen = outlook(request)
    return best_cell(request, seen) if seen.is_open.any() else request.open_cells[0]


def confidence(request: SearchRequest) -> float | None:
    """Return the probability that the best measured loss is within 1 % of the optimum; None before the first.

    Noise does not widen the 1 %: where it is known, another measured cell may be the better one. An earlier round on
    other hardware shows where to look first, and says nothing here: what differs between two GPU models it cannot know.
    (With it a warm round that was 99 % sure was right in 87 % of the searches of `benchmarks/bench_confidence.py` for
    Hugging Face pipelines.)
    """
    request = replace(request, prior=None)
    if not any(trial.state == "measured" for trial in request.trials):
        return None
    if not request.open_cells and not any(trial.state == "pending" for trial in request.trials):
        return 1.0
    seen = outlook(request)
    if seen.best is None:
        return None
    best = seen.rivals[:, 0] if seen.rivals.size else np.full(len(seen.values), seen.best)
    top = np.maximum(seen.values.max(axis=1), seen.rivals.max(axis=1, initial=-np.inf))
    return float(np.mean(best >= top - TOLERANCE))
