"""A status says what is known and why, changes only when something changed, and stays small."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.status_samples import (
    NO_NODES,
    TWO_POOLS,
    best_pool,
    decision_of,
    ended_run,
    measured_round,
    run_of,
)
from factories.studies import START, make_measured, make_pool, make_study
from infpop_operator.api.status import refused_status, to_status, waiting_status
from infpop_operator.api.status_context import PoolNodes, StatusContext
from infpop_operator.api.status_model import Best, Condition, StudyStatus
from infpop_operator.core.decision import Verdict
from infpop_operator.core.engine_args import engine_settings
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import History, Observation, Phase, Round, Running, StartedRun, Waiting
from infpop_operator.core.study import Constraint, Objective, SearchSpace, Study
from infpop_runner.contract import EngineSpec, Infeasible, ModelSpec
from simulation.world import World, drive, observe

TYPES = ["Accepted", "Ready", "Reconciling", "Stalled", "Succeeded", "ResultStale", "Suspended"]
MISTAKE = Problem(field="spec.budget.deadline", value="0s", message="is no time", remedy="Remove it")


def truth(status: StudyStatus, kind: str) -> str:
    """Return "True" or "False" and the reason of one condition."""
    (condition,) = (condition for condition in status.conditions if condition.type == kind)
    return f"{condition.status} {condition.reason}"


def message(status: StudyStatus, kind: str) -> str:
    """Return the message of one condition."""
    return next(condition.message for condition in status.conditions if condition.type == kind)


def best_of(status: StudyStatus) -> Best:
    """Return the best of a status that has one."""
    assert status.best is not None
    return status.best


def live_history(*states: Observation) -> tuple[History, Mapping[str, Observation]]:
    """Return a history with this many live runs, and their observations."""
    runs = [run_of(index, 1) for index in range(len(states))]
    history = History(
        started_at=START,
        rounds=(Round(pool="a100", number=1, identity="i1"),),
        active=tuple(StartedRun(run=run, started_at=START) for run in runs),
    )
    return history, {run.name: state for run, state in zip(runs, states, strict=True)}


FIRST = StatusContext(generation=1)
SUCCEEDED = decision_of(measured_round(1, 1000.0), verdict=Verdict.SUCCEEDED, reason="SpaceExhausted", message="done")


def test_every_condition_is_written_every_time() -> None:
    """A client that waits for a condition finds it from the first status on, with the current generation."""
    statuses = [
        to_status(make_study(), decision_of(History(started_at=START)), START, context=StatusContext(generation=3)),
        refused_status([MISTAKE], START, context=StatusContext(generation=3)),
        waiting_status("NoMatchingNodes", "no pool has a node", START, context=StatusContext(generation=3)),
    ]
    for status in statuses:
        assert [condition.type for condition in status.conditions] == TYPES
        assert {condition.observed_generation for condition in status.conditions} == {3}
        assert status.observed_generation == 3
        assert truth(status, "Ready").startswith("False ")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "Measuring"),
        ([Waiting(reason="Unschedulable", detail="0/3 nodes")], "Unschedulable"),
        ([Waiting(reason="ImagePull"), Waiting(reason="Unschedulable")], "ImagePull"),
        ([Waiting(reason="Unschedulable"), Running(phase=Phase.LOADING)], "ModelLoading"),
        ([Running(phase=Phase.STARTING)], "Starting"),
        ([Running(phase=Phase.STARTING), Running(phase=Phase.LOADING)], "ModelLoading"),
        ([Running(phase=Phase.LOADING), Running(phase=Phase.MEASURING)], "Measuring"),
        ([Waiting(reason="Unschedulable"), Running(phase=Phase.WARMING_UP)], "Measuring"),
        ([Waiting(reason="exceeded quota: gpus")], "exceededquotagpus"),
        ([Waiting(reason="")], "Unknown"),
    ],
)
def test_the_state_shows_why_a_study_does_not_measure(states: list[Observation], expected: str) -> None:
    """The run in the latest phase sets the study's state; a waiting run does so only if none has started."""
    history, observations = live_history(*states)
    status = to_status(make_study(), decision_of(history), START, context=StatusContext(observations=observations))
    assert truth(status, "Ready") == f"False {expected}"
    assert truth(status, "Reconciling") == f"True {expected}"
    if states and isinstance(states[0], Waiting) and states[0].detail:
        assert "run study-a100-1-0 on pool a100: 0/3 nodes" in message(status, "Ready")


def test_a_run_that_nothing_is_known_of_is_not_measuring() -> None:
    """The pass that decides on a run has not created its Pod: the study starts, whatever else has just ended."""
    history, _ = live_history(Running(phase=Phase.MEASURING))
    status = to_status(make_study(), decision_of(history), START)
    assert (truth(status, "Ready"), message(status, "Ready")) == (
        "False Starting",
        "run study-a100-1-0 on pool a100 is starting",
    )
    assert [run.state for run in status.runs] == ["Starting"]


def test_the_only_live_run_is_named_with_what_it_measures() -> None:
    """A reader of the conditions finds its log; with several runs they are counted."""
    for states, words in (
        ([Running(phase=Phase.MEASURING)], "; run study-a100-1-0 on pool a100 measures: gpuCount 8, batchSize 1"),
        ([Running(phase=Phase.MEASURING), Running(phase=Phase.LOADING)], ""),
    ):
        history, observations = live_history(*states)
        decision = decision_of(history)
        status = to_status(make_study(), decision, START, context=StatusContext(observations=observations))
        assert message(status, "Ready") == f"{decision.message}{words}"


def test_success_begins_with_the_best() -> None:
    """`kubectl describe`, and the Event of the success, tell the result first."""
    status = to_status(make_study(), SUCCEEDED, START)
    best = "best: gpuCount 8, batchSize 1 on pool a100: 1000 tokens/s (simulated)"
    assert message(status, "Ready") == f"{best}; the search ended: done"
    assert message(status, "Succeeded") == "done"


def test_a_live_run_is_shown_with_its_state_and_since_when() -> None:
    """A waiting run has a reason; its time is that of the last change of its state."""
    history, observations = live_history(Waiting(reason="ImagePull", detail="pulling"))
    later, third = START + timedelta(minutes=5), START + timedelta(minutes=9)
    first = to_status(make_study(), decision_of(history), START, context=StatusContext(observations=observations))
    (run,) = first.runs
    assert (run.pool, run.gpu_count, run.batch_sizes) == ("a100", 8, [1])
    assert (run.state, run.message, run.since) == ("ImagePull", "pulling", START)
    same = to_status(
        make_study(), decision_of(history), later, previous=first, context=StatusContext(observations=observations)
    )
    assert same == first
    running = StatusContext(observations={run.name: Running(phase=Phase.LOADING)})
    (run,) = to_status(make_study(), decision_of(history), third, previous=same, context=running).runs
    assert (run.state, run.message, run.since) == ("ModelLoading", None, third)


def test_a_finished_study_with_a_pool_that_cannot_be_tuned_is_not_ready() -> None:
    """The best so far is shown, but a pool that the user listed still waits for its result."""
    status_context = StatusContext(pool_problems={"v100": NO_NODES})
    status = to_status(make_study(), SUCCEEDED, START, context=status_context)
    assert (truth(status, "Ready"), truth(status, "Succeeded")) == ("False NoMatchingNodes", "False NoMatchingNodes")
    assert (truth(status, "Reconciling"), truth(status, "Stalled")) == ("True NoMatchingNodes", "False NoMatchingNodes")
    assert status.best is not None
    assert (status.best.pool, status.best.throughput) == ("a100", "1000")
    assert [(row.name, row.reason, row.message) for row in status.pools] == [
        ("a100", None, None),
        ("v100", "NoMatchingNodes", NO_NODES.message),
    ]
    nothing = replace(SUCCEEDED, verdict=Verdict.STALLED, reason="NothingEligible")
    assert truth(to_status(make_study(), nothing, START, context=status_context), "Stalled") == "False NoMatchingNodes"


def test_nodes_that_go_away_after_the_end_change_no_result() -> None:
    """Scaling down idle nodes does not reopen a finished study; a change of the spec does."""
    done = replace(SUCCEEDED, reasons_by_pool={"a100": "SpaceExhausted"})
    here = StatusContext(generation=1, pool_nodes={"a100": PoolNodes(nodes=2, gpus_per_node=8)})
    first = to_status(make_study(), done, START, context=here)
    assert (first.pools[0].nodes, first.pools[0].gpus_per_node) == (2, 8)
    away = StatusContext(generation=1, pool_problems={"a100": NO_NODES})
    status = to_status(make_study(), done, START, previous=first, context=away)
    assert (truth(status, "Ready"), status.best) == ("True Succeeded", first.best)
    assert (status.pools[0].reason, status.pools[0].gpus_per_node) == ("NoMatchingNodes", 8)
    opened = replace(SUCCEEDED.history, rounds=_rounds("a100", 2))
    edited = decision_of(opened, verdict=Verdict.WAITING, reason="NoRoom")
    status = to_status(make_study(), edited, START, previous=first, context=replace(away, generation=2))
    assert (truth(status, "Ready"), best_of(status).round) == ("False NoMatchingNodes", 1)


def test_a_suspended_study_is_held_and_says_so() -> None:
    """No run starts, nothing is reported as wrong, and earlier results stay."""
    status = to_status(make_study(), SUCCEEDED, START, context=StatusContext(suspended=True))
    assert truth(status, "Suspended") == "True Suspended"
    assert (truth(status, "Ready"), truth(status, "Reconciling")) == ("False Suspended", "False Suspended")
    assert status.best is not None


def test_the_best_of_an_older_round_is_shown_as_such_until_there_is_a_newer_one() -> None:
    """A new round keeps the old result for those who serve with it, and marks it as stale."""
    study = make_study()
    first = to_status(study, SUCCEEDED, START)
    assert truth(first, "ResultStale") == "False Current"
    opened = replace(SUCCEEDED.history, rounds=measured_round(2, 1.0).rounds)
    waiting = to_status(study, decision_of(opened), START)
    assert (best_of(waiting).round, best_of(waiting).throughput) == (1, "1000")
    assert truth(waiting, "ResultStale") == "True NewerRound"
    stalled = decision_of(opened, verdict=Verdict.STALLED, reason="NothingEligible")
    assert to_status(study, stalled, START).best == waiting.best
    ended = (*opened.ended, *measured_round(2, 500.0).ended)
    newer = to_status(study, decision_of(replace(opened, ended=ended)), START)
    assert newer.best is not None
    assert (newer.best.round, newer.best.throughput) == (2, "500")
    assert truth(newer, "ResultStale") == "False Current"


def test_an_old_best_gives_way_once_its_pool_is_gone_or_ended_without_one() -> None:
    """A removed pool, or a round that ended without a best, no longer supplies the recommendation."""
    study, here, old = make_study(pools=TWO_POOLS), measured_round(1, 1000.0), measured_round(1, 9000.0, pool="v100")
    history = replace(here, rounds=(*here.rounds, *_rounds("v100", 2)), ended=(*here.ended, *old.ended))
    shown = to_status(study, decision_of(history), START)
    assert (best_pool(shown), truth(shown, "ResultStale")) == ("v100", "True NewerRound")
    done = to_status(study, decision_of(history, verdict=Verdict.SUCCEEDED), START, previous=shown)
    assert (best_pool(done), truth(done, "ResultStale")) == ("a100", "False Current")
    assert best_pool(to_status(make_study(), decision_of(history), START, previous=shown)) == "a100"
    assert to_status(make_study(), decision_of(History(started_at=START)), START, previous=shown).best is None


@pytest.mark.parametrize(("throughput", "pool"), [(500.0, "a100"), (2000.0, "v100")])
@pytest.mark.parametrize("verdict", [Verdict.RUNNING, Verdict.SUCCEEDED])
def test_of_a_pool_without_nodes_the_best_competes_with_the_others(
    verdict: Verdict, throughput: float, pool: str
) -> None:
    """A pool whose nodes are temporarily gone keeps its result."""
    here, away = measured_round(1, 1000.0), measured_round(1, throughput, pool="v100")
    history = replace(here, rounds=(*here.rounds, *away.rounds), ended=(*here.ended, *away.ended))
    status_context = StatusContext(pool_problems={"v100": NO_NODES})
    study = make_study(pools=TWO_POOLS)
    assert best_pool(to_status(study, decision_of(history, verdict=verdict), START, context=status_context)) == pool


def test_what_is_no_longer_eligible_is_not_the_best_of_an_older_round() -> None:
    """A tightened constraint or search space removes the old best; another trial of that round replaces it."""
    slow = replace(run_of(1, 1), name="slow")
    fast, rounds = measured_round(1, 1000.0), _rounds("a100", 2)
    history = replace(fast, rounds=rounds, ended=(*fast.ended, ended_run(slow, make_measured(700.0, index=1))))
    study = make_study(space=SearchSpace(gpu_counts=(8,), batch_sizes=(1, 2)))
    first = to_status(study, decision_of(history), START)
    assert (best_of(first).run, best_of(first).throughput) == ("study-a100-1-0", "1000")
    narrower = replace(study, space=SearchSpace(gpu_counts=(8,), batch_sizes=(2,)))
    assert best_of(to_status(narrower, decision_of(history), START, previous=first)).run == "slow"
    stricter = replace(study, objective=Objective(constraints=(Constraint(metric="throughputPerGPU", minimum=1e6),)))
    assert to_status(stricter, decision_of(history), START, previous=first).best is None


def test_the_most_recent_earlier_round_with_a_best_represents_its_pool() -> None:
    """A faster result of an earlier round does not override what the user asked for last."""
    first, second = measured_round(1, 9000.0), measured_round(2, 1000.0)
    history = replace(first, rounds=_rounds("a100", 4), ended=(*first.ended, *second.ended))
    status = to_status(make_study(), decision_of(history), START)
    assert (best_of(status).round, best_of(status).throughput) == (2, "1000")


def test_an_older_best_carries_the_arguments_under_which_it_was_measured() -> None:
    """The study's current arguments were never measured with it; if its round lacks arguments, none are shown."""
    engine = EngineSpec(name="vllm", gpu_memory_utilization=0.7, enforce_eager=True, args={"kv_cache_dtype": "fp8"})
    study = make_study(engine=engine, model=ModelSpec(name="m", revision="r1", dtype="float16"))
    pool = study.pools[0]
    rounds = (replace(_rounds("a100", 1)[0], engine=engine_settings(study, pool)), *_rounds("a100", 2)[1:])
    edited = make_study(engine=EngineSpec(name="vllm"))
    history = replace(measured_round(1, 1000.0), rounds=rounds)
    before = to_status(study, decision_of(replace(history, rounds=rounds[:1])), START)
    after = to_status(edited, decision_of(history), START)
    assert after.best == before.best
    assert {"--kv-cache-dtype=fp8", "--gpu-memory-utilization=0.7", "--dtype=float16", "--revision=r1"} <= {
        *best_of(after).engine_args
    }
    unknown = replace(history, rounds=_rounds("a100", 2))
    assert best_of(to_status(edited, decision_of(unknown), START)).engine_args == []


def test_a_best_on_cpus_is_given_no_share_of_gpu_memory() -> None:
    """The arguments to serve with are those of the pool that the best was measured on, whatever other pools have."""
    pools = (make_pool(device="cpu"), make_pool(name="gpus"))
    study = make_study(engine=EngineSpec(name="vllm", gpu_memory_utilization=0.7), pools=pools)
    best = best_of(to_status(study, decision_of(measured_round(1, 1000.0)), START))
    assert not any("gpu-memory" in argument for argument in best.engine_args)


def _rounds(pool: str, number: int) -> tuple[Round, ...]:
    return tuple(Round(pool=pool, number=index, identity=f"i{index}") for index in range(1, number + 1))


def test_a_refused_study_says_everything_that_is_wrong_and_keeps_what_was_found() -> None:
    """A typing error in an edit loses no result; the status shows it with field, value and remedy."""
    before = to_status(make_study(), SUCCEEDED, START)
    other = replace(MISTAKE, field="spec.engine.args", message="x" * 3000)
    status = refused_status([MISTAKE, other], START, previous=before, context=StatusContext(generation=2))
    assert truth(status, "Accepted") == "False InvalidSpec"
    assert truth(status, "Stalled") == "True InvalidSpec"
    assert (truth(status, "Ready"), truth(status, "ResultStale")) == ("False InvalidSpec", "False Current")
    assert message(status, "Accepted").startswith("spec.budget.deadline: 0s: is no time. Remove it.; spec.engine.args:")
    assert len(message(status, "Accepted").encode()) <= 1024
    assert (status.best, status.pools, status.trials) == (before.best, before.pools, before.trials)
    mended = to_status(make_study(), SUCCEEDED, START + timedelta(hours=1), previous=status)
    assert truth(mended, "Ready") == "True Succeeded"


def test_a_study_without_any_node_says_what_each_pool_waits_for() -> None:
    """Nothing can be decided, and the status still reports everything."""
    status_context = replace(FIRST, pool_problems={"v100": NO_NODES})
    status = waiting_status("NoMatchingNodes", "no pool has a node", START, context=status_context)
    assert [(row.name, row.reason) for row in status.pools] == [("v100", "NoMatchingNodes")]
    assert (truth(status, "Accepted"), truth(status, "Reconciling")) == ("True Valid", "True NoMatchingNodes")
    again = waiting_status("NoMatchingNodes", "no pool has a node", START, previous=status, context=FIRST)
    assert again.model_dump() == status.model_dump()
    held = waiting_status(
        "NoMatchingNodes", "no pool has a node", START, context=replace(status_context, suspended=True)
    )
    assert (truth(held, "Suspended"), truth(held, "Reconciling")) == ("True Suspended", "False Suspended")


def test_gpu_hours_are_those_of_runs_that_ended() -> None:
    """A live run would change the status on every pass, and every write triggers another pass."""
    history, _ = live_history(Running(phase=Phase.MEASURING))
    history = replace(history, ended=measured_round(1, 1.0).ended)
    for hours in (1, 2):
        assert to_status(make_study(), decision_of(history), START + timedelta(hours=hours)).gpu_hours == "0.133333"


def test_progress_counts_done_trials_of_all_pools() -> None:
    """The table shows finished trials out of the maximum, summed over every pool of the study."""
    history, _ = live_history(Running(phase=Phase.MEASURING))
    history = replace(history, ended=(ended_run(run_of(9, 1), make_measured(1.0, index=9)),))
    study = make_study(space=replace(make_study().space, batch_sizes=tuple(range(1, 12)), gpu_counts=(8,)))
    assert to_status(study, decision_of(history), START).progress == "1/11"
    status_context = StatusContext(pool_problems={"v100": NO_NODES})
    assert to_status(study, decision_of(history), START, context=status_context).progress == "1/22"


def test_a_trial_without_a_number_says_why() -> None:
    """The row has the reason and the start of the detail, on one line."""
    result = Infeasible(index=0, batch_size=1, reason="GpuOutOfMemory", detail="CUDA out of memory\n" + "x" * 500)
    history = replace(measured_round(1, 1.0), ended=(ended_run(run_of(0, 1), result),))
    (row,) = to_status(make_study(), decision_of(history), START).trials
    assert (row.state, row.reason) == ("Infeasible", "GpuOutOfMemory")
    assert row.message is not None
    assert row.message.startswith("CUDA out of memory x")
    assert len(row.message) <= 120


def _steps() -> st.SearchStrategy[Callable[[StudyStatus | None, datetime], StudyStatus]]:
    """Return steps by which one status may follow another."""
    study = make_study()

    def decided(
        verdict: Verdict, observation: Observation | None, *, suspended: bool, problem: bool, rounds: int
    ) -> Callable[[StudyStatus | None, datetime], StudyStatus]:
        history, observations = live_history(*([observation] if observation is not None else []))
        history = replace(history, rounds=_rounds("a100", rounds), ended=measured_round(1, 1000.0).ended)
        status_context = StatusContext(
            generation=rounds,
            observations=observations,
            suspended=suspended,
            pool_problems={"v100": NO_NODES} if problem else {},
        )
        decision = decision_of(history, verdict=verdict, reason=verdict.value)
        return lambda previous, now: to_status(study, decision, now, previous=previous, context=status_context)

    return st.one_of(
        st.just(lambda previous, now: refused_status([MISTAKE], now, previous=previous, context=FIRST)),
        st.just(lambda previous, now: waiting_status("NoMatchingNodes", "none", now, previous=previous, context=FIRST)),
        st.builds(
            decided,
            st.sampled_from(Verdict),
            st.sampled_from([None, Waiting(reason="Unschedulable"), Running(phase=Phase.MEASURING)]),
            suspended=st.booleans(),
            problem=st.booleans(),
            rounds=st.integers(min_value=1, max_value=3),
        ),
    )


@given(st.lists(_steps(), min_size=1, max_size=6))
def test_a_transition_time_moves_when_the_status_changes_and_only_then(
    steps: list[Callable[[StudyStatus | None, datetime], StudyStatus]],
) -> None:
    """A condition's transition time is correct for its readers."""
    before: StudyStatus | None = None
    for minute, step in enumerate(steps):
        now = START + timedelta(minutes=minute)
        status = step(before, now)
        for old, new in zip(before.conditions if before else [], status.conditions, strict=False):
            assert new.last_transition_time == (old.last_transition_time if old.status == new.status else now)
        assert step(status, now + timedelta(days=1)) == status
        before = status


@pytest.mark.parametrize("pools", [TWO_POOLS[:1], TWO_POOLS])
def test_the_same_reconcile_twice_changes_nothing(pools: tuple[object, ...]) -> None:
    """Throughout a study, a status that was written and read back causes no further write."""
    study: Study = make_study(pools=pools)
    world = World(seed=3, lost=0.2, invalid=0.1, noise=0.02)
    status: StudyStatus | None = None
    for step in drive(study, world).steps:
        decision = replace(step.decision, history=step.after)
        status_context = StatusContext(generation=1, observations=observe(world, step.after.active, step.now))
        status = to_status(study, decision, step.now, previous=status, context=status_context)
        read = StudyStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))
        assert read == status
        later = step.now + timedelta(seconds=7, microseconds=3)
        again = to_status(study, decision, later, previous=read, context=status_context)
        assert again.model_dump_json() == status.model_dump_json()
    assert status is not None
    assert truth(status, "Ready").startswith("True ")


def test_a_status_of_an_older_or_newer_version_can_be_read() -> None:
    """An upgrade causes no outage: missing fields are empty, unknown fields are ignored."""
    best = {
        "pool": "a100", "gpuCount": 1, "batchSize": 1, "throughput": "1", "throughputPerGPU": "1", "spread": "0",
        "engineArgs": [], "run": "study-1", "novelty": True,
    }  # fmt: skip
    condition = {"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": START}
    read = StudyStatus.model_validate({"best": best, "conditions": [condition], "novelty": 1})
    assert isinstance(read.best, Best)
    assert (read.best.round, read.runs, read.progress) == (1, [], None)
    assert isinstance(read.conditions[0], Condition)
