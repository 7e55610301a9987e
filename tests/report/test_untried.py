"""The end of a study names the GPU counts that it has not tried."""

import pytest

from factories.fake_executor import play_landscape
from infpop_operator.core.study import Budget, SearchSpace
from report.local_pages import page_of
from report.played_studies import snapshots

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(1, 8))


@pytest.mark.parametrize(
    ("max_trials", "expected"),
    [
        (1, "1, 2 and 4 GPUs: the best may be there; raise budget.maxTrials"),
        (3, "1 GPU: the best may be there; raise budget.maxTrials"),
        (4, None),
        (8, None),
    ],
)
def test_gpu_counts_that_a_budget_did_not_reach_are_named(max_trials: int, expected: str | None) -> None:
    """A grid that is cut short tries each GPU count as soon as it can, and its end says which it could not try."""
    play = play_landscape(lambda gpus, batch: 100.0 * batch / gpus)
    end = snapshots(play, space=SPACE, budget=Budget(max_trials=max_trials))[-1]
    conclusion = page_of(end).conclusion
    assert conclusion is not None
    assert dict(conclusion.facts).get("Not tried") == expected


def test_gpu_counts_that_cannot_work_are_not_named() -> None:
    """What is ruled out needs no trial: nothing there may be the best."""
    play = play_landscape(lambda gpus, _: "HeadsNotDivisible" if gpus == 8 else 100.0)
    end = snapshots(play, space=SPACE, budget=Budget(max_trials=6))[-1]
    conclusion = page_of(end).conclusion
    assert conclusion is not None
    assert "Not tried" not in dict(conclusion.facts)
