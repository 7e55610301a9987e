"""What a decision says of a study: what it waits for, whether it has ended, and why."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from core.deciding import TINY, TWO_POOLS, begun, broke_twice, decided, one
from core.planning import SPACE, make_small_study
from factories.runs import make_ended, make_finish, make_loss, make_started
from factories.studies import at, make_cell, make_pool, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.model import EndedRun, Missing
from infpop_operator.core.study import Budget, Constraint, Objective

NEVER = Constraint(metric="throughputPerGPU", minimum=1e9)  # a bound that no trial satisfies
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
