"""The input of a search: a `SearchRequest` with its `SearchTrial`s, and what is known from before as a `Prior`.

A request holds everything that the proposal depends on: equal requests always give the same proposal, and no search
keeps state between two requests.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from infpop_operator.core.study import AlgorithmName, Configuration, SearchSpace

SearchTrialState = Literal["measured", "bounded", "failed", "pending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTrial:
    """One configuration that the search knows, with its state.

    A `measured` configuration has a loss, in any unit as long as smaller is better. Of a `bounded` one only a lower
    bound of the loss is known, because its measurement ended when it was clear that it is not the best. A `failed` one
    cannot be used, whatever the reason; `too_large` says that the reason was its batch, so that larger ones will fail
    as well, and `while_loading` that it ran out of memory before any batch was tried. A `pending` one is being
    measured. `seconds` is how long it was measured, without the load; None if unknown. `error_ratio` is the standard
    error of the loss, relative to it; None if unknown. Broken and invalid trials are left out: they say nothing about
    the configuration.
    """

    configuration: Configuration
    state: SearchTrialState
    loss: float | None = None
    too_large: bool = False
    while_loading: bool = False
    seconds: float | None = None
    error_ratio: float | None = None

    def __post_init__(self) -> None:
        """Reject a missing, superfluous or non-finite loss: NaN hides a trial from Hyperopt, inf distorts its model."""
        if (self.state in {"measured", "bounded"}) != (self.loss is not None):
            raise ValueError(f"a {self.state} trial with loss {self.loss}: measured and bounded trials alone have one")
        if self.loss is not None and not isfinite(self.loss):
            raise ValueError(f"loss {self.loss} of {self.configuration} is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorCell:
    """One configuration of an earlier round, with its loss then by the objective of now, None if it had none.

    `is_usable` is whether it could be used then. `too_large` and `while_loading` are as in `SearchTrial`. With
    `is_bound` the loss is only a lower bound, as of a `bounded` trial: the configuration worked, and was not measured.
    """

    configuration: Configuration
    loss: float | None = None
    is_usable: bool = True
    too_large: bool = False
    while_loading: bool = False
    is_bound: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether the loss is the configuration's own."""
        return self.loss is not None and not self.is_bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What an earlier round of the same pool found, on other hardware or with other settings.

    It says where to look and never counts as a result: the losses of the two rounds must not be compared, only their
    ratios among each other. `same_model` is False where the round measured another model, or where that is unknown.
    """

    cells: tuple[PriorCell, ...]
    same_model: bool = True

    def __post_init__(self) -> None:
        """Reject a loss that is not finite."""
        for cell in self.cells:
            if cell.loss is not None and not isfinite(cell.loss):
                raise ValueError(f"loss {cell.loss} of {cell.configuration} is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFacts:
    """What is known about the subject of a search beside its trials; each is None where it is unknown.

    `engine` is a name of the contract. `load_seconds` is the median of the loads of the round so far. A full
    measurement of a trial generates `samples` sequences (or four batches, if that is more) of `new_tokens` tokens for
    each of `repeats` repeats of at least `min_repeat_seconds`; an `adaptive` one ends earlier.
    `losses_are_throughput` is whether a loss is the negative of a throughput in tokens/s. `divided_by` are the powers
    of the GPU count and of the batch size by which a throughput is divided where a loss follows from that, up to a
    factor: (1, 0) is a throughput per GPU, or a cost; None if a loss is something else.
    """

    engine: str | None = None
    gpu_model: str | None = None
    gpu_memory_mib: int | None = None
    parameters: int | None = None
    weight_bytes: int | None = None
    load_seconds: float | None = None
    samples: int | None = None
    new_tokens: int | None = None
    repeats: int = 3
    min_repeat_seconds: float = 0.0
    adaptive: bool = False
    losses_are_throughput: bool = True
    divided_by: tuple[float, float] | None = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A request for the next of `open_cells` to measure.

    `trials` are the known ones in index order. `index` is the index of the requested trial, `seed` the seed of the
    study. `max_trials` is the round's budget, None for no limit: a search must not spend all of it on its random start.
    `prior` is what an earlier round found, None if there was none. `facts` are what is known
    about model, engine and hardware.
    """

    space: SearchSpace
    trials: tuple[SearchTrial, ...]
    open_cells: tuple[Configuration, ...]
    index: int
    seed: int
    algorithm: AlgorithmName
    max_trials: int | None = None
    prior: Prior | None = None
    facts: SearchFacts = SearchFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A cell that is worth measuring on the load of another one.

    It is worthwhile only if an earlier trial of the load had at most the loss `needs_loss`; None: in any case.
    """

    configuration: Configuration
    needs_loss: float | None = None
