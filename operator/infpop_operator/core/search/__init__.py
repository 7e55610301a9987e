"""Choose the next cell to measure: every algorithm behind one `propose`.

A search is a function of its question. It is pure (randomness comes from the study's seed), keeps nothing between two
questions and never returns a cell that is not open. Importing this package loads no numerical library: an algorithm's
module is loaded when it is first chosen.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from infpop_operator.core.model import AlgorithmName, Configuration
from infpop_operator.core.search.request import SearchRequest, SearchTrial, SearchTrialState

__all__ = ["ALGORITHMS", "SearchRequest", "SearchTrial", "SearchTrialState", "propose", "warm_up"]

ALGORITHMS: Mapping[AlgorithmName, tuple[str, str]] = {
    "tpe": ("infpop_operator.core.search.hyperopt_ask", "propose_tpe"),
    "anneal": ("infpop_operator.core.search.hyperopt_ask", "propose_anneal"),
    "random": ("infpop_operator.core.search.hyperopt_ask", "propose_random"),
    "grid": ("infpop_operator.core.search.grid", "propose"),
}


def propose(question: SearchRequest) -> Configuration | None:
    """Return one of the question's open cells, None when there is none; the same question has the same answer.

    Raises:
        ImportError: the library that the algorithm needs is not installed.
    """
    if not question.open_cells:
        return None
    module, function = ALGORITHMS[question.algorithm]
    algorithm = cast("Callable[[SearchRequest], Configuration | None]", getattr(import_module(module), function))
    return algorithm(question)


def warm_up() -> None:
    """Load every algorithm's libraries now (seconds), so that the first question of a program that lives long is fast.

    Raises:
        ImportError: a library is not installed.
    """
    for module, _ in ALGORITHMS.values():
        import_module(module)
