"""The rows of the Pareto front in a status: one front for each pool, and which of them count over all pools."""

from dataclasses import replace

from api.status_samples import TWO_POOLS, decision_of, ended_run, run_of
from factories.studies import START, make_cell, make_measured, make_study
from infpop_operator.api import status_pareto
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.status_size import LIMIT_BYTES, fit
from infpop_operator.core.model import History, PlannedTrial, Round
from infpop_operator.core.study import Objective, Study

ROUNDS = tuple(Round(pool=pool.name, number=1, identity="i1") for pool in TWO_POOLS)
BOTH = make_study(objective=Objective(second_metric="throughputPerGPU"), pools=TWO_POOLS)


def history_of(**rates: dict[tuple[int, int], float]) -> History:
    """Return a history with the tokens/s of configurations on each pool."""
    ended = []
    for pool, found in rates.items():
        for index, ((gpus, batch), rate) in enumerate(found.items()):
            run = run_of(index, 1, pool=pool)
            planned = PlannedTrial(index=index, configuration=make_cell(gpus, batch))
            result = make_measured(rate, index=index, batch_size=batch, spread_ratio=0.0)
            ended.append(ended_run(replace(run, trials=(planned,)), result))
    return History(started_at=START, rounds=ROUNDS, ended=tuple(ended))


def status_of(study: Study = BOTH, **rates: dict[tuple[int, int], float]) -> StudyStatus:
    """Return the status of the study after these measurements."""
    return to_status(study, decision_of(history_of(**rates)), START)


def test_the_status_has_the_front_of_each_pool_and_says_what_counts_over_all() -> None:
    """A row has both values and the run; on a pool that is slower in everything, no row counts over all pools."""
    status = status_of(
        a100={(8, 64): 1000.0, (4, 64): 800.0, (4, 8): 500.0, (1, 64): 300.0},
        v100={(8, 64): 500.0, (1, 64): 100.0, (1, 32): 260.0},
    )
    assert status.pareto is not None
    assert [
        (row.pool, row.gpu_count, row.batch_size, row.value, row.second_value, row.overall, row.run)
        for row in status.pareto
    ] == [
        ("a100", 8, 64, "1000", "125", True, "study-a100-1-0"),
        ("a100", 4, 64, "800", "200", True, "study-a100-1-1"),
        ("a100", 1, 64, "300", "300", True, "study-a100-1-3"),
        ("v100", 8, 64, "500", "62.5", False, "study-v100-1-0"),
        ("v100", 1, 32, "260", "260", False, "study-v100-1-2"),
    ]
    assert status.pareto_dropped is None
    assert StudyStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True)) == status


def test_a_study_with_one_metric_has_no_front() -> None:
    """Nor has a study without results."""
    assert status_of(make_study(), a100={(8, 64): 1000.0}).pareto is None
    assert status_of().pareto is None


def long_front(pool: str) -> dict[str, dict[tuple[int, int], float]]:
    """Return a pool with 20 configurations on its front: each is slower than the one before, and needs fewer GPUs."""
    return {pool: {(21 - number, 8): 1000.0 * 0.97**number for number in range(20)}}


def test_a_long_front_keeps_its_ends_and_says_how_much_is_left_out() -> None:
    """16 rows of a pool are enough to choose from."""
    space = replace(BOTH.space, gpu_counts=tuple(range(1, 33)), batch_sizes=(8,))
    status = status_of(replace(BOTH, space=space), **long_front("a100"))
    assert status.pareto is not None
    assert (len(status.pareto), status.pareto_dropped) == (status_pareto.MAX_PARETO_ROWS, 4)
    assert [status.pareto[place].gpu_count for place in (0, -1)] == [21, 2]


def test_in_a_status_that_is_too_large_only_what_counts_over_all_pools_stays() -> None:
    """Rows that another pool beats go before any trial does."""
    status = status_of(a100={(8, 64): 1000.0}, v100={(8, 64): 500.0, (1, 64): 100.0})
    fitted = fit(status.model_copy(update={"gpu_hours": "1" * LIMIT_BYTES}))
    assert fitted.pareto is not None
    assert ([row.pool for row in fitted.pareto], fitted.pareto_dropped) == (["a100"], 2)


def test_a_trial_without_times_says_why_it_is_not_on_the_front() -> None:
    """It may still be the best."""
    measured = make_measured(
        100.0,
        batch_seconds_p50=None,
        missing={"batch_seconds_p50": "NoRequestTimes", "gpu_memory_peak_bytes": "NoDevice", "pad_ratio": "NotPadded"},
    )
    history = History(started_at=START, rounds=ROUNDS, ended=(ended_run(run_of(0, 1), measured),))
    study = replace(BOTH, objective=Objective(second_metric="secondsPerOutputToken"))
    status = to_status(study, decision_of(history), START)
    (row,) = status.trials
    assert (row.reason, row.message) == (None, "secondsPerOutputToken missing: NoRequestTimes")
    assert status.best is not None
    assert status.pareto is None
