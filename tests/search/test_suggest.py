"""The search `landscape` as an algorithm of Hyperopt's own `fmin`."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
from hyperopt import STATUS_FAIL, STATUS_OK, Trials, fmin, hp

from infpop_operator.core.search import SearchFacts
from infpop_operator.core.search.landscape.suggest import suggest

SPACE = {
    "gpuCount": hp.choice("gpuCount", [1, 2, 4]),
    "batchSize": hp.quniform("batchSize", 1, 4, 1),
    "extra.mode": hp.choice("extra.mode", ["slow", "fast"]),
}


def evaluate(point: Mapping[str, object], tried: list[tuple[object, ...]]) -> dict[str, object]:
    """Return the loss of a point: more GPUs and larger batches are faster; one GPU has too little memory for 4."""
    gpus, size, mode = point["gpuCount"], float(str(point["batchSize"])), point["extra.mode"]
    tried.append((gpus, size, mode))
    if gpus == 1 and size > 3:
        return {"status": STATUS_FAIL, "too_large": True}
    return {"status": STATUS_OK, "loss": -(float(str(gpus)) ** 0.5) * size * (1.3 if mode == "fast" else 1.0)}


def minimise(max_evals: int, facts: SearchFacts) -> tuple[dict[str, float], list[tuple[object, ...]]]:
    """Return what `fmin` found, and all points that it tried."""
    tried: list[tuple[object, ...]] = []
    best = fmin(
        partial(evaluate, tried=tried),
        SPACE,
        algo=partial(suggest, facts=facts),
        max_evals=max_evals,
        trials=Trials(),
        rstate=np.random.default_rng(3),
        show_progressbar=False,
        verbose=False,
    )
    return best, tried


def test_fmin_tries_every_point_once_and_then_ends() -> None:
    """There are no repeats while points are open, and no more evaluations than points."""
    best, tried = minimise(99, SearchFacts(engine="vllm"))
    assert len(tried) == len(set(tried)) == 24
    assert best == {"gpuCount": 2, "batchSize": 4, "extra.mode": 1}


def test_fmin_finds_the_optimum_in_a_part_of_the_space() -> None:
    """A third of the points is enough."""
    best, tried = minimise(8, SearchFacts(engine="vllm"))
    assert (best["gpuCount"], best["batchSize"], len(tried)) == (2, 4, 8)


def test_an_axis_of_another_kind_is_refused() -> None:
    """A continuous axis has no cells."""
    with pytest.raises(ValueError, match=r"axis temperature is uniform: make it hp\.choice"):
        fmin(
            lambda _: 0.0,
            {"temperature": hp.uniform("temperature", 0, 1)},
            algo=suggest,
            max_evals=1,
            show_progressbar=False,
        )
