"""What measuring a cell may gain, and what it costs."""

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.landscape.outlook import Outlook
from infpop_operator.core.search.request import SearchFacts, SearchRequest
from infpop_operator.core.study import Configuration

Array = NDArray[np.float64]

WORTH_OF_IMPROVEMENT = 5.0  # of a gain by a factor e, against the certainty of reaching the optimum
COST_POWER = 0.5  # 0 ignores costs, 1 takes a cheap cell with half of the gain before one at double the cost
# Before the first result a value counts as gained as far as it is above the best of its landscape by less than this.
_NOTHING_YET = 0.5
_REGRET = 1e-6  # worth of nearness alone: decides where nothing is gained any more
# Seconds to load an engine where none has been loaded, by engine: the recorded study's models of 7 billion parameters.
_LOAD_SECONDS = {"hf-pipeline": 30.0}
_OTHER_LOAD_SECONDS = 60.0
_FAILURE_SECONDS = 10.0
_ADAPTIVE_SECONDS, _ADAPTIVE_BATCHES = 20.0, 3  # of a short measurement; reasoned, not measured
_LEAST_BATCHES = 4  # of a full measurement


def gains(seen: Outlook) -> Array:
    """Return what each cell may gain, shape (cells,): the chance to be the best, plus the expected improvement."""
    return np.where(seen.is_open, expected_gain(seen, seen.values), -1.0)


def expected_gain(seen: Outlook, values: Array) -> Array:
    """Return what values, shape (draws, n), may gain in the landscapes of an outlook, shape (n,)."""
    known, top = seen.known, seen.top
    near = (values >= (top - seen.tolerance)[:, None]) & (known < top - seen.tolerance)[:, None]
    reference = np.maximum(known, top - _NOTHING_YET) if seen.best is None else known
    improvement = np.maximum(values - reference[:, None], 0.0)
    regret = np.exp(np.clip(values - top[:, None], -50.0, 0.0))
    gain = near.mean(axis=0) + WORTH_OF_IMPROVEMENT * improvement.mean(axis=0) + _REGRET * regret.mean(axis=0)
    return np.asarray(gain, dtype=np.float64)


def costs(request: SearchRequest, seen: Outlook) -> Array:
    """Return the expected GPU-seconds of a run for each cell alone, shape (cells,)."""
    gpus = np.array([cell.gpu_count for cell in seen.cells], dtype=np.float64)
    return gpus * (load_seconds(request.facts) + measuring_seconds(request, seen))


def load_seconds(facts: SearchFacts) -> float:
    """Return how long an engine loads."""
    if facts.load_seconds is not None:
        return facts.load_seconds
    return _LOAD_SECONDS.get(facts.engine or "", _OTHER_LOAD_SECONDS)


def measuring_seconds(request: SearchRequest, seen: Outlook) -> Array:
    """Return how long each cell is expected to be measured; a failure takes some seconds."""
    facts = request.facts
    batches = np.array([cell.batch_size for cell in seen.cells], dtype=np.float64)
    if facts.losses_are_throughput and facts.samples and facts.new_tokens and seen.best is not None:
        rate = np.exp(np.clip(seen.expected, -20.0, 20.0))
        one_pass = np.maximum(facts.samples, _LEAST_BATCHES * batches) * facts.new_tokens / rate
        seconds = facts.repeats * np.maximum(one_pass, facts.min_repeat_seconds)
        if facts.adaptive:
            three = _ADAPTIVE_BATCHES * batches * facts.new_tokens / rate
            seconds = np.minimum(seconds, np.maximum(_ADAPTIVE_SECONDS, three))
    else:
        known = [trial.seconds for trial in request.trials if trial.seconds is not None]
        seconds = np.full(len(batches), float(np.median(known)) if known else _ADAPTIVE_SECONDS)
    return np.asarray(seen.works * seconds + (1 - seen.works) * _FAILURE_SECONDS, dtype=np.float64)


def best_cell(request: SearchRequest, seen: Outlook) -> Configuration:
    """Return the open cell that gains most for its cost."""
    score = gains(seen) / costs(request, seen) ** COST_POWER
    # Rounded, so that the last bits of a floating-point library decide nothing; a tie goes to the first open cell.
    return seen.cells[int(np.argmax(np.round(score / max(float(score.max()), 1e-300), 9)))]
