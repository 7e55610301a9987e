"""Single decisions: which ends are absorbed, which rounds open, what stops, what starts where, and the verdict."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from core.planning import SPACE, make_small_study
from factories.runs import (
    make_ended,
    make_finish,
    make_held,
    make_history,
    make_loss,
    make_round,
    make_run,
    make_started,
)
from factories.studies import START, at, make_cell, make_pool, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.model import (
    Decision,
    EndedRun,
    Finished,
    History,
    Lost,
    Missing,
    Observation,
    Phase,
    Run,
    Running,
    Verdict,
    Waiting,
)
from infpop_operator.core.study import Algorithm, Budget, Configuration, Constraint, Objective, SearchSpace, Study
from infpop_runner.contract import Provenance

TWO_POOLS = (make_pool(), make_pool(name="v100", fingerprint="f2"))
TINY = SearchSpace(gpu_counts=(1,), batch_sizes=(8,))
CELL = make_cell(1, 8)
NEVER = Constraint(metric="throughputPerGPU", minimum=1e9)  # a bound that no trial satisfies


def begun(study: Study, **changes: object) -> History:
    """Return a history in which each pool of the study is in its first round."""
    rounds = tuple(make_round(pool=pool.name, identity=measurement_identity(study, pool)) for pool in study.pools)
    return make_history(**({"rounds": rounds} | changes))


def decided(study: Study, observations: Mapping[str, Observation] | None = None, **changes: object) -> Decision:
    """Return the decision at second 100 of a study whose pools are in their first round."""
    return decide(study, begun(study, **changes), observations or {}, at(100))


def one(name: str, cell: Configuration = CELL, index: int = 0, **changes: object) -> Run:
    """Return a run of one trial."""
    return make_run(name, cells=[cell], index=index, **changes)


def with_workload(run: Run, workload_hash: str) -> Finished:
    """Return the end of a run that measured with these prompts."""
    return make_finish(run, provenance=Provenance(engine="simulated", workload_hash=workload_hash))


def broke_twice(pool: str = "a100", ended: float = 95) -> tuple[EndedRun, ...]:
    """Return two preempted runs of one trial; the pause after them lasts ten seconds."""
    lost = make_loss("Preempted", ended=ended, counts=False)
    return tuple(make_ended(one(f"{pool}-{number}", pool=pool), lost) for number in range(2))


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
    assert tuple(replace(entry, hardware=None, engine=None) for entry in rounds) == tuple(
        make_round(pool=name, identity=identity, baseline=make_cell(1, 4))
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
    assert replace(opened, hardware=None, engine=None) == make_round(
        number=number + 1, identity=identity, baseline=expected
    )
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
    """A run that waited for the pool's first node measures on it, unless the study changed or has results already."""
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


FULL = make_pool(total_device_count=0)


@pytest.mark.parametrize(
    ("now_s", "reason", "message"),
    [
        (104, "Preempted", "the next attempt is at 00:01:45 UTC; run a100-1 on pool a100 broke"),
        (105, "NoRoom", "pool a100 has no node for a run of 1 GPU now"),
        (106, "NoRoom", "pool a100 has no node for a run of 1 GPU now"),
    ],
)
def test_a_pause_is_the_reason_to_wait_until_it_is_over(now_s: float, reason: str, message: str) -> None:
    """Afterwards the study waits for nodes and no longer gives an old failure as the reason."""
    study = make_study(space=TINY, pools=(FULL,))
    decision = decide(study, begun(study, ended=broke_twice()), {}, at(now_s))
    assert (decision.verdict, decision.reason, decision.message) == (Verdict.WAITING, reason, message)
    assert decision.wake_at == (at(105) if reason == "Preempted" else None)


def test_a_pause_that_ends_on_another_day_has_its_date() -> None:
    """A time alone would be taken for today's."""
    study = make_study(space=TINY, pools=(FULL,))
    midnight = 86_400 - 5
    broken = [make_ended(one(f"r{number}"), make_loss(ended=midnight, counts=False)) for number in (1, 2)]
    decision = decide(study, begun(study, ended=tuple(broken)), {}, at(midnight + 1))
    assert decision.message.startswith("the next attempt is at 2026-01-02 00:00:05 UTC; ")


def test_the_room_that_is_lacking_is_counted_in_gpus() -> None:
    """The message says one GPU or two GPUs."""
    study = make_small_study(pools=(FULL,))
    assert decided(study).message == "pool a100 has no node for a run of 2 GPUs now"


def test_a_single_failure_is_not_a_reason_to_wait() -> None:
    """The first retry comes without a pause, so the study waits only for room."""
    study = make_study(space=TINY, pools=(FULL,))
    assert decided(study, ended=broke_twice()[:1]).reason == "NoRoom"


def test_the_pause_of_any_pool_explains_the_wait_before_the_room_of_another() -> None:
    """Pools that need no run do not wait for anything."""
    pools = (FULL, make_pool(name="v100", fingerprint="f2"))
    study = make_study(space=TINY, pools=pools)
    waiting = decided(study, ended=broke_twice("v100"))
    assert (waiting.reason, "run v100-1 on pool v100 broke" in waiting.message) == ("Preempted", True)
    done = make_ended(one("done", pool="v100"))
    assert decided(study, ended=(*broke_twice("v100"), done)).reason == "NoRoom"
    room = decided(make_study(space=TINY, pools=pools[::-1]), ended=(done,))
    assert room.message == "pool a100 has no node for a run of 1 GPU now"


@pytest.mark.parametrize(("live", "message"), [(1, "1 run in progress"), (2, "2 runs in progress")])
def test_a_study_with_live_runs_is_running(live: int, message: str) -> None:
    """Runs that start with this decision count as live."""
    study = make_small_study(budget=Budget(parallel_trials=live))
    decision = decided(study, active=(make_started(run=one("live")),))
    assert (decision.verdict, decision.reason, decision.message) == (Verdict.RUNNING, "Measuring", message)


def measured(rate: float, *, pool: str = "a100", figures: Mapping[str, float | Missing] | None = None) -> EndedRun:
    """Return the run that measured the only cell of a tiny space."""
    run = one(f"done-{pool}", pool=pool)
    return make_ended(run, replace(make_finish(run, [rate]), extra_metrics={0: figures or {}}))


STALE = Missing(reason="Stale")
NOTHING = "no valid result meets the constraints"
UNMEASURED = "nothing was measured"
SPENT = Budget(deadline=timedelta(seconds=50))
TOO_MANY = (
    "1 run broke, more than spec.budget.maxFailedTrials 0; last: NodeLost. Fix the cause and raise"
    " spec.budget.maxFailedTrials to continue"
)
BROKEN = make_ended(one("broken", make_cell(2, 8), 1), make_loss())
INFEASIBLE = make_ended(one("run"), make_finish(one("run"), ["GpuOutOfMemory"]))


@pytest.mark.parametrize(
    ("changes", "ended", "verdict", "reason", "message"),
    [
        ({"space": TINY}, [measured(5.0)], Verdict.SUCCEEDED, "SpaceExhausted", "pool a100: SpaceExhausted"),
        (
            {"space": TINY},
            [INFEASIBLE],
            Verdict.STALLED,
            "GpuOutOfMemory",
            "nothing could be measured: GpuOutOfMemory: GpuOutOfMemory of 0; pool a100: SpaceExhausted",
        ),
        (
            {"budget": SPENT},
            [measured(5.0)],
            Verdict.SUCCEEDED,
            "DeadlineReached",
            "the deadline of 0:00:50 has passed",
        ),
        (
            {"budget": SPENT},
            [],
            Verdict.STALLED,
            "NothingEligible",
            f"{UNMEASURED}; the deadline of 0:00:50 has passed",
        ),
        (
            {"budget": SPENT, "suspended": True},
            [],
            Verdict.STALLED,
            "NothingEligible",
            f"{UNMEASURED}; the deadline of 0:00:50 has passed",
        ),
        (
            {"suspended": True},
            [measured(5.0)],
            Verdict.WAITING,
            "Suspended",
            "spec.suspend is true: no run starts until it is false",
        ),
        (
            {"suspended": True, "space": TINY},
            [measured(5.0)],
            Verdict.SUCCEEDED,
            "SpaceExhausted",
            "pool a100: SpaceExhausted",
        ),
        (
            {"budget": Budget(max_failed_trials=0)},
            [measured(5.0), BROKEN],
            Verdict.STALLED,
            "TooManyFailures",
            TOO_MANY,
        ),
    ],
)
def test_the_verdict_of_a_study_without_live_runs(
    changes: dict[str, object], ended: list[EndedRun], verdict: Verdict, reason: str, message: str
) -> None:
    """The study succeeded if its search ended with a best, and is stalled if it has none or needs user action."""
    decision = decided(make_study(**changes), ended=tuple(ended))
    assert (decision.verdict, decision.reason, decision.message) == (verdict, reason, message)
    assert decision.wake_at is None


def test_pools_that_ended_for_different_reasons_are_all_reported() -> None:
    """If all pools ended for one reason, it is the study's reason; otherwise the message lists each."""
    study = make_study(space=TINY, pools=TWO_POOLS, budget=Budget(max_trials=1))
    both = decided(study, ended=(measured(5.0), measured(6.0, pool="v100")))
    assert (both.reason, both.message) == (
        "MaxTrialsReached",
        "pool a100: MaxTrialsReached, pool v100: MaxTrialsReached",
    )
    assert both.reasons_by_pool == {"a100": "MaxTrialsReached", "v100": "MaxTrialsReached"}
    other = one("other", pool="v100")
    refused = make_ended(other, make_finish(other, ["IncompatibleGPU"]))
    several = decided(replace(study, budget=Budget()), ended=(measured(5.0), refused))
    assert several.reason == "SearchEnded"
    assert several.message == "pool a100: SpaceExhausted, pool v100: IncompatibleGPU"
    going = decided(replace(study, space=SPACE), ended=(measured(5.0),))
    assert going.reasons_by_pool == {"a100": "MaxTrialsReached"}
    assert [run.pool for run in going.start] == ["v100"]


@pytest.mark.parametrize(
    ("figures", "lacking"),
    [
        ([{"power": 5.0}, {"power": 5.0}], ""),
        (
            [{"power": Missing(reason="Stale")}, {"power": 0.0}],
            " and can be compared: 2 with power missing: NotPositive",
        ),
        ([{"power": 5.0}, {}], " and can be compared: 1 with power missing: NoWindow"),
    ],
)
def test_a_study_without_a_best_says_what_its_numbers_lack(
    figures: list[dict[str, float | Missing]], lacking: str
) -> None:
    """The message counts measured trials of all pools that lack a required metric, and the last trial names it."""
    pools = tuple(replace(pool, price_per_gpu_hour=None) for pool in TWO_POOLS)
    objective = Objective(metric="tokensPerJoule", power_metric="power", constraints=(NEVER,))
    study = make_study(space=TINY, pools=pools, objective=objective)
    ended = tuple(measured(5.0, pool=pool.name, figures=each) for pool, each in zip(pools, figures, strict=True))
    decision = decided(study, ended=ended)
    assert decision.message.startswith(f"{NOTHING}{lacking}; pool a100: SpaceExhausted")
    assert (decision.verdict, decision.reason) == (Verdict.STALLED, "NothingEligible")


def test_a_study_that_continues_is_woken_for_its_limits() -> None:
    """A running study with a deadline is decided again at that instant, as is a waiting one."""
    limits = Budget(deadline=timedelta(hours=1))
    assert decided(make_study(budget=limits)).wake_at == at(3600)
    waiting = make_study(budget=limits, pools=(replace(FULL, device_count=1),))
    assert (decided(waiting).verdict, decided(waiting).wake_at) == (Verdict.WAITING, at(3600))
    spending = make_small_study(budget=Budget(max_gpu_hours=1.0))
    assert decided(spending).wake_at == at(100 + 1800) + timedelta(microseconds=1)
