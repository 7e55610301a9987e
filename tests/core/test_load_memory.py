"""A load that ran out of memory: what it rules out, and what is tried next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.planning import SPACE, chosen, make_small_study, measured, next_run, planned
from factories.runs import Outcome
from factories.studies import make_cell, make_load_failure, make_study, make_trials
from infpop_operator.core.load_memory import load_limits, postponed
from infpop_operator.core.model import TrialState
from infpop_operator.core.search_trials import search_trial
from infpop_operator.core.space import cells, ruled_out
from infpop_operator.core.study import SearchSpace
from infpop_runner.contract import Infeasible

COLUMN = SearchSpace(gpu_counts=(2,), batch_sizes=(1, 2, 4, 8))
LOADING = make_load_failure()
OF_BATCH = Infeasible(index=0, batch_size=1, reason="GpuOutOfMemory", phase="measure")
UNKNOWN = Infeasible(index=0, batch_size=1, reason="GpuOutOfMemory")


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ({4: LOADING}, set()),
        ({1: LOADING}, set()),
        ({1: LOADING, 4: LOADING}, set()),  # 2 may still work
        ({2: LOADING, 4: LOADING}, set()),  # so may 1
        ({1: LOADING, 2: LOADING}, {4, 8}),
        ({1: "EngineCrash", 2: LOADING, 4: LOADING}, {8}),  # 1 gave no answer, and gets no further attempt
        ({1: LOADING, 2: 100.0}, set()),
        ({1: LOADING, 2: 100.0, 4: LOADING}, {8}),
        ({2: 100.0, 4: LOADING}, {8}),
        ({4: LOADING, 8: 100.0}, set()),
        ({2: OF_BATCH}, {4, 8}),
        ({2: UNKNOWN}, {4, 8}),  # an older runner did not say when
    ],
)
def test_a_load_without_enough_memory_rules_out_only_what_is_certain(
    tried: dict[int, Outcome], expected: set[int]
) -> None:
    """It takes the two smallest batch sizes, or a smaller batch that was loaded; memory of the batch is as before."""
    study = make_study(space=COLUMN)
    outcomes = {batch: TrialState.BROKEN if outcome == "EngineCrash" else outcome for batch, outcome in tried.items()}
    trials = make_trials([(make_cell(2, batch), outcome) for batch, outcome in outcomes.items()])
    excluded = ruled_out(study, study.pools[0], trials, None)
    assert {cell.batch_size for cell in excluded} - tried.keys() == expected


def test_what_is_ruled_out_says_which_loads_ran_out_of_memory() -> None:
    """The user sees both batch sizes, and the number of GPUs."""
    column = [make_cell(1, batch) for batch in (1, 2, 4)]
    dead = load_limits(make_trials([(column[0], LOADING), (column[1], LOADING)]), column)
    assert dead[1, ()].detail == "loading for batch 1 and for batch 2 already ran out of memory on 1 GPU"
    grows = load_limits(make_trials([(make_cell(2, 1), 100.0), (make_cell(2, 4), LOADING)]), ())
    assert grows[2, ()].detail == (
        "loading for batch 4 already ran out of memory on 2 GPUs, for smaller ones it worked"
    )


def test_after_such_a_load_the_smallest_batch_of_it_comes_first() -> None:
    """The others wait: they are not ruled out, and come back once the smallest works."""
    study = make_small_study(space=SearchSpace(gpu_counts=(2,), batch_sizes=SPACE.batch_sizes))
    failed = measured([make_cell(2, 32)], LOADING)
    assert chosen(next_run(study, failed)) == [make_cell(2, 8)]
    assert chosen(next_run(study, failed, measured([make_cell(2, 8)], LOADING, index=1))) == [make_cell(2, 16)]
    worked = measured([make_cell(2, 8)], 100.0, index=1)
    assert chosen(next_run(study, failed, worked)) == [make_cell(2, 16)]
    rest = measured([make_cell(2, 16)], 100.0, index=2)
    assert planned(study, failed, worked, rest).ended == "SpaceExhausted"  # 64 needs more than 32


def test_a_load_that_cannot_work_costs_three_loads_at_most() -> None:
    """Whichever batch size comes first: that one, and the two smallest."""
    study = make_small_study(space=COLUMN)
    for first in COLUMN.batch_sizes:
        ended = [measured([make_cell(2, first)], LOADING)]
        while (run := planned(study, *ended).next_run) is not None:
            ended.append(measured(chosen(run), LOADING, index=len(ended)))
        assert len(ended) <= 3
        assert planned(study, *ended).ended == "SpaceExhausted"


def test_the_search_is_told_when_memory_ran_out() -> None:
    """Only memory of the batch says something about larger batches."""
    study = make_study()
    trials = make_trials([(make_cell(2, batch), outcome) for batch, outcome in ((4, LOADING), (2, OF_BATCH))])
    found = [search_trial(study, study.pools[0], trial) for trial in trials]
    assert [(each.too_large, each.while_loading) for each in found if each is not None] == [
        (False, True),
        (True, False),
    ]


OUTCOMES = st.sampled_from([LOADING, 100.0, OF_BATCH, TrialState.RUNNING, TrialState.BROKEN])


@given(st.dictionaries(st.sampled_from(cells(SPACE)), OUTCOMES, max_size=8))
def test_of_each_load_something_is_left_to_try_until_it_is_ruled_out(tried: dict[object, object]) -> None:
    """No cell waits for ever: the smallest open one of its load is always allowed."""
    trials = make_trials(list(tried.items()))
    limits = load_limits(trials, cells(SPACE))
    left = [cell for cell in cells(SPACE) if cell not in tried and cell.load_key not in limits]
    now = set(left) - postponed(trials, left)
    assert {cell.load_key for cell in now} == {cell.load_key for cell in left}
