"""Single decisions: which ends are absorbed, which rounds open, what stops, and what starts where."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.deciding import CELL, TINY, TWO_POOLS, begun, broke_twice, decided, one
from core.planning import SPACE, make_small_study
from factories.runs import make_ended, make_finish, make_held, make_history, make_loss, make_round, make_started
from factories.studies import START, at, make_cell, make_pool, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.model import Finished, History, Lost, Phase, Run, Running, Waiting
from infpop_operator.core.study import Algorithm, Budget, Configuration, Study
from infpop_runner.contract import Provenance


def with_workload(run: Run, workload_hash: str) -> Finished:
    """Return the end of a run that measured with these prompts."""
    return make_finish(run, provenance=Provenance(engine="simulated", workload_hash=workload_hash))


def test_the_second_end_of_a_pass_is_judged_by_the_first() -> None:
    """Of two runs that end in one pass with different prompts, only the one that was started first keeps its number."""
    first, second = one("first"), one("second", make_cell(1, 16), 1)
    active = (make_started(run=first), make_started(run=second))
    seen = {"second": with_workload(second, "b" * 8), "first": with_workload(first, "a" * 8)}
    ended = decided(make_study(), seen, active=active).history.ended
    assert [entry.run.name for entry in ended] == ["first", "second"]
    assert isinstance(ended[0].observation, Finished)
    assert isinstance(ended[1].observation, Lost)
    assert ended[1].observation.reason == "WorkloadChanged"


def test_an_end_follows_those_before_it_and_keeps_its_start() -> None:
    """Ended runs are appended; a run that waits, runs or was not observed stays live and unchanged."""
    study = make_study(budget=Budget(parallel_trials=4))
    live = [make_held(one(f"run-{number}", make_cell(1, 2**number), number)) for number in range(4)]
    live[1] = replace(live[1], started_at=at(7), held_since=at(9))
    before = make_ended(one("before", make_cell(1, 256), 9))
    seen = {
        "run-0": Waiting(reason="Unschedulable"),
        "run-1": make_loss(ended=90),
        "run-2": Running(phase=Phase.MEASURING),
        "unknown": make_loss(),
    }
    history = decided(study, seen, active=tuple(live), ended=(before,)).history
    ended = replace(make_ended(live[1].run, make_loss(ended=90), began=7), held_since=at(9))
    assert history.ended == (before, ended)
    assert history.active == (live[0], live[2], live[3])


def test_each_pool_begins_with_a_round_of_its_own_identity() -> None:
    """The first round records the study's baseline; a round with the same identity continues."""
    study = make_study(pools=TWO_POOLS, baseline=make_cell(1, 4))
    rounds = decide(study, History(started_at=START), {}, START).history.rounds
    identities = [measurement_identity(study, pool) for pool in TWO_POOLS]
    assert tuple(replace(entry, hardware=None, engine=None, subject=()) for entry in rounds) == tuple(
        make_round(pool=name, identity=identity, baseline=make_cell(1, 4), opened_at=START)
        for name, identity in zip(("a100", "v100"), identities, strict=True)
    )
    assert decide(study, make_history(rounds=rounds), {}, START).history.rounds == rounds
    added = decide(study, make_history(rounds=rounds[1:]), {}, START).history.rounds
    assert added == (rounds[1], rounds[0])


@pytest.mark.parametrize(
    ("rates", "number", "expected"),
    [
        ([10.0, 20.0], 1, make_cell(1, 16)),
        ([], 1, None),
        ([], 2, make_cell(2, 64)),
        ([10.0], 2, CELL),
    ],
)
def test_a_changed_identity_opens_the_next_round_with_the_best_until_then(
    rates: list[float], number: int, expected: Configuration | None
) -> None:
    """If the last round has no best, the best of an earlier round stays the comparison; the first round has none."""
    study = make_small_study(baseline=make_cell(2, 32))
    old = make_round(number=number, identity="older", baseline=make_cell(2, 64))
    runs = [one(f"run-{index}", make_cell(1, 8 * 2**index), index, round=number) for index in range(len(rates))]
    ended = tuple(make_ended(run, make_finish(run, [rate])) for run, rate in zip(runs, rates, strict=True))
    first, opened = decided(study, rounds=(old,), ended=ended).history.rounds
    identity = measurement_identity(study, study.pools[0])
    assert first == old
    assert (opened.number, opened.identity, opened.baseline) == (number + 1, identity, expected)
    assert opened.hardware is not None
    assert opened.hardware.fingerprint == study.pools[0].fingerprint


@pytest.mark.parametrize(
    ("known_as", "seed", "results", "continues"),
    [
        ("unseen", 0, False, True),
        ("unseen", 0, True, False),
        ("other", 0, False, False),
        (None, 0, False, False),
        ("unseen", 1, False, False),
    ],
)
def test_a_round_whose_nodes_become_known_goes_on(
    known_as: str | None,
    seed: int,
    results: bool,  # noqa: FBT001 - both ways of it
    continues: bool,  # noqa: FBT001 - both ways of it
) -> None:
    """A run that waited for the pool's first node measures on it, unless the study or the GPU may be another one."""
    pool = make_pool()
    opened = make_study(pools=(replace(pool, fingerprint="unseen"),))
    study = make_study(pools=(replace(pool, known_as=known_as),), algorithm=Algorithm(seed=seed))
    rounds = begun(opened).rounds
    ended = (make_ended(one("ended"), make_finish(one("ended"), [1.0])),) if results else ()
    decision = decided(study, rounds=rounds, ended=ended, active=(make_started(run=one("live", index=1)),))
    (live,) = (started for started in decision.history.active if started.run.name == "live")
    assert (live.stopping is None) is continues
    newest = decision.history.rounds[-1]
    assert (newest.number, newest.before) == ((1, rounds[0].identity) if continues else (2, None))
    assert newest.identity == measurement_identity(study, study.pools[0])


@pytest.mark.parametrize(
    ("name", "driver", "continues"),
    [
        ("NVIDIA A100-SXM4-40GB", "570.1", True),
        ("NVIDIA A100-SXM4-40GB", None, True),
        ("NVIDIA A100-SXM4-80GB", "570.1", False),
        ("NVIDIA A100-SXM4-40GB", "580.1", False),
        (None, "570.1", False),
    ],
)
def test_a_result_that_names_the_gpu_belongs_to_the_nodes_that_become_known(
    name: str | None,
    driver: str | None,
    continues: bool,  # noqa: FBT001 - both ways of it
) -> None:
    """A run may end before its node has all its labels, or before an operator that was away sees the node."""
    pool = make_pool(gpu_model="NVIDIA-A100-SXM4-40GB", driver_major="570", known_as="unseen")
    opened = make_study(pools=(replace(pool, fingerprint="unseen", gpu_model=None, known_as=None),))
    made = Provenance(engine="vllm", gpu_model=name, driver_version=driver)
    ended = make_ended(one("ended"), make_finish(one("ended"), [1.0], provenance=made))
    decision = decided(make_study(pools=(pool,)), rounds=begun(opened).rounds, ended=(ended,))
    assert len(decision.history.rounds) == (1 if continues else 2)


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({}, {"older": "Superseded", "gone": "Superseded"}),
        ({"suspended": True}, {"older": "Superseded", "gone": "Superseded", "live": "Suspended"}),
        (
            {"budget": Budget(parallel_trials=9, deadline=timedelta(seconds=100))},
            {"older": "Superseded", "gone": "Superseded", "live": "DeadlineReached"},
        ),
        (
            {"suspended": True, "budget": Budget(deadline=timedelta(seconds=100))},
            {"older": "Superseded", "gone": "Superseded", "live": "Suspended"},
        ),
    ],
)
def test_a_stop_says_the_first_reason_for_it(changes: dict[str, object], stops: dict[str, str]) -> None:
    """A run of an older round or a removed pool is always superseded; suspension comes before a budget."""
    study = make_study(**({"budget": Budget(parallel_trials=9)} | changes))
    rounds = (make_round(), make_round(pool="gone"), *begun(study).rounds)
    rounds = (*rounds[:2], replace(rounds[2], number=2))
    runs = (one("older"), one("gone", pool="gone"), one("live", round=2))
    decision = decided(study, rounds=rounds, active=tuple(make_started(run=run) for run in runs))
    assert {started.run.name: started.stopping for started in decision.stop} == stops


def started(study: Study, **changes: object) -> list[str]:
    """Return the pools of the runs that are started, in order."""
    return [run.pool for run in decided(study, **changes).start]


def test_pools_take_turns() -> None:
    """The pool with the fewest live runs is next; among equals, the one that is listed first."""
    limits = Budget(parallel_trials=4, max_concurrent_gpus=99)
    study = make_small_study(pools=TWO_POOLS, budget=limits)
    assert started(study) == ["a100", "v100", "a100", "v100"]
    assert started(replace(study, pools=TWO_POOLS[::-1])) == ["v100", "a100", "v100", "a100"]
    live = (make_started(run=one("live", pool="a100")), make_started(run=one("other", make_cell(1, 16), 1)))
    assert started(study, active=live) == ["v100", "v100"]


def test_runs_that_start_together_do_not_measure_the_same() -> None:
    """Each run is planned with the runs before it as live runs."""
    study = make_small_study(budget=Budget(parallel_trials=3, max_concurrent_gpus=99))
    starts = decided(study).start
    assert [(run.trials[0].index, run.trials[0].configuration) for run in starts] == [
        (0, make_cell(2, 8)),
        (1, make_cell(1, 8)),
        (2, make_cell(2, 16)),
    ]


@pytest.mark.parametrize(("gpus", "count"), [(1, 1), (4, 2), (5, 2), (6, 3)])
def test_no_more_runs_start_than_there_is_room_for(gpus: int, count: int) -> None:
    """Runs that start in one decision count against each other's room."""
    study = make_small_study(budget=Budget(parallel_trials=3, max_concurrent_gpus=gpus))
    only = replace(study, space=replace(SPACE, gpu_counts=(2,))) if gpus > 1 else study
    assert len(decided(only).start) == count


@pytest.mark.parametrize(("now_s", "pools"), [(104, ["v100"]), (105, ["a100", "v100"]), (106, ["a100", "v100"])])
def test_a_pool_that_pauses_starts_nothing_until_its_pause_is_over(now_s: float, pools: list[str]) -> None:
    """Other pools do not wait for it."""
    study = make_study(space=TINY, pools=TWO_POOLS, budget=Budget(parallel_trials=2))
    decision = decide(study, begun(study, ended=broke_twice()), {}, at(now_s))
    assert [run.pool for run in decision.start] == pools


@pytest.mark.parametrize(
    "changes", [{"suspended": True}, {"budget": Budget(deadline=timedelta(seconds=100))}, {"space": TINY}]
)
def test_nothing_starts_while_suspended_or_without_a_budget_or_a_cell(changes: dict[str, object]) -> None:
    """A study that may not or need not measure starts no run."""
    run = one("run")
    assert decided(make_study(**changes), ended=(make_ended(run),)).start == ()
