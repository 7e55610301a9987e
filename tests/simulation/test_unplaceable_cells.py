"""Studies on a cluster that has no devices for some GPU counts: what they find, and what that costs."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories.studies import make_pool, make_study
from infpop_operator.core import placement
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import never_held, trials_of
from infpop_operator.core.model import TrialState
from infpop_operator.core.recommend import best_of_study
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Budget, SearchSpace, Study
from simulation.cluster import NEVER, Cluster, drive_on_cluster
from simulation.world import Story, World, remember

SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 64, 256))
COVERING = Budget(max_trials=40, parallel_trials=1, max_concurrent_gpus=16)
WORLD = World(best=(8, 64), memory=1024)
HOUR = timedelta(hours=1)


def make_covering_study(**changes: object) -> Study:
    """Return a grid search whose budget covers its space."""
    return make_study(**({"space": SPACE, "algorithm": Algorithm(name="grid"), "budget": COVERING} | changes))


def blocked(*counts: int, **changes: object) -> Cluster:
    """Return a cluster that never has devices for these GPU counts."""
    return Cluster(placed_after=dict.fromkeys(counts, NEVER), **changes)


def lost(story: Story) -> Counter[int]:
    """Return how many runs of each GPU count found no devices."""
    return Counter(ended.run.gpu_count for ended in story.history.ended if never_held(ended))


@pytest.mark.parametrize("queued", [False, True])
def test_a_gpu_count_above_the_quota_costs_the_others_one_wait(*, queued: bool) -> None:
    """The other GPU counts are measured after its first wait, it is tried again, and the study ends without it."""
    cluster = blocked(8, queued=frozenset({8} if queued else ()))
    story = drive_on_cluster(make_covering_study(), WORLD, cluster)
    assert [entry.run.gpu_count for entry in story.history.ended][:3] == [8, 4, 4]
    assert (story.end.verdict, story.end.reason) == (Verdict.SUCCEEDED, "SpaceExhausted")
    measured = {trial.configuration for trial in trials_of(story.history, "a100", 1) if trial.result is not None}
    assert measured == {cell for cell in cells(SPACE) if cell.gpu_count != 8}
    assert placement.ATTEMPTS <= lost(story)[8] <= 6
    (left,) = story.end.set_aside["a100"]
    assert (left.gpu_count, left.reason, left.next_attempt) == (8, "Queued" if queued else "Unschedulable", None)


def test_devices_that_come_late_are_used() -> None:
    """A GPU count that has devices after two hours is measured then, because its pauses end before the search."""
    cluster = Cluster(placed_after={8: timedelta(minutes=25)})
    story = drive_on_cluster(make_covering_study(), WORLD, cluster)
    best = best_of_study(story.study, story.history)
    assert best is not None
    assert best[1].configuration.gpu_count == 8


def test_devices_that_come_while_the_last_others_are_measured_are_used() -> None:
    """When only a GPU count without devices is left, it is tried again at once, however long its pause is."""
    world = World(best=(8, 64), memory=1024)
    study = make_covering_study(pools=(make_pool(schedule_timeout=timedelta(seconds=10)),))
    quick = drive_on_cluster(study, world, blocked(8, wait=timedelta(seconds=10)))
    last = max(entry.observation.ended_at for entry in quick.history.ended if entry.run.gpu_count != 8)
    story = drive_on_cluster(
        study,
        world,
        Cluster(placed_after={8: last - quick.history.started_at}, wait=timedelta(seconds=10)),
    )
    assert any(trial.configuration.gpu_count == 8 and trial.result for trial in trials_of(story.history, "a100", 1))


def test_a_queue_that_admits_nothing_is_waited_for() -> None:
    """Where no GPU count was admitted yet, the last one stays in the queue, and the study goes on once it moves."""
    cluster = Cluster(placed_after=dict.fromkeys(SPACE.gpu_counts, 9 * HOUR), queued=frozenset(SPACE.gpu_counts))
    story = drive_on_cluster(make_covering_study(), WORLD, cluster)
    assert max(lost(story).values()) <= placement.ATTEMPTS
    assert all(trial.state is TrialState.MEASURED for trial in trials_of(story.history, "a100", 1))
    assert len(trials_of(story.history, "a100", 1)) == len(cells(SPACE))


def test_a_study_without_any_devices_ends_with_the_reason() -> None:
    """Each GPU count is tried a few times; then the study stalls and says what no run has found."""
    story = drive_on_cluster(make_covering_study(), WORLD, blocked(*SPACE.gpu_counts))
    assert (story.end.verdict, story.end.reason) == (Verdict.STALLED, "Unschedulable")
    assert "0/3 nodes" in story.end.message
    assert max(lost(story).values()) <= 6


COUNTS = st.sets(st.sampled_from(SPACE.gpu_counts), max_size=3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    counts=COUNTS,
    queued=COUNTS,
    parallel=st.integers(1, 3),
    algorithm=st.sampled_from(["grid", "random"]),
    per_run=st.integers(1, 3),
    data=st.data(),
)
def test_whatever_has_no_devices_the_best_of_the_rest_is_found(  # noqa: PLR0917 - one parameter for each dimension
    counts: set[int], queued: set[int], parallel: int, algorithm: str, per_run: int, data: st.DataObject
) -> None:
    """Every cell that has devices is measured, few runs wait in vain, and a restart at any entry changes nothing."""
    study = make_covering_study(
        algorithm=Algorithm(name=algorithm, trials_per_run=per_run),
        budget=Budget(max_trials=40, parallel_trials=parallel, max_concurrent_gpus=16),
    )
    cluster = blocked(*counts, queued=frozenset(queued))
    story = drive_on_cluster(study, WORLD, cluster)
    measured = {trial.configuration for trial in trials_of(story.history, "a100", 1) if trial.result is not None}
    assert measured == {cell for cell in cells(SPACE) if cell.gpu_count not in counts}
    assert max(lost(story).values(), default=0) <= 6 + parallel
    cut = data.draw(st.integers(0, len(story.journal) - 1))
    kept = story.journal[:cut]
    rest = drive_on_cluster(
        study, WORLD, cluster, history=remember([entry for _, entry in kept]), now=story.journal[cut][0]
    )
    assert kept + rest.journal == story.journal
