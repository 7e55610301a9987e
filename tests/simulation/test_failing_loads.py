"""Studies whose engine does not load at some GPU counts: what they find, and what that costs."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories.studies import make_pool, make_study
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import broken_reason, trials_of
from infpop_operator.core.load_failures import LOAD_FAILS
from infpop_operator.core.study import Algorithm, Budget, Configuration, ExtraParameter, SearchSpace, Study
from simulation.cluster import NEVER, Cluster, drive_on_cluster
from simulation.world import Story, World, drive, remember

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 64, 256))
COVERING = Budget(max_trials=40, max_concurrent_gpus=16)
MOST_ATTEMPTS = 3


def make_covering_study(**changes: object) -> Study:
    """Return a grid search whose budget covers its space, with the default failure budget."""
    return make_study(**({"space": SPACE, "algorithm": Algorithm(name="grid"), "budget": COVERING} | changes))


def world(*dying: int, **changes: object) -> World:
    """Return a world in which these GPU counts do not load."""
    return World(memory=1024, dying=frozenset(dying), **changes)


def broken(story: Story) -> Counter[int]:
    """Return how many runs of each GPU count broke."""
    return Counter(ended.run.gpu_count for ended in story.history.ended if broken_reason(ended) is not None)


def measured(story: Story) -> set[int]:
    """Return the GPU counts of which every batch size was measured."""
    trials = trials_of(story.history, "a100", 1)
    counts = Counter(trial.configuration.gpu_count for trial in trials if trial.result is not None)
    return {count for count, number in counts.items() if number == len(SPACE.batch_sizes)}


@pytest.mark.parametrize("killed", [False, True])
def test_gpu_counts_that_never_load_are_set_aside(*, killed: bool) -> None:
    """The one that works is tried before any other is tried twice; the other ones cost nine runs, not the study."""
    story = drive(
        make_covering_study(), world(*(() if killed else (2, 4, 8)), killed=frozenset({2, 4, 8} if killed else ()))
    )
    assert [ended.run.gpu_count for ended in story.history.ended[:4]] == [8, 4, 2, 1]
    assert (story.end.verdict, story.end.reason) == (Verdict.SUCCEEDED, "SpaceExhausted")
    assert measured(story) == {1}
    assert broken(story) == dict.fromkeys((2, 4, 8), MOST_ATTEMPTS)
    aside = {each.gpu_count: each for each in story.end.set_aside["a100"]}
    assert sorted(aside) == [2, 4, 8]
    assert {each.reason for each in aside.values()} == {LOAD_FAILS}
    if not killed:
        assert aside[8].detail == "EngineCrash: 255 is not divisible by 8"


@pytest.mark.parametrize("limit", [0, 5])
def test_the_failure_budget_is_not_used_up_by_loads_of_others(limit: int) -> None:
    """Seven GPU counts that do not load, and a budget of a few failures: the eighth is found."""
    space = SearchSpace(gpu_counts=tuple(range(1, 9)), batch_sizes=SPACE.batch_sizes)
    budget = Budget(max_trials=40, max_failed_trials=limit)
    story = drive(make_covering_study(space=space, budget=budget), world(*range(2, 9)))
    assert story.end.verdict is Verdict.SUCCEEDED
    assert measured(story) == {1}


def test_a_model_that_never_loads_ends_with_the_failure_budget() -> None:
    """Nothing is set aside where nothing works; the last cause is in the message."""
    story = drive(make_covering_study(), world(*SPACE.gpu_counts))
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "TooManyFailures")
    assert "255 is not divisible" in story.end.message
    assert len(story.history.ended) == COVERING.max_failed_trials + 1


@pytest.mark.parametrize("algorithm", ["grid", "tpe"])
def test_a_model_that_never_loads_ends_with_the_failure_budget_however_many_loads_there_are(algorithm: str) -> None:
    """Of 24 loads the trial budget covers 20: one failure of each GPU count is free, and then six are too many."""
    extra = (ExtraParameter(name="a", values=(1, 2, 3)), ExtraParameter(name="b", values=(True, False)))
    study = make_covering_study(
        space=SearchSpace(gpu_counts=SPACE.gpu_counts, batch_sizes=(8, 64), extra=extra),
        algorithm=Algorithm(name=algorithm),
        budget=Budget(max_trials=20, max_failed_trials=5),
    )
    story = drive(study, world(*SPACE.gpu_counts))
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "TooManyFailures")
    assert len(story.history.ended) == len(SPACE.gpu_counts) + 6


def test_a_trial_budget_that_covers_no_other_load_makes_failures_count() -> None:
    """Two trials, two GPU counts that do not load, and two more that are never tried."""
    story = drive(make_covering_study(budget=Budget(max_trials=2, max_failed_trials=3)), world(*SPACE.gpu_counts))
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "TooManyFailures")


@pytest.mark.parametrize("extra", [(), (ExtraParameter(name="enforce_eager", values=(True, False)),)])
@pytest.mark.parametrize("per_run", [1, 8])
@pytest.mark.parametrize("algorithm", ["grid", "random", "tpe"])
def test_arguments_that_no_configuration_gets_past_end_after_two_runs(
    algorithm: str, per_run: int, extra: tuple[ExtraParameter, ...]
) -> None:
    """The second run differs from the first in all that could be the reason; the study names the engine's own words."""
    space = SearchSpace(gpu_counts=SPACE.gpu_counts, batch_sizes=SPACE.batch_sizes, extra=extra)
    study = make_covering_study(space=space, algorithm=Algorithm(name=algorithm, trials_per_run=per_run))
    story = drive(study, World(refuses=lambda _: True))
    assert len(story.history.ended) == 2
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "RejectedArguments")
    assert "nothing could be measured: RejectedArguments: RejectedArguments of run" in story.end.message
    assert story.end.reasons_by_pool == {"a100": "RejectedArguments"}


DTYPES = ExtraParameter(name="kv_cache_dtype", values=("auto", "fp8"))
BLOCKS = ExtraParameter(name="block_size", values=(8, 16, 32, 64, 128))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("space", "refuses"),
    [
        (
            SearchSpace(gpu_counts=(1, 2), batch_sizes=(8, 64), extra=(DTYPES, BLOCKS)),
            lambda cell: dict(cell.extra)["kv_cache_dtype"] == "fp8",
        ),
        (
            SearchSpace(gpu_counts=(1, 2), batch_sizes=(8, 64), extra=(BLOCKS,)),
            lambda cell: dict(cell.extra)["block_size"] < 64,
        ),
        (
            SearchSpace(gpu_counts=(1,), batch_sizes=(8, 16, 32, 64, 128, 256, 512)),
            lambda cell: cell.batch_size > 128,
        ),
    ],
)
def test_a_study_of_which_some_configurations_are_refused_finds_one_that_works(
    space: SearchSpace, refuses: Callable[[Configuration], bool], seed: int
) -> None:
    """One value of an extra parameter, or batch sizes above a limit: the engine's words are the same each time."""
    study = make_covering_study(space=space, algorithm=Algorithm(name="tpe", seed=seed), budget=Budget(max_trials=12))
    story = drive(study, World(memory=1024, refuses=refuses))
    assert story.end.verdict is Verdict.SUCCEEDED


def test_a_gpu_count_that_no_pool_has_is_said_so() -> None:
    """Nothing ran and no number broke a constraint: the nodes are too small."""
    pools = (make_pool(device_count=4), make_pool(name="v100", fingerprint="f2", device_count=2))
    study = make_covering_study(space=SearchSpace(gpu_counts=(8,), batch_sizes=(1, 2)), pools=pools)
    story = drive(study, World())
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "UnsupportedGpuCount")
    assert story.end.message.startswith("no pool has nodes with 8 GPUs for one run: pool a100 has 4, pool v100 has 2;")


COUNTS = st.sets(st.sampled_from(SPACE.gpu_counts), max_size=3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    dying=COUNTS,
    killed=COUNTS,
    unplaced=COUNTS,
    algorithm=st.sampled_from(["grid", "random"]),
    per_run=st.integers(1, 3),
    data=st.data(),
)
def test_whatever_cannot_work_the_best_of_the_rest_is_found(  # noqa: PLR0917 - one parameter for each dimension
    dying: set[int], killed: set[int], unplaced: set[int], algorithm: str, per_run: int, data: st.DataObject
) -> None:
    """Every GPU count that works is measured, few runs are spent on the other ones, and a restart changes nothing."""
    works = set(SPACE.gpu_counts) - dying - killed - unplaced
    if not works:
        return
    study = make_covering_study(algorithm=Algorithm(name=algorithm, trials_per_run=per_run))
    place = world(*dying, killed=frozenset(killed))
    cluster = Cluster(placed_after=dict.fromkeys(unplaced, NEVER))
    story = drive_on_cluster(study, place, cluster)
    assert story.end.verdict is Verdict.SUCCEEDED
    assert measured(story) == works
    assert all(number <= (6 if count in unplaced else MOST_ATTEMPTS) for count, number in broken(story).items())
    cut = data.draw(st.integers(0, len(story.journal) - 1))
    kept, now = story.journal[:cut], story.journal[cut][0]
    rest = drive_on_cluster(study, place, cluster, history=remember([entry for _, entry in kept]), now=now)
    assert kept + rest.journal == story.journal
