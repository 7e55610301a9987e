"""The search `landscape` through the decisions of the operator, on landscapes of many shapes."""

from datetime import timedelta

import pytest

from factories.synthetic import synthetic
from infpop_operator.core.model import History
from infpop_operator.core.plan import plan_pool
from infpop_operator.core.study import AUTO, Auto, Configuration
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.world import START, replay, replayed_study, space_size

# `benchmarks/bench_synthetic.py` plays a thousand of them.
LANDSCAPES = 40


def searched(seed: int) -> tuple[list[Configuration], int, str | None]:
    """Return the configurations that a search measures on a landscape, its budget, and why it ended."""
    grid, costs = synthetic(seed), CostModel()
    size = space_size(grid.space)
    budget = size if seed % 3 else max(1, size // 3)
    per_run: int | Auto = (1, AUTO, 3)[seed % 4 % 3]
    study = replayed_study(grid, "landscape", seed=seed, max_trials=budget, trials_per_run=per_run, costs=costs)
    tried: list[Configuration] = []
    history = History(started_at=START)
    for step in replay(study, grid, costs=costs, noise=0.05 if seed % 5 == 0 else 0.0):
        tried.append(step.configuration)
        history = step.history
        assert len(tried) <= budget
    return tried, budget, plan_pool(study, study.pools[0], history, START + timedelta(days=999)).ended


@pytest.mark.parametrize("start", range(0, LANDSCAPES, 10))
def test_no_landscape_makes_the_search_loop_repeat_or_stop_without_a_reason(start: int) -> None:
    """Whatever the shape, each configuration is tried once, until the budget or the space is used up."""
    for seed in range(start, start + 10):
        tried, budget, ended = searched(seed)
        assert len(set(tried)) == len(tried)
        assert (ended == "MaxTrialsReached") == (len(tried) == budget), seed
        assert ended in {"MaxTrialsReached", "SpaceExhausted", "GpuOutOfMemory"}, seed
        if ended == "SpaceExhausted":
            assert set(synthetic(seed).rates) <= set(tried)
