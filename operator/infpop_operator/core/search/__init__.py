"""Search algorithms, all behind one function: `propose` returns the next cell to measure.

A search is a pure function of its request (randomness comes from the study's seed). It keeps no state between two
requests and never returns a cell that is not open. Importing this package loads no numerical library: the module of an
algorithm is imported when it is first used.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from infpop_operator.core.search.request import SearchRequest, SearchTrial, SearchTrialState
from infpop_operator.core.study import AlgorithmName, Configuration

__all__ = ["ALGORITHMS", "SearchRequest", "SearchTrial", "SearchTrialState", "propose", "warm_up"]

ALGORITHMS: Mapping[AlgorithmName, tuple[str, str]] = {
    "tpe": ("infpop_operator.core.search.hyperopt_ask", "propose_tpe"),
    "anneal": ("infpop_operator.core.search.hyperopt_ask", "propose_anneal"),
    "random": ("infpop_operator.core.search.hyperopt_ask", "propose_random"),
    "grid": ("infpop_operator.core.search.grid", "propose"),
}


def propose(request: SearchRequest) -> Configuration | None:
    """Return one of the request's open cells, None when there is none; equal requests give the same cell.

    Raises:
        ImportError: the library that the algorithm needs is not installed.
    """
    if not request.open_cells:
        return None
    module, function = ALGORITHMS[request.algorithm]
    algorithm = cast("Callable[[SearchRequest], Configuration | None]", getattr(import_module(module), function))
    return algorithm(request)


def warm_up() -> None:
    """Import the libraries of all algorithms (takes seconds), so that a long-running program's first search is fast.

    Raises:
        ImportError: a library is not installed.
    """
    for module, _ in ALGORITHMS.values():
        import_module(module)
