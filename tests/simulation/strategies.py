"""Hypothesis strategies: studies, worlds, and whole stories of a study in a world."""

from datetime import timedelta

from hypothesis import strategies as st

from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.study import (
    AUTO,
    Algorithm,
    Budget,
    Configuration,
    Constraint,
    ExtraParameter,
    Objective,
    Plateau,
    Pool,
    SearchSpace,
    Study,
)
from infpop_runner.contract import MeasurementSpec
from simulation.world import Story, World, always_loads, drive

SPACES = (
    SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(1, 8, 64, 128, 256, 512)),
    SearchSpace(gpu_counts=(1, 4), batch_sizes=(16, 32, 64, 128)),
    SearchSpace(gpu_counts=(2,), batch_sizes=(1, 1024)),
    SearchSpace(
        gpu_counts=(1, 2),
        batch_sizes=(64, 128, 256),
        extra=(ExtraParameter(name="enforce_eager", values=(True, False)),),
    ),
)
# Most studies use metrics that every measurement has.
OBJECTIVES = (
    Objective(),
    Objective(),
    Objective(metric="throughputPerGPU"),
    Objective(metric="throughputPerGPU"),
    Objective(metric="tokensPerJoule", power_metric="power"),
    Objective(metric="power", goal="Minimize", constraints=(Constraint(metric="power", maximum=800.0),)),
)
# The numerical searches take about 10 ms for each ask, so most examples use the others.
ALGORITHMS = ("grid", "grid", "random", "random", "tpe", "anneal")


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    """Draw a budget, often a tight one."""
    max_trials = draw(st.integers(1, 24))
    return Budget(
        max_trials=max_trials,
        parallel_trials=draw(st.integers(1, min(4, max_trials))),
        max_concurrent_gpus=draw(st.sampled_from([4, 8, 12])),
        max_failed_trials=draw(st.sampled_from([0, 3, 6, 100, 100])),
        max_gpu_hours=draw(st.none() | st.none() | st.floats(0.05, 2.0)),
        deadline=draw(st.none() | st.none() | st.integers(5, 90).map(lambda minutes: timedelta(minutes=minutes))),
        plateau=draw(
            st.none() | st.none() | st.builds(Plateau, trials=st.integers(1, 6), improvement_ratio=st.just(0.02))
        ),
    )


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """Draw a study on one or two pools."""
    algorithm = Algorithm(
        name=draw(st.sampled_from(ALGORITHMS)),
        seed=draw(st.integers(0, 99)),
        trials_per_run=draw(st.integers(1, 8) | st.just(AUTO)),
    )
    return make_study(
        space=draw(st.sampled_from(SPACES)),
        algorithm=algorithm,
        budget=draw(budgets()),
        pools=draw(pools()),
        baseline=draw(baselines()),
        objective=draw(st.sampled_from(OBJECTIVES)),
        measurement=MeasurementSpec(mode=draw(st.sampled_from(["full", "adaptive"]))),
    )


def pools() -> st.SearchStrategy[tuple[Pool, ...]]:
    """Choose one or two pools with 4, 8 or an unknown number of devices."""
    second = make_pool(name="v100", fingerprint="f2", device_count=4)
    return st.sampled_from([(make_pool(),), (make_pool(device_count=None),), (make_pool(), second)])


def baselines() -> st.SearchStrategy[Configuration | None]:
    """Choose no baseline, one that may be in the space, or one that is not."""
    return st.sampled_from([None, None, make_cell(1, 64), make_cell(1, 48)])


def only_on_several_gpus(gpu_count: int, batch_size: int) -> bool:
    """Return whether the weights fit: not on one GPU, whatever the batch."""
    del batch_size
    return gpu_count > 1


def only_small_batches(gpu_count: int, batch_size: int) -> bool:
    """Return whether an engine that is sized by its batch can be loaded."""
    return batch_size <= 128 * gpu_count


worlds = st.builds(
    World,
    seed=st.integers(0, 10_000),
    best=st.sampled_from([(1, 64), (4, 64), (8, 512)]),
    memory=st.sampled_from([0, 32, 64, 1024]),
    noise=st.sampled_from([0.0, 0.005, 0.05]),
    lost=st.sampled_from([0.0, 0.2, 0.6]),
    preempted=st.sampled_from([0.0, 0.2]),
    crashed=st.sampled_from([0.0, 0.2]),
    invalid=st.sampled_from([0.0, 0.2, 0.7]),
    incompatible=st.sampled_from([0.0, 0.0, 0.0, 0.1]),
    unseen=st.sampled_from([0.0, 0.0, 0.3, 1.0, None]),
    survives=st.booleans(),
    adaptive=st.booleans(),
    loads=st.sampled_from([always_loads, always_loads, only_on_several_gpus, only_small_batches]),
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw a study and a world, and drive the study through that world."""
    return drive(draw(studies()), draw(worlds))
