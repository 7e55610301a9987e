"""Decisions at turning points: new rounds, retries, pauses, budgets that end runs."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from factories.studies import START, make_cell, make_measured, make_pool, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.history import failures, gpu_seconds, known_model_facts, trials_of
from infpop_operator.core.model import Finished, History, Lost, Observation, Run, StartedRun, TrialState
from infpop_operator.core.study import Algorithm, Budget, Plateau, SearchSpace, Study
from infpop_runner.contract import (
    Broken,
    BrokenReason,
    Infeasible,
    InfeasibleReason,
    Invalid,
    ModelFacts,
    Provenance,
    Retry,
    RunResult,
    TrialResult,
)

MINUTE = timedelta(minutes=1)


def begin(study: Study, history: History | None = None, now: datetime = START) -> Decision:
    """Decide without observations and record what was started."""
    return started(decide(study, history or History(started_at=START), {}, now), now)


def started(decision: Decision, now: datetime) -> Decision:
    """Return the decision with its starts in the history, as a driver would leave it."""
    active = (
        *decision.history.active,
        *(StartedRun(run=run, started_at=now, held_since=now) for run in decision.start),
    )
    return replace(decision, history=replace(decision.history, active=active))


def report(study: Study, before: Decision, observation: Observation, now: datetime) -> Decision:
    """Report the end of the only live run, and start what is decided next."""
    (live,) = before.history.active
    return started(decide(study, before.history, {live.run.name: observation}, now), now)


def finished(
    run: Run, now: datetime, *, rate: float = 100.0, broken: BrokenReason | None = None, reached: int | None = None
) -> Finished:
    """Return the end of a run that measured its first `reached` trials (all by default)."""
    trials = sorted(run.trials, key=lambda trial: trial.configuration.batch_size)[:reached]
    results: tuple[TrialResult, ...] = tuple(
        make_measured(rate + trial.index, index=trial.index, batch_size=trial.configuration.batch_size)
        for trial in trials
    )
    result = RunResult(
        run=run.name,
        trials=results,
        load_seconds=1.0,
        model=ModelFacts(attention_heads=14),
        provenance=Provenance(engine="simulated"),
        broken=Broken(reason=broken) if broken else None,
        started_at=START,
        ended_at=now,
    )
    return Finished(result=result, ended_at=now)


def test_changed_hardware_starts_a_round_with_the_last_best_as_its_baseline() -> None:
    """The configuration in use is measured first on the new hardware, so that the gain is known."""
    study = make_study(budget=Budget(max_trials=1))
    first = begin(study)
    chosen = first.start[0].trials[0].configuration
    done = report(study, first, finished(first.start[0], START + MINUTE), START + MINUTE)
    assert done.verdict is Verdict.SUCCEEDED
    upgraded = replace(study, pools=(make_pool(fingerprint="new"),))
    second = begin(upgraded, done.history, START + 2 * MINUTE)
    assert [entry.number for entry in second.history.rounds] == [1, 2]
    assert second.history.rounds[1].baseline == chosen
    assert second.start[0].trials[0].configuration == chosen


def test_a_run_of_an_older_round_is_stopped() -> None:
    """A run on old hardware or settings is stopped, costs no failure, and frees its room once it has ended."""
    study = make_study(budget=Budget(max_failed_trials=0))
    first = begin(study)
    name = first.start[0].name
    changed = replace(study, workload_fingerprint="other")
    second = decide(changed, first.history, {}, START + MINUTE)
    assert [(entry.run.name, entry.stopping) for entry in second.stop] == [(name, "Superseded")]
    assert (second.start, second.verdict, second.reason) == ((), Verdict.RUNNING, "Terminating")
    lost = Lost(reason="Interrupted", ended_at=START + 2 * MINUTE)
    third = decide(changed, second.history, {name: lost}, START + 2 * MINUTE)
    assert third.history.ended[0].stopped == "Superseded"
    assert third.history.ended[0].observation == Lost(reason="Superseded", ended_at=lost.ended_at, counts=False)
    assert third.start[0].round == 2
    assert third.verdict is Verdict.RUNNING


def test_a_run_that_is_stopped_keeps_what_it_measured() -> None:
    """Its numbers count, the trials that it did not reach cost no failure, and the first stop reason stays."""
    study = make_study(algorithm=Algorithm(trials_per_run=4), budget=Budget(max_failed_trials=0))
    first = begin(study)
    run = first.start[0]
    stopping = decide(replace(study, suspended=True), first.history, {}, START + MINUTE)
    assert (stopping.verdict, stopping.reason) == (Verdict.WAITING, "Suspended")
    changed = replace(study, suspended=True, budget=replace(study.budget, deadline=MINUTE))
    still = decide(changed, stopping.history, {}, START + 2 * MINUTE)
    assert [entry.stopping for entry in still.stop] == ["Suspended"]
    cut = finished(run, START + 3 * MINUTE, broken="Stopped", reached=2)
    after = decide(study, still.history, {run.name: cut}, START + 3 * MINUTE)
    states = [trial.state for trial in trials_of(after.history, "a100", 1)]
    assert sorted(states) == [TrialState.BROKEN] * 2 + [TrialState.MEASURED] * 2
    assert [len(started.trials) for started in after.start] == [2]
    assert failures(after.history) == ()


def test_devices_are_charged_from_when_they_are_held() -> None:
    """Neither time in a queue nor a run that never got a device costs GPU-hours."""
    study = make_study(budget=Budget(parallel_trials=2, max_concurrent_gpus=16))
    first = begin(study)
    waiting, held = (
        replace(first.history.active[0], held_since=None),
        replace(first.history.active[1], held_since=START + MINUTE),
    )
    history = replace(first.history, active=(waiting, held))
    assert gpu_seconds(history, START + 3 * MINUTE) == 120 * held.run.gpu_count
    lost = Lost(reason="NodeLost", ended_at=START + 2 * MINUTE)
    ended = decide(study, history, {waiting.run.name: lost, held.run.name: lost}, START + 3 * MINUTE).history.ended
    assert [entry.gpu_seconds for entry in ended] == [0.0, 60.0 * held.run.gpu_count]


def test_facts_of_another_model_rule_nothing_out() -> None:
    """The fourteen heads of the previous round's model say nothing about this round's model."""
    study = make_study(budget=Budget(max_trials=1))
    first = begin(study)
    done = report(study, first, finished(first.start[0], START + MINUTE), START + MINUTE)
    assert known_model_facts(done.history) == ModelFacts(attention_heads=14)
    second = begin(replace(study, model_fingerprint="other"), done.history, START + 2 * MINUTE)
    assert known_model_facts(second.history) is None


def test_the_trial_that_an_engine_died_on_is_tried_again_alone() -> None:
    """One bad batch size of a shared load costs the other trials an engine load, never their result."""
    study = make_study(algorithm=Algorithm(trials_per_run=4))
    first = begin(study)
    batches = sorted(trial.configuration.batch_size for trial in first.start[0].trials)
    broken = finished(first.start[0], START + MINUTE, broken="EngineCrash", reached=1)
    second = report(study, first, broken, START + MINUTE)
    assert [trial.configuration.batch_size for trial in second.start[0].trials] == batches[1:2]
    third = report(study, second, finished(second.start[0], START + 2 * MINUTE), START + 2 * MINUTE)
    assert sorted(trial.configuration.batch_size for trial in third.start[0].trials) == batches[2:]


def test_a_trial_that_a_result_lacks_without_a_reason_is_broken() -> None:
    """A runner that omits trials ends the study by the failure budget, not after endless engine loads."""
    study = make_study(algorithm=Algorithm(trials_per_run=4), budget=Budget(max_failed_trials=0))
    first = begin(study)
    (live,) = first.history.active
    second = report(study, first, finished(live.run, START + MINUTE, reached=1), START + MINUTE)
    assert (second.verdict, second.reason) == (Verdict.STALLED, "TooManyFailures")
    assert "RunnerError: the result omits trials" in second.message
    states = [trial.state for trial in trials_of(second.history, "a100", 1)]
    assert sorted(states) == [TrialState.BROKEN] * 3 + [TrialState.MEASURED]


@pytest.mark.parametrize("reason", ["GpuOutOfMemory", "HeadsNotDivisible"])
def test_only_a_smaller_batch_out_of_memory_explains_a_missing_trial(reason: InfeasibleReason) -> None:
    """Batches larger than one that did not fit are certain; in any other result the runner owes every trial."""
    study = make_study(algorithm=Algorithm(trials_per_run=4))
    first = begin(study)
    (live,) = first.history.active
    smallest = min(live.run.trials, key=lambda trial: trial.configuration.batch_size)
    refused = Infeasible(index=smallest.index, batch_size=smallest.configuration.batch_size, reason=reason)
    result = finished(live.run, START + MINUTE).result.model_copy(update={"trials": (refused,)})
    second = report(study, first, Finished(result=result, ended_at=START + MINUTE), START + MINUTE)
    assert len(failures(second.history)) == (0 if reason == "GpuOutOfMemory" else 1)


def test_another_workload_within_a_round_is_not_a_measurement() -> None:
    """Numbers of other prompts than those at the start of the round are never compared: they count as a failure."""
    study = make_study()
    first = begin(study)
    second = report(study, first, with_hash(finished(first.start[0], START + MINUTE), "a" * 8), START + MINUTE)
    other = with_hash(finished(second.start[0], START + 2 * MINUTE), "b" * 8)
    third = report(study, second, other, START + 2 * MINUTE)
    (failure,) = failures(third.history)
    assert isinstance(failure.observation, Lost)
    assert failure.observation.reason == "WorkloadChanged"
    assert "aaaaaaaa" in failure.observation.detail
    assert "bbbbbbbb" in failure.observation.detail
    changed = begin(replace(study, workload_fingerprint="other"), second.history, START + MINUTE)
    (live,) = changed.history.active
    fresh = report(
        replace(study, workload_fingerprint="other"), changed, with_hash(finished(live.run, START), "b"), START
    )
    assert failures(fresh.history) == ()


def with_hash(end: Finished, workload_hash: str) -> Finished:
    """Return the end of a run whose prompts had this hash."""
    provenance = end.result.provenance.model_copy(update={"workload_hash": workload_hash})
    return replace(end, result=end.result.model_copy(update={"provenance": provenance}))


def test_an_interrupted_run_keeps_its_company_and_costs_nothing() -> None:
    """After Ctrl-C the remaining trials continue together."""
    study = make_study(algorithm=Algorithm(trials_per_run=4), budget=Budget(max_failed_trials=0))
    first = begin(study)
    stopped = finished(first.start[0], START + MINUTE, broken="Stopped", reached=1)
    second = report(study, first, stopped, START + MINUTE)
    assert len(second.start[0].trials) == 3


def test_an_unstable_trial_is_measured_once_more_and_longer() -> None:
    """The second result is final, whatever it is, and no number of an unstable trial reaches the search."""
    study = make_study(budget=Budget(max_trials=1))
    decision, longer = begin(study), []
    while decision.start:
        run = decision.start[0]
        longer.append(run.longer)
        invalid = Invalid(index=0, batch_size=run.trials[0].configuration.batch_size, reason="UnstableRepeats")
        now = START + len(longer) * MINUTE
        result = finished(run, now).result.model_copy(update={"trials": (invalid,)})
        decision = report(study, decision, Finished(result=result, ended_at=now), now)
    assert longer == [False, True]
    assert decision.verdict is Verdict.STALLED


def test_pauses_between_broken_runs_grow_and_the_budget_ends_them() -> None:
    """The first retry comes without a pause, later ones after 10 and 20 s; a sixth failure is one too many."""
    study, now = make_study(), START
    decision, pauses = begin(study), []
    while decision.verdict in (Verdict.RUNNING, Verdict.WAITING):
        lost = Lost(reason="NodeLost", detail="gone", ended_at=now)
        decision = report(study, decision, lost, now)
        if decision.verdict is Verdict.WAITING:
            assert decision.wake_at is not None
            pauses.append((decision.wake_at - now).total_seconds())
            now = decision.wake_at
            decision = begin(study, decision.history, now)
    assert pauses == [10, 20, 40, 80]
    assert (decision.verdict, decision.reason) == (Verdict.STALLED, "TooManyFailures")
    assert "NodeLost: gone" in decision.message


def test_a_busy_hub_gets_a_longer_pause_from_the_first_failure_on() -> None:
    """What needs time gets a minute, then twice as long each time, 6 at most; the failure budget ends it as well."""
    study, now = make_study(), START
    decision, pauses = begin(study), []
    while decision.verdict in (Verdict.RUNNING, Verdict.WAITING):
        decision = report(study, decision, refused(decision.start[0], now, retry="later"), now)
        if decision.verdict is Verdict.WAITING:
            assert decision.wake_at is not None
            assert decision.reason == "ModelUnavailable"
            pauses.append((decision.wake_at - now).total_seconds())
            now = decision.wake_at
            decision = begin(study, decision.history, now)
    assert pauses == [60, 120, 240, 360, 360]
    assert (decision.verdict, decision.reason) == (Verdict.STALLED, "TooManyFailures")


def test_a_cause_that_stays_stops_the_study_at_once() -> None:
    """A gated model breaks every run: the first one stops the study with the cause, until its user says to go on."""
    study = make_study()
    first = begin(study)
    stalled = report(study, first, refused(first.start[0], START, retry="never"), START)
    assert (stalled.verdict, stalled.reason, stalled.start) == (Verdict.STALLED, "ModelUnavailable", ())
    assert stalled.message == (
        "every run would break: ModelUnavailable: no. Fix the cause and set spec.budget.maxFailedTrials to 6 to "
        "continue"
    )
    raised = begin(replace(study, budget=Budget(max_failed_trials=6)), stalled.history, START + MINUTE)
    assert [run.attempt for run in raised.start] == [2]
    again = report(study, raised, refused(raised.start[0], START, retry="never"), START)
    assert "maxFailedTrials to 12" in again.message


def refused(run: Run, ended_at: datetime, *, retry: Retry) -> Finished:
    """Return the end of a run that could not load its model."""
    before = finished(run, ended_at, reached=0)
    broken = Broken(reason="ModelUnavailable", detail="no", retry=retry)
    result = before.result.model_copy(update={"broken": broken, "load_seconds": None})
    return replace(before, result=result)


def test_a_new_round_has_a_fresh_failure_budget() -> None:
    """Failures before the fix are no reason to stop now; the stop's message names the limit to raise."""
    study = make_study(budget=Budget(max_failed_trials=0))
    stalled = report(study, begin(study), Lost(reason="NodeLost", ended_at=START), START)
    assert stalled.reason == "TooManyFailures"
    assert "raise spec.budget.maxFailedTrials" in stalled.message
    assert begin(replace(study, model_fingerprint="mended"), stalled.history, START + MINUTE).start


def test_broken_machines_are_no_plateau() -> None:
    """Only results that the search learned from can show that there is nothing more to gain."""
    budget = Budget(max_failed_trials=100, plateau=Plateau(trials=2, improvement_ratio=0.01))
    study, now = make_study(budget=budget), START
    decision = begin(study)
    decision = report(study, decision, finished(decision.start[0], now), now)
    for _ in range(6):
        decision = report(study, decision, Lost(reason="EngineCrash", ended_at=now), now)
        now += 10 * MINUTE
        decision = begin(study, decision.history, now) if decision.verdict is Verdict.WAITING else decision
    assert [trial.state for trial in trials_of(decision.history, "a100", 1)][1:3] == [TrialState.BROKEN] * 2
    assert decision.verdict is Verdict.RUNNING


def test_one_configuration_that_always_breaks_does_not_end_the_study() -> None:
    """After its first attempt and two retries a trial stays broken and the search continues elsewhere."""
    study, now = make_study(space=SearchSpace(gpu_counts=(4,), batch_sizes=(1, 2, 4))), START
    decision = begin(study)
    attempts = []
    while decision.start[0].trials[0].index == 0:
        attempts.append(decision.start[0].attempt)
        decision = report(study, decision, Lost(reason="EngineCrash", ended_at=now), now)
        if decision.verdict is Verdict.WAITING and decision.wake_at is not None:
            now = decision.wake_at
            decision = begin(study, decision.history, now)
    assert attempts == [1, 2, 3]
    assert (decision.start[0].trials[0].index, decision.start[0].attempt) == (1, 1)
    assert trials_of(decision.history, "a100", 1)[0].state is TrialState.BROKEN


def test_a_spent_budget_ends_live_runs_and_says_when_it_will() -> None:
    """GPU-hours hold to the second: the decision sets its next wake-up, and the run is stopped then."""
    study = make_study(budget=Budget(max_gpu_hours=1.0, max_concurrent_gpus=8))
    first = begin(study)
    gpus = first.start[0].gpu_count
    assert first.wake_at is not None
    assert timedelta() < first.wake_at - (START + timedelta(hours=1) / gpus) < timedelta(milliseconds=1)
    second = decide(study, first.history, {}, first.wake_at)
    assert [entry.stopping for entry in second.stop] == ["GPUHoursSpent"]
    assert second.start == ()


def test_a_broken_trial_beyond_a_lowered_limit_is_given_up() -> None:
    """After `maxConcurrentGPUs` is lowered the study continues with what fits instead of waiting forever."""
    study = make_study(baseline=make_cell(8, 8))
    first = begin(study)
    lost = Lost(reason="NodeLost", ended_at=START, counts=False)
    lowered = replace(study, budget=Budget(max_concurrent_gpus=4))
    second = report(lowered, first, lost, START)
    assert second.verdict is Verdict.RUNNING
    assert second.start[0].gpu_count <= 4


def test_a_baseline_that_no_pool_can_hold_is_left_out() -> None:
    """A study never waits for devices that do not exist."""
    study = make_study(baseline=make_cell(16, 8), budget=Budget(max_concurrent_gpus=16))
    assert begin(study).start[0].gpu_count <= 8
