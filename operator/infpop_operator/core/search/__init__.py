"""Search algorithms, all behind one function: `propose` returns the next cell to measure.

A search is a pure function of its request (randomness comes from the study's seed). It keeps no state between two
requests and never returns a cell that is not open. Importing this package loads no numerical library: the module of an
algorithm is imported when it is first used.

If the request has a prior, `tpe` and `anneal` give way to `warm_start`, unless the prior is no help; `landscape` joins
it with what it knows. `random` and `grid` keep their order: who chooses them wants exactly that.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from infpop_operator.core.search.request import (
    Companion,
    Prior,
    PriorCell,
    SearchFacts,
    SearchRequest,
    SearchTrial,
    SearchTrialState,
)
from infpop_operator.core.study import AlgorithmName, Configuration

__all__ = [
    "ALGORITHMS",
    "WARM_STARTED",
    "Companion",
    "Prior",
    "PriorCell",
    "SearchFacts",
    "SearchRequest",
    "SearchTrial",
    "SearchTrialState",
    "companions",
    "confidence",
    "propose",
    "warm_up",
]

_LANDSCAPE = "infpop_operator.core.search.landscape.ask"

ALGORITHMS: Mapping[AlgorithmName, tuple[str, str]] = {
    "landscape": (_LANDSCAPE, "propose"),
    "tpe": ("infpop_operator.core.search.hyperopt_ask", "propose_tpe"),
    "anneal": ("infpop_operator.core.search.hyperopt_ask", "propose_anneal"),
    "random": ("infpop_operator.core.search.hyperopt_ask", "propose_random"),
    "grid": ("infpop_operator.core.search.grid", "propose"),
}

_WITH_COMPANIONS: frozenset[AlgorithmName] = frozenset({"landscape", "grid"})
WARM_STARTED: frozenset[AlgorithmName] = frozenset({"landscape", "tpe", "anneal"})
_GIVE_WAY = WARM_STARTED - {"landscape"}  # it has a warm start of its own
_WARM_START = ("infpop_operator.core.search.warm_start", "propose")


def propose(request: SearchRequest) -> Configuration | None:
    """Return one of the request's open cells, None when there is none; equal requests give the same cell.

    Raises:
        ImportError: the library that the algorithm needs is not installed.
    """
    if not request.open_cells:
        return None
    if request.prior is not None and request.algorithm in _GIVE_WAY:
        cell = _ask(_WARM_START, request)
        if cell is not None:
            return cell
    return _ask(ALGORITHMS[request.algorithm], request)


def companions(request: SearchRequest, first: Configuration, most: int) -> tuple[Companion, ...]:
    """Return up to `most` open cells to measure after `first` on its load, in this order.

    There are only as many as gain more per second than another load is expected to, or all that are left of the load
    for `grid`; none where the algorithm cannot say. Equal requests give the same cells.

    Raises:
        ImportError: the library that the algorithm needs is not installed.
    """
    if request.algorithm not in _WITH_COMPANIONS or most < 1:
        return ()
    module = import_module(ALGORITHMS[request.algorithm][0])
    ask: Callable[[SearchRequest, Configuration, int], tuple[Companion, ...]] = module.companions
    return ask(request, first, most)


def confidence(request: SearchRequest) -> float | None:
    """Return the probability that the best measured loss is within 1 % of the optimum.

    None before the first measured trial, and where the algorithm cannot say.

    Raises:
        ImportError: the library that the algorithm needs is not installed.
    """
    if request.algorithm != "landscape":
        return None
    ask: Callable[[SearchRequest], float | None] = import_module(_LANDSCAPE).confidence
    return ask(request)


def warm_up() -> None:
    """Import the libraries of all algorithms (takes seconds), so that a long-running program's first search is fast.

    Raises:
        ImportError: a library is not installed.
    """
    for module, _ in (*ALGORITHMS.values(), _WARM_START):
        import_module(module)


def _ask(algorithm: tuple[str, str], request: SearchRequest) -> Configuration | None:
    module, function = algorithm
    ask = cast("Callable[[SearchRequest], Configuration | None]", getattr(import_module(module), function))
    return ask(request)
