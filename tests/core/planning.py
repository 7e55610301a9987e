"""Shared setup for the tests of a pool's plan: a small grid search and finished runs of it."""

from collections.abc import Sequence
from datetime import timedelta

from factories.runs import Outcome, make_ended, make_finish, make_history, make_run
from factories.studies import START, make_cell, make_study
from infpop_operator.core.model import EndedRun, Run
from infpop_operator.core.plan import PoolPlan, plan_pool
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Configuration, SearchSpace, Study

SPACE = SearchSpace(gpu_counts=(1, 2), batch_sizes=(8, 16, 32, 64))
ONE_LOAD = SearchSpace(gpu_counts=(2,), batch_sizes=SPACE.batch_sizes)  # nothing to yield to after a failed load
GRID = Algorithm(name="grid")
FOUR = Algorithm(name="grid", trials_per_run=4)
LOAD = tuple(make_cell(2, batch) for batch in SPACE.batch_sizes)  # the first engine load of a grid search
SHARED = make_run("shared", cells=LOAD)
LATER = START + timedelta(days=365)  # after every pause
ALONE = make_run("alone", cells=LOAD[:1])
OTHER_GPU = "IncompatibleGPU"


def make_small_study(**changes: object) -> Study:
    """Return a grid search on eight cells."""
    return make_study(**({"space": SPACE, "algorithm": GRID} | changes))


def planned(study: Study, *ended: EndedRun, **changes: object) -> PoolPlan:
    """Return what the study's only pool does after these runs."""
    return plan_pool(study, study.pools[0], make_history(ended=ended, **changes), LATER)


def next_run(study: Study, *ended: EndedRun, **changes: object) -> Run:
    """Return the run that the pool plans next; it has not ended."""
    plan = planned(study, *ended, **changes)
    assert plan.next_run is not None
    assert plan.ended is None
    return plan.next_run


def chosen(run: Run) -> list[Configuration]:
    """Return the configurations of a run, in the order of the run."""
    return [trial.configuration for trial in run.trials]


def measured(
    configurations: Sequence[Configuration], *outcomes: Outcome, index: int = 0, **changes: object
) -> EndedRun:
    """Return a run with an outcome for each configuration, 100 tokens/s by default."""
    run = make_run(f"run-{index}", cells=configurations, index=index, **changes)
    return make_ended(run, make_finish(run, outcomes or None))


def each_measured(*rates: Outcome) -> tuple[EndedRun, ...]:
    """Return a run of one trial for each of these outcomes, on the cells in order of GPU count."""
    return tuple(measured([cells(SPACE)[index]], rate, index=index) for index, rate in enumerate(rates))
