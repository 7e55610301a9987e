"""The input of a search: a `SearchRequest` with its `SearchTrial`s.

A request holds everything that the proposal depends on: equal requests always give the same proposal, and no search
keeps state between two requests.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from infpop_operator.core.study import AlgorithmName, Configuration, SearchSpace

SearchTrialState = Literal["measured", "failed", "pending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTrial:
    """One configuration that the search knows, with its state.

    A `measured` configuration has a loss, in any unit as long as smaller is better. A `failed` one cannot be used,
    whatever the reason. A `pending` one is being measured. Broken and invalid trials are left out: they say nothing
    about the configuration.
    """

    configuration: Configuration
    state: SearchTrialState
    loss: float | None = None

    def __post_init__(self) -> None:
        """Reject a missing, superfluous or non-finite loss: NaN hides a trial from Hyperopt, inf distorts its model."""
        if (self.state == "measured") != (self.loss is not None):
            raise ValueError(f"a {self.state} trial with loss {self.loss}: measured trials, and no others, have a loss")
        if self.loss is not None and not isfinite(self.loss):
            raise ValueError(f"loss {self.loss} of {self.configuration} is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A request for the next of `open_cells` to measure.

    `trials` are the known ones in index order. `index` is the index of the requested trial, `seed` the seed of the
    study. `max_trials` is the round's budget, None for no limit: a search must not spend all of it on its random start.
    """

    space: SearchSpace
    trials: tuple[SearchTrial, ...]
    open_cells: tuple[Configuration, ...]
    index: int
    seed: int
    algorithm: AlgorithmName
    max_trials: int | None = None
