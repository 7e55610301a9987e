"""What was learned from published landscapes: surfaces and memory limits by engine, read from a versioned file.

`benchmarks/fit_landscape_prior.py` writes the file, and says in it where the numbers come from.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.landscape.kernels import Terms

Array = NDArray[np.float64]

FILE = "prior-v1.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """How much faster the last batch that fits is than the trend: its mean, and its deviations shared and by load."""

    mean: float = 0.0
    shared: float = 0.0
    own: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a published column ended: `last` is log2 of the largest batch that worked, None where none did.

    `is_open` is whether nothing larger failed. `fill` is log2 of weights / memory of all its GPUs.
    """

    gpus: float
    fill: float
    last: float | None
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # equal if it is the same object: arrays have no hash
class EngineKnowledge:
    """The surfaces of one engine over the published grid, `at` shape (n, 2): log2 GPUs, log2 batch.

    The mean of a model is `mean` + `slope` x (log2 billions of parameters - `centre_size`) + `fill_slope` x (log2 of
    how far its weights fill the GPUs, negative where they do not).
    """

    at: Array
    mean: Array
    slope: Array
    fill_slope: float
    centre_size: float
    centre_fill: float
    spread: Array
    terms: Terms
    jump: Jump
    limits: tuple[Limit, ...]


Knowledge = Mapping[str, EngineKnowledge]
_instead: ContextVar[Knowledge | None] = ContextVar("knowledge", default=None)


def knowledge_of(engine: str | None) -> EngineKnowledge | None:
    """Return what is known of an engine, None for another engine."""
    replaced = _instead.get()
    known = _shipped() if replaced is None else replaced
    return None if engine is None else known.get(engine)


@contextmanager
def instead(knowledge: Knowledge) -> Iterator[None]:
    """Replace the shipped knowledge: to leave a model out, or to try what a wrong prior costs."""
    token = _instead.set(knowledge)
    try:
        yield
    finally:
        _instead.reset(token)


def parse(document: Mapping[str, Any]) -> Knowledge:
    """Return the knowledge of a document.

    Raises:
        ValueError: it has another format.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"a landscape prior of format {document.get('format')}, expected {FORMAT}")
    return {name: _engine(entry) for name, entry in document["engines"].items()}


@lru_cache(maxsize=1)
def _shipped() -> Knowledge:
    found = files("infpop_operator.core.search.landscape").joinpath(FILE)
    return parse(json.loads(found.read_text(encoding="utf-8")))


def _engine(entry: Mapping[str, Any]) -> EngineKnowledge:
    gpus, batch = (np.log2(np.array(entry[name], dtype=np.float64)) for name in ("gpu_counts", "batch_sizes"))
    at = np.array([(first, second) for first in gpus for second in batch], dtype=np.float64)
    spread = np.zeros((len(at), len(at)))
    rows, columns = np.tril_indices(len(at))
    spread[rows, columns] = spread[columns, rows] = np.array(entry["covariance"], dtype=np.float64)
    return EngineKnowledge(
        at=at,
        mean=np.array(entry["mean"], dtype=np.float64),
        slope=np.array(entry["slope"], dtype=np.float64),
        fill_slope=entry["fill_slope"],
        centre_size=entry["centre_size"],
        centre_fill=entry["centre_fill"],
        spread=spread,
        terms=Terms(**entry["terms"]),
        jump=Jump(**entry["jump"]),
        limits=tuple(Limit(**each) for each in entry["limits"]),
    )
