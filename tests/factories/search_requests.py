"""Requests to a search, and what became of the cells that it proposed."""

from collections.abc import Callable
from dataclasses import replace

from factories.studies import SPACE
from infpop_operator.core.search import SearchFacts, SearchRequest, SearchTrial
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration

Table = Callable[[Configuration], float | None]  # tokens/s of a cell, None: out of memory

FACTS = SearchFacts(engine="vllm", gpu_model="A100", parameters=7_000_000_000, samples=1000, new_tokens=5)


def make_request(**changes: object) -> SearchRequest:
    """Return the first request of the search `landscape` over 44 cells."""
    first = SearchRequest(
        space=SPACE, trials=(), open_cells=cells(SPACE), index=0, seed=0, algorithm="landscape", facts=FACTS
    )
    return replace(first, **changes)


def measured(cell: Configuration, loss: float, **changes: object) -> SearchTrial:
    """Return a trial with a number."""
    return replace(SearchTrial(configuration=cell, state="measured", loss=loss), **changes)


def failed(cell: Configuration, **changes: object) -> SearchTrial:
    """Return a trial of a cell that cannot be used."""
    return replace(SearchTrial(configuration=cell, state="failed"), **changes)


def after(request: SearchRequest, *trials: SearchTrial) -> SearchRequest:
    """Return the request after these trials, which are no longer open."""
    done = {trial.configuration for trial in trials}
    return replace(
        request,
        trials=(*request.trials, *trials),
        open_cells=tuple(cell for cell in request.open_cells if cell not in done),
        index=request.index + len(trials),
    )


def tried(cell: Configuration, table: Table) -> SearchTrial:
    """Return the trial of a cell of a table."""
    rate = table(cell)
    return failed(cell, too_large=True) if rate is None else measured(cell, -rate)
