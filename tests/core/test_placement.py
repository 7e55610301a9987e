"""GPU counts without devices: whom they yield to, when they are tried again, and when they are given up."""

from dataclasses import replace

import pytest

from core.planning import LOAD, ONE_LOAD, SPACE, make_small_study
from factories.runs import make_ended, make_finish, make_held, make_history, make_loss, make_run
from factories.studies import at, make_cell, make_pool
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.model import INTERRUPTED, QUEUED, EndedRun, Round, StartedRun, Waiting
from infpop_operator.core.study import Budget, SearchSpace, Study

TWO = SearchSpace(gpu_counts=(1, 2), batch_sizes=(8,))


def lost(gpus: int, *, began: float, ended: float, index: int = 0, reason: str = "Unschedulable") -> EndedRun:
    """Return a run that found no devices from `began` until `ended`."""
    run = make_run(f"lost-{gpus}-{ended:g}", cells=[make_cell(gpus, 8)], index=index)
    loss = make_loss(reason, ended=ended, counts=False, detail="0/3 nodes")
    return replace(make_ended(run, loss, began=began), held_since=at(ended))


def measured(gpus: int, *, ended: float, index: int = 1) -> EndedRun:
    """Return a run of one cell that was measured."""
    run = make_run(f"done-{gpus}", cells=[make_cell(gpus, 8)], index=index)
    return make_ended(run, make_finish(run, ended=ended), began=ended - 60)


def decided(study: Study, *ended: EndedRun, now: float, **changes: object) -> Decision:
    """Return the decision on a round with these runs."""
    rounds = tuple(Round(pool=pool.name, number=1, identity=measurement_identity(study, pool)) for pool in study.pools)
    return decide(study, make_history(rounds=rounds, ended=ended, **changes), {}, at(now))


def started(decision: Decision) -> list[tuple[int, int]]:
    """Return GPU count and attempt of each run that a decision starts."""
    return [(run.gpu_count, run.attempt) for run in decision.start]


def test_a_gpu_count_without_devices_yields_to_the_others() -> None:
    """The other cells do not wait for it, and its own other cells wait with it."""
    decision = decided(make_small_study(), lost(2, began=0, ended=600), now=600)
    assert started(decision) == [(1, 1)]
    (aside,) = decision.set_aside["a100"]
    assert (aside.gpu_count, aside.reason, aside.detail, aside.next_attempt) == (
        2,
        "Unschedulable",
        "0/3 nodes",
        at(1200),
    )


@pytest.mark.parametrize(
    ("waits", "pause_s"), [([0], 10), ([0, 0], 20), ([0, 0, 0], 40), ([600], 600), ([600, 600], 1200), ([5, 600], 1200)]
)
def test_each_pause_is_twice_the_last_and_as_long_as_the_run_waited(waits: list[float], pause_s: float) -> None:
    """A run that waits long for its devices keeps the others from working as long."""
    ended = [lost(2, began=2000 + number - wait, ended=2000 + number) for number, wait in enumerate(waits)]
    ended[-1] = lost(2, began=2000 + len(waits) - waits[-1], ended=2000 + len(waits))
    (aside,) = decided(make_small_study(), *ended, now=2000 + len(waits)).set_aside["a100"]
    assert aside.next_attempt == at(2000 + len(waits) + pause_s)
    assert aside.attempts == len(waits)


def test_after_its_pause_it_is_tried_before_new_cells() -> None:
    """One run asks for the devices; the other cells of that GPU count wait for its answer."""
    study = make_small_study(budget=Budget(parallel_trials=3))
    decision = decided(study, lost(2, began=0, ended=600), measured(1, ended=1200), now=1200)
    assert started(decision) == [(2, 2), (1, 1), (1, 1)]


def test_devices_for_one_run_are_devices_for_its_gpu_count() -> None:
    """Once a run of it holds devices, or has ended in any other way, the GPU count no longer yields."""
    study = make_small_study(budget=Budget(parallel_trials=2))
    live = make_held(make_run("live", cells=[LOAD[0]]), since=700)
    assert decided(study, lost(2, began=0, ended=600), now=700, active=(live,)).set_aside == {}
    crashed = make_ended(live.run, make_loss("Killed", ended=700), began=650)
    assert started(decided(make_small_study(space=ONE_LOAD), lost(2, began=0, ended=600), crashed, now=700)) == [(2, 3)]


def test_what_the_user_or_the_study_stopped_says_nothing_of_devices() -> None:
    """An interrupted run is tried again at once, and is no attempt of its GPU count."""
    interrupted = lost(2, began=0, ended=600, reason=INTERRUPTED)
    assert started(decided(make_small_study(), interrupted, now=600)) == [(2, 2)]
    paused = replace(lost(2, began=0, ended=600, reason="Suspended"), stopped="Suspended")
    assert started(decided(make_small_study(), paused, now=600)) == [(2, 2)]


def test_a_loss_of_an_older_version_says_nothing_of_devices() -> None:
    """Its journal does not tell whether the run held devices, so its cell is tried again as before."""
    old = replace(lost(2, began=0, ended=600), held_since=None)
    assert started(decided(make_small_study(), old, now=600)) == [(2, 2)]


def test_repeated_preemptions_yield_too_but_are_never_given_up() -> None:
    """The first one is tried again at once; where it repeats, the other GPU counts get their turn."""
    preempted = [
        make_ended(
            make_run(f"run-{number}", cells=[LOAD[0]]),
            make_loss("Preempted", ended=100 + number, counts=False),
        )
        for number in range(2)
    ]
    assert started(decided(make_small_study(), preempted[0], now=101)) == [(2, 2)]
    assert started(decided(make_small_study(), *preempted, now=101)) == []
    only = make_small_study(space=replace(SPACE, gpu_counts=(2,)))
    assert started(decided(only, *preempted, now=10**7)) == [(2, 3)]


def waits(now: float, *ended: EndedRun) -> Decision:
    """Return the decision when only two GPUs are left, which had no devices."""
    return decided(make_small_study(space=TWO), measured(1, ended=60), *ended, now=now)


def test_the_last_gpu_count_is_given_up_after_a_bound() -> None:
    """Three attempts and six schedule time-outs; then the study ends with what it has, and says what it lacks."""
    attempts = [lost(2, began=began, ended=began + 600) for began in (60, 1260, 3000)]
    waiting = waits(1860, *attempts[:2])
    assert (waiting.verdict, waiting.reason, waiting.wake_at) == (Verdict.WAITING, "Unschedulable", at(3060))
    assert "2 runs of 2 GPUs on pool a100 found no devices: 0/3 nodes" in waiting.message
    assert waits(3659, *attempts).verdict is Verdict.WAITING
    ended = waits(3660, *attempts)
    assert (ended.verdict, ended.reason, ended.wake_at) == (Verdict.SUCCEEDED, "SpaceExhausted", None)
    (aside,) = ended.set_aside["a100"]
    assert (aside.gpu_count, aside.attempts, aside.next_attempt) == (2, 3, None)
    assert waits(10**7, *attempts).verdict is Verdict.SUCCEEDED


def test_the_last_gpu_count_is_tried_when_the_others_have_released_their_devices() -> None:
    """However long its pause is: the devices of the others may have been what it lacked."""
    study = make_small_study(space=TWO)
    attempts = [lost(2, began=began, ended=began + 600) for began in (0, 1200, 3000)]
    assert started(decided(study, *attempts, measured(1, ended=5000), now=5000)) == [(2, 4)]


def queued(study: Study, *ended: EndedRun, now: float, held: float | None = None) -> Decision:
    """Return the decision on a run of two GPUs that its queue has held back since the study's start."""
    run = make_run("queued", cells=[make_cell(2, 8)], index=5)
    live = StartedRun(run=run, started_at=at(0), held_since=None if held is None else at(held))
    rounds = tuple(Round(pool=pool.name, number=1, identity=measurement_identity(study, pool)) for pool in study.pools)
    history = make_history(rounds=rounds, ended=ended, active=(live,))
    return decide(study, history, {"queued": Waiting(reason=QUEUED)}, at(now))


def test_a_queued_run_gives_way_after_the_schedule_time_out() -> None:
    """It holds no GPU, but its place among the parallel runs: the study stops it and goes on with another GPU count."""
    assert queued(make_small_study(), now=599).stop == ()
    (stopped,) = queued(make_small_study(), now=600).stop
    assert stopped.stopping == QUEUED
    decision = queued(make_small_study(), now=599)
    assert decision.wake_at == at(600)


def test_a_queued_run_stays_where_nothing_is_better() -> None:
    """Alone in a queue that admits nothing, or where its GPU count was admitted before, it keeps its place."""
    only = make_small_study(space=replace(SPACE, gpu_counts=(2,)))
    assert queued(only, now=10**6).stop == ()
    other = lost(1, began=0, ended=10**6, reason=QUEUED, index=0)
    assert queued(make_small_study(), other, now=10**6).stop == ()
    assert queued(make_small_study(), measured(2, ended=100), now=10**6).stop == ()


def test_the_end_of_a_queued_run_is_a_loss_without_devices() -> None:
    """It names the queue, counts as no failure, and its GPU count yields."""
    study = make_small_study()
    stopped = queued(study, now=600)
    done = decide(study, stopped.history, {"queued": make_loss("Deleted", ended=601)}, at(601))
    assert done.history.ended[0].observation == make_loss(
        QUEUED, ended=601, counts=False, detail="its queue did not admit it in time"
    )
    assert started(done) == [(1, 1)]
    assert [(aside.gpu_count, aside.reason) for aside in done.set_aside["a100"]] == [(2, QUEUED)]


def test_a_gpu_count_that_no_node_has_now_keeps_no_other_from_running() -> None:
    """One GPU of the only node is broken: the smaller GPU count is measured first, and nothing starts for the other."""
    study = make_small_study(pools=(make_pool(usable_device_count=1),))
    decision = decided(study, now=100)
    assert started(decision) == [(1, 1)]
    assert [(aside.gpu_count, aside.reason) for aside in decision.set_aside["a100"]] == [(2, "NoRoom")]


def test_a_round_ends_without_a_gpu_count_that_no_node_gets() -> None:
    """After the last measurement it waits for six schedule time-outs; a round that measured nothing waits on."""
    pool = make_pool(usable_device_count=1)
    study = make_small_study(space=TWO, pools=(pool,))
    waiting = decided(study, measured(1, ended=60), now=3659)
    assert (waiting.verdict, waiting.reason, waiting.wake_at) == (Verdict.WAITING, "NoRoom", at(3660))
    ended = decided(study, measured(1, ended=60), now=3660)
    assert (ended.verdict, ended.reason) == (Verdict.SUCCEEDED, "SpaceExhausted")
    nothing = make_small_study(space=replace(SPACE, gpu_counts=(2,)), pools=(pool,))
    assert (decided(nothing, now=10**7).verdict, decided(nothing, now=10**7).reason) == (Verdict.WAITING, "NoRoom")
