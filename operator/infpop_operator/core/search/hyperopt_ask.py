"""Ask Hyperopt for the next cell with its `tpe`, `anneal` and `rand` suggest functions, without keeping state.

Hyperopt's `Trials` is rebuilt for each request, so a search survives every restart. This module works around what
Hyperopt gets wrong on a small grid:

- It suggests the same cells again (hyperopt#335, #835). A cell that is not open is rejected, and Hyperopt is asked
  again with another seed and a single candidate (with its 24 candidates nearly every seed gives the same cell). After
  the last retry a cell is drawn at random from the open cells.
- The same seed gives the same random cell for every trial: the seed is derived from study seed, trial index and retry.
- A failed trial counts only as `JOB_STATE_DONE` with `STATUS_FAIL` and no loss: Hyperopt drops trials in
  `JOB_STATE_ERROR`, and it would treat an invented loss as a measurement.
- While it knows only failures, it takes the first of them for good ones: see `_rescue`.
- Trial ids must be 0..n-1 without gaps: they are positions among the known trials, not trial indexes.

Slow to import (Hyperopt and numpy): load it through `search.propose` only.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
from hyperopt import (
    JOB_STATE_DONE,
    JOB_STATE_RUNNING,
    STATUS_FAIL,
    STATUS_NEW,
    STATUS_OK,
    Trials,
    anneal,
    hp,
    rand,
    tpe,
)
from hyperopt.base import Domain

from infpop_operator.core.search import encoding
from infpop_operator.core.search.request import SearchRequest, SearchTrial
from infpop_operator.core.study import Configuration, SearchSpace

# Random cells before the model is used: at most this many, and at most half of the budget. Hyperopt's default of 20 is
# all of a usual budget. On 39 published 44-cell landscapes, 8 seeds each, 5 gave 0.946 of the optimum after 10 trials
# and 8 gave 0.930; after 20 trials they were equal. (`benchmarks/bench_search.py` replays these landscapes.)
STARTUP_TRIALS = 8
# Failures without a success after which the search proposes the safest cell instead. Reasoned, not measured.
FAILURES_BEFORE_RESCUE = 3
# Additional asks after a rejected cell, about 2 ms each. 40 instead of 10 found nothing sooner on those landscapes.
RETRIES = 10
# An ordinal axis extends this far beyond its end positions, so that rounding gives them the same probability as the
# others: the largest GPU count is an end position, and often the best. Without the margin the search reached 0.977
# instead of 0.980 of the optimum after 20 trials, and 0.922 instead of 0.930 after 10. The margin is less than 0.5,
# which would round to a position that does not exist.
END_MARGIN = 0.499

Document = dict[str, Any]


class Suggest(Protocol):
    """The signature of Hyperopt's suggest functions."""

    def __call__(self, new_ids: list[int], domain: Domain, trials: Trials, seed: int) -> list[Document]:
        """Return the documents of new trials."""
        ...


def propose_tpe(request: SearchRequest) -> Configuration | None:
    """Return the next cell by tree-structured Parzen estimators, None when no cell is open.

    Source: Bergstra, Bardenet, Bengio and Kegl, Algorithms for Hyper-Parameter Optimization (2011).
    """
    suggest = partial(tpe.suggest, n_startup_jobs=_startup_trials(request.max_trials), verbose=False)
    return _propose(request, suggest, partial(suggest, n_EI_candidates=1))


def propose_anneal(request: SearchRequest) -> Configuration | None:
    """Return the next cell by simulated annealing around the best so far, None when no cell is open."""
    return _propose(request, anneal.suggest, anneal.suggest)


def propose_random(request: SearchRequest) -> Configuration | None:
    """Return a random open cell, None when no cell is open."""
    return _propose(request, rand.suggest, rand.suggest)


def _startup_trials(max_trials: int | None) -> int:
    return STARTUP_TRIALS if max_trials is None else max(1, min(STARTUP_TRIALS, max_trials // 2))


def _propose(request: SearchRequest, first: Suggest, again: Suggest) -> Configuration | None:
    if len(request.open_cells) <= 1 or _only_failures(request.trials):
        return _rescue(request.open_cells)
    opened = frozenset(request.open_cells)
    asked = (cell for cell in _asks(request, first, again) if cell in opened)
    return next(asked, None) or _drawn(request)


def _only_failures(trials: tuple[SearchTrial, ...]) -> bool:
    states = [trial.state for trial in trials]
    return "measured" not in states and states.count("failed") >= FAILURES_BEFORE_RESCUE


def _rescue(open_cells: tuple[Configuration, ...]) -> Configuration | None:
    """Return the cell that is most likely to work: the smallest batch on the most GPUs."""
    return min(open_cells, key=lambda cell: (cell.batch_size, -cell.gpu_count), default=None)


def _asks(request: SearchRequest, first: Suggest, again: Suggest) -> Iterator[Configuration]:
    domain = _domain(request.space)
    trials = _trials(request, domain)
    for retry in range(RETRIES + 1):
        suggest = again if retry else first
        (document,) = suggest([len(trials)], domain, trials, _seed(request, retry))
        yield encoding.decode(request.space, _positions(document))


def _drawn(request: SearchRequest) -> Configuration:
    generator = np.random.default_rng(np.random.SeedSequence([request.seed, request.index, RETRIES + 1]))
    return request.open_cells[int(generator.integers(len(request.open_cells)))]


def _seed(request: SearchRequest, retry: int) -> int:
    """Return a seed below 2**31: every random generator in Hyperopt accepts it."""
    words = np.random.SeedSequence([request.seed, request.index, retry]).generate_state(1)
    return int(words[0]) & 0x7FFFFFFF


def _domain(space: SearchSpace) -> Domain:
    return Domain(None, {axis.label: _node(axis) for axis in encoding.axes(space)})


def _node(axis: encoding.Axis) -> Any:  # noqa: ANN401 - Hyperopt publishes no types
    if axis.ordinal:
        return hp.quniform(axis.label, -END_MARGIN, len(axis.values) - 1 + END_MARGIN, 1)
    return hp.choice(axis.label, list(range(len(axis.values))))


def _positions(document: Document) -> Mapping[str, int]:
    """Return the positions as Python integers; Hyperopt returns lists of numpy floats and integers."""
    return {label: int(values[0]) for label, values in document["misc"]["vals"].items()}


def _trials(request: SearchRequest, domain: Domain) -> Trials:
    known = ((trial, encoding.encode(request.space, trial.configuration)) for trial in request.trials)
    inside = [(trial, positions) for trial, positions in known if positions is not None]
    trials = Trials()
    trials.insert_trial_docs([_document(tid, *entry, domain) for tid, entry in enumerate(inside)])
    trials.refresh()
    return trials


def _document(tid: int, trial: SearchTrial, positions: Mapping[str, int], domain: Domain) -> Document:
    state, result = _outcome(trial)
    values = {label: [position] for label, position in positions.items()}
    misc = {
        "tid": tid,
        "cmd": domain.cmd,
        "workdir": domain.workdir,
        "idxs": {k: [tid] for k in values},
        "vals": values,
    }
    unused = dict.fromkeys(("spec", "exp_key", "owner", "book_time", "refresh_time"))
    return {"tid": tid, "state": state, "result": result, "misc": misc, "version": 0, **unused}


def _outcome(trial: SearchTrial) -> tuple[int, Document]:
    match trial.state:
        case "measured":
            return (JOB_STATE_DONE, {"status": STATUS_OK, "loss": trial.loss})
        case "bounded":  # Hyperopt has no word for a bound; one that is worse than the best puts the trial in its place
            return (JOB_STATE_DONE, {"status": STATUS_OK, "loss": trial.loss})
        case "failed":
            return (JOB_STATE_DONE, {"status": STATUS_FAIL})
        case "pending":
            return (JOB_STATE_RUNNING, {"status": STATUS_NEW})
