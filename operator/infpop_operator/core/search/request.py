"""What a search is asked, and what it may know: `SearchRequest` and its `SearchTrial`s.

A question holds everything that the answer depends on, so that the same question always has the same answer and no
search keeps any state between two questions.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from infpop_operator.core.model import AlgorithmName, Configuration, SearchSpace

SearchTrialState = Literal["measured", "failed", "pending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTrial:
    """One configuration that the search knows about.

    `measured` has a loss, in any unit as long as smaller is better; `failed` cannot be used, whatever the reason;
    `pending` is being measured. Broken and invalid trials are not records: they say nothing about the configuration.
    """

    configuration: Configuration
    state: SearchTrialState
    loss: float | None = None

    def __post_init__(self) -> None:
        """Refuse a loss where there is none to have: NaN makes a trial invisible to Hyperopt, inf poisons it."""
        if (self.state == "measured") != (self.loss is not None):
            raise ValueError(f"a {self.state} record with loss {self.loss}: exactly measured records have a loss")
        if self.loss is not None and not isfinite(self.loss):
            raise ValueError(f"loss {self.loss} of {self.configuration} is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """Which of `open_cells` to measure next.

    `records` are in index order. `index` is the index of the trial that is asked for, `seed` the study's. `max_trials`
    is the round's budget, None for no limit: a search must not spend all of it on its random start.
    """

    space: SearchSpace
    records: tuple[SearchTrial, ...]
    open_cells: tuple[Configuration, ...]
    index: int
    seed: int
    algorithm: AlgorithmName
    max_trials: int | None = None
