"""What a study's history says: trials, blame, failures, GPU seconds, facts of the model."""

from dataclasses import replace

import pytest

from factories.runs import (
    Outcome,
    make_ended,
    make_finish,
    make_held,
    make_history,
    make_loss,
    make_round,
    make_run,
    make_started,
)
from factories.studies import at, make_cell
from infpop_operator.core.history import (
    active_gpus,
    broken_reason,
    broken_runs_in_a_row,
    current_round,
    failures,
    gpu_seconds,
    known_model_facts,
    missing_trials,
    next_index,
    suspect,
    trials_of,
)
from infpop_operator.core.model import INTERRUPTED, EndedRun, History, Lost, Missing, TrialState
from infpop_runner.contract import BrokenReason, ModelFacts

BATCHES = (make_cell(1, 8), make_cell(1, 16), make_cell(1, 32))
SHARED = make_run("shared", cells=BATCHES)
ALONE = make_run("alone", cells=BATCHES[:1])
ROUNDS = (make_round(), make_round(pool="v100"), make_round(number=2))  # a100 is in its second round, v100 in its first
STOPPED = make_finish(ALONE, [None], broken="Stopped")


def after(*ended: EndedRun) -> History:
    """Return the history of a first round in which these runs ended."""
    return make_history(ended=ended)


def in_order(number: int, **changes: object) -> EndedRun:
    """Return the loss of a run of one trial; a larger number means a later loss."""
    return make_ended(make_run(f"run-{number}", cells=BATCHES[:1], **changes), make_loss(ended=number))


def test_the_newest_round_of_a_pool_is_its_current_one() -> None:
    """Rounds of another pool that started later do not count."""
    history = make_history(rounds=(*ROUNDS, make_round(pool="v100", number=2)))
    assert current_round(history, "a100") == make_round(number=2)
    assert current_round(history, "v100") == make_round(pool="v100", number=2)
    assert current_round(history, "h100") is None


@pytest.mark.parametrize(
    ("outcome", "state", "reason", "detail"),
    [
        (100.0, TrialState.MEASURED, None, ""),
        ("GpuOutOfMemory", TrialState.INFEASIBLE, "GpuOutOfMemory", "GpuOutOfMemory of 4"),
        ("UnstableRepeats", TrialState.INVALID, "UnstableRepeats", "UnstableRepeats of 4"),
        (None, TrialState.BROKEN, "EngineCrash", "EngineCrash of alone"),
    ],
)
def test_a_trial_says_what_its_run_found(outcome: Outcome, state: TrialState, reason: str | None, detail: str) -> None:
    """State, reason and detail come from the result of the trial, or from the run where the trial has none."""
    run = replace(ALONE, pool="v100", round=3, trials=make_run(cells=BATCHES[:1], index=4).trials)
    observation = make_finish(run, [outcome], broken="EngineCrash" if outcome is None else None)
    (trial,) = trials_of(after(make_ended(run, observation)), "v100", 3)
    assert (trial.pool, trial.round, trial.index, trial.configuration) == ("v100", 3, 4, BATCHES[0])
    assert (trial.run, trial.attempts, trial.failures) == ("alone", 1, int(outcome is None))
    assert (trial.state, trial.reason, trial.detail) == (state, reason, detail)
    assert trial.invalid_results == int(state is TrialState.INVALID)
    assert trial.result == next(iter(observation.result.trials), None)


def test_a_trial_keeps_its_own_source_and_its_own_extra_metrics() -> None:
    """Metric values of one trial of a run are never attributed to another trial."""
    found = replace(
        make_finish(SHARED),
        sources={0: "Prometheus", 1: "PodMetrics"},
        extra_metrics={1: {"power": 300.0}, 2: {"power": Missing(reason="Stale")}},
    )
    trials = trials_of(after(make_ended(SHARED, found)), "a100", 1)
    assert [trial.source for trial in trials] == ["Prometheus", "PodMetrics", None]
    assert [trial.extra_metrics for trial in trials] == [{}, {"power": 300.0}, {"power": Missing(reason="Stale")}]


def test_a_trial_of_a_lost_run_is_broken_for_the_reason_of_the_loss() -> None:
    """A lost run has no result that could say more."""
    (trial,) = trials_of(after(make_ended(ALONE, make_loss("Evicted", detail="disk pressure"))), "a100", 1)
    assert (trial.state, trial.reason, trial.detail) == (TrialState.BROKEN, "Evicted", "disk pressure")
    assert (trial.result, trial.source, trial.extra_metrics) == (None, None, {})


def test_a_round_has_its_own_trials_in_the_order_of_their_indexes() -> None:
    """Runs of other pools and rounds are left out, and a run that ended late may hold the first trials."""
    late, early = make_run("late", cells=BATCHES[:1]), make_run("early", cells=BATCHES[1:], index=1)
    others = (make_run("pool", cells=BATCHES[:1], pool="v100"), make_run("round", cells=BATCHES[:1], round=2))
    history = after(*(make_ended(run) for run in (*others, early, late)))
    live = tuple(
        make_started(run=make_run(f"live-{run.pool}-{run.round}", cells=BATCHES[:1], index=9, pool=run.pool))
        for run in others
    )
    trials = trials_of(replace(history, active=live[:1]), "a100", 1)
    assert [(trial.index, trial.run) for trial in trials] == [(0, "late"), (1, "early"), (2, "early")]
    assert [trial.run for trial in trials_of(replace(history, active=live[:1]), "v100", 1)] == ["pool", "live-v100-1"]
    assert [trial.run for trial in trials_of(history, "a100", 2)] == ["round"]


def test_each_attempt_is_counted_and_the_last_one_determines_the_state() -> None:
    """Attempts count every run, failures count losses that use the budget, and invalid results count separately."""
    ends = [
        make_loss(),
        make_loss(counts=False),
        make_finish(ALONE, ["UnstableRepeats"]),
        make_loss("Evicted"),
        make_finish(ALONE, ["ShortOutput"]),
        make_finish(ALONE, [7.0]),
    ]
    history = after(*(make_ended(replace(ALONE, name=f"run-{number}"), end) for number, end in enumerate(ends)))
    seen = [trials_of(replace(history, ended=history.ended[:count]), "a100", 1)[0] for count in range(1, 7)]
    assert [trial.attempts for trial in seen] == [1, 2, 3, 4, 5, 6]
    assert [trial.failures for trial in seen] == [1, 1, 1, 2, 2, 2]
    assert [trial.invalid_results for trial in seen] == [0, 0, 1, 1, 2, 2]
    assert [trial.run for trial in seen] == [f"run-{number}" for number in range(6)]
    assert [trial.state for trial in seen[-3:]] == [TrialState.BROKEN, TrialState.INVALID, TrialState.MEASURED]


def test_a_trial_that_runs_again_keeps_what_was_counted_of_it() -> None:
    """The last result is dropped while the next one is pending."""
    ends = (make_ended(ALONE, make_loss()), make_ended(ALONE, make_finish(ALONE, ["UnstableRepeats"])))
    live = make_started(run=replace(ALONE, name="again", pool="v100", round=2))
    ends = tuple(replace(end, run=replace(end.run, pool="v100", round=2)) for end in ends)
    (trial,) = trials_of(make_history(ended=ends, active=(live,)), "v100", 2)
    assert (trial.state, trial.run, trial.result, trial.reason) == (TrialState.RUNNING, "again", None, None)
    assert (trial.attempts, trial.failures, trial.invalid_results) == (3, 1, 1)
    assert (trial.pool, trial.round, trial.index, trial.configuration) == ("v100", 2, 0, BATCHES[0])
    (fresh,) = trials_of(make_history(active=(make_started(run=ALONE),)), "a100", 1)
    assert (fresh.attempts, fresh.failures, fresh.invalid_results) == (1, 0, 0)


@pytest.mark.parametrize("first", [None, 0])
def test_a_trial_above_an_out_of_memory_is_not_a_trial(first: int | None) -> None:
    """It used no budget, even if an earlier run of it broke; its index stays taken."""
    before = [] if first is None else [make_ended(SHARED, make_loss())]
    history = after(*before, make_ended(SHARED, make_finish(SHARED, [9.0, "GpuOutOfMemory", None])))
    states = [trial.state for trial in trials_of(history, "a100", 1)]
    assert states == [TrialState.MEASURED, TrialState.INFEASIBLE]
    assert next_index(history, "a100", 1) == 3


def test_the_next_index_is_above_those_of_all_runs_of_the_round() -> None:
    """Live and ended runs both count; other pools and rounds have their own indexes."""
    ended = make_ended(make_run("ended", cells=BATCHES, index=2))
    live = make_started(run=make_run("live", cells=BATCHES[:1], index=7))
    assert next_index(make_history(ended=(ended,)), "a100", 1) == 5
    assert next_index(make_history(ended=(ended,), active=(live,)), "a100", 1) == 8
    assert next_index(make_history(ended=(ended,), active=(live,)), "a100", 2) == 0
    assert next_index(make_history(ended=(ended,), active=(live,)), "v100", 1) == 0


@pytest.mark.parametrize(
    ("outcomes", "broken", "expected"),
    [
        ([1.0, 2.0, 3.0], None, None),
        ([1.0, None, None], "EngineCrash", ("EngineCrash", "EngineCrash of shared")),
        ([1.0, 2.0, None], None, ("RunnerError", "the result omits trials 3 without a reason")),
        ([None, None, None], None, ("RunnerError", "the result omits trials 1, 2, 3 without a reason")),
        (["GpuOutOfMemory", None, None], None, None),
        ([None, "GpuOutOfMemory", None], None, ("RunnerError", "the result omits trials 1 without a reason")),
        ([1.0, "GpuOutOfMemory", "GpuOutOfMemory"], None, None),
        (
            ["UnsupportedGpuCount", None, None],
            None,
            ("RunnerError", "the result omits trials 2, 3 without a reason"),
        ),
    ],
)
def test_a_run_is_broken_where_it_says_so_or_owes_a_trial(
    outcomes: list[Outcome], broken: BrokenReason | None, expected: tuple[str, str] | None
) -> None:
    """Only an out-of-memory of a smaller batch explains a trial that is missing from the result."""
    assert broken_reason(make_ended(SHARED, make_finish(SHARED, outcomes, broken=broken))) == expected


def test_the_smallest_out_of_memory_is_the_limit() -> None:
    """A trial between two batches that ran out of memory is certain; one of the same batch size is still owed."""
    cells = (make_cell(1, 16), make_cell(1, 8), make_cell(1, 32))
    run = make_run("shared", cells=cells)
    assert broken_reason(make_ended(run, make_finish(run, [None, "GpuOutOfMemory", "GpuOutOfMemory"]))) is None
    same = make_run("shared", cells=(make_cell(1, 8, a=1), make_cell(1, 8, a=2)))
    assert broken_reason(make_ended(same, make_finish(same, ["GpuOutOfMemory", None]))) is not None


def test_the_trials_that_a_broken_run_lacks_are_missing() -> None:
    """All trials of a lost run, those without a result in a broken run, none of a run that ended normally."""
    crashed = make_finish(SHARED, [1.0, None, None], broken="EngineCrash")
    assert missing_trials(make_ended(SHARED, make_loss())) == SHARED.trials
    assert missing_trials(make_ended(SHARED, crashed)) == SHARED.trials[1:]
    assert missing_trials(make_ended(SHARED, make_finish(SHARED, [1.0, "GpuOutOfMemory", None]))) == ()


def test_the_suspect_is_the_smallest_batch_without_a_result() -> None:
    """A run measures in ascending batch size, however its trials are listed."""
    run = make_run("shared", cells=BATCHES[::-1])
    crashed = make_finish(run, [None, None, 1.0], broken="EngineCrash")
    assert suspect(make_ended(run, crashed)) == run.trials[1]
    assert suspect(make_ended(run, make_finish(run, [None, 1.0, 1.0]))) == run.trials[0]


@pytest.mark.parametrize(
    "observation",
    [
        make_loss(),
        make_finish(SHARED),
        make_finish(SHARED, [None] * 3, broken="LoadTimeout", load_seconds=None),
        make_finish(SHARED, [1.0, None, None], broken="Stopped"),
        make_finish(SHARED, [1.0, "GpuOutOfMemory", None]),
    ],
)
def test_no_trial_is_suspected_of_what_no_trial_caused(observation: object) -> None:
    """A lost run, an engine that never loaded, a run asked to stop and a run that ended normally blame no trial."""
    assert suspect(make_ended(SHARED, observation)) is None


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (make_ended(SHARED, make_finish(SHARED, [1.0, None, None], broken="EngineCrash")), [0, 1, 0]),
        (make_ended(SHARED, make_finish(SHARED, [None] * 3, broken="EngineCrash", load_seconds=None)), [1, 1, 1]),
        (make_ended(SHARED, make_loss()), [1, 1, 1]),
        (make_ended(SHARED, make_loss(counts=False)), [0, 0, 0]),
        (make_ended(SHARED, make_finish(SHARED, [1.0, None, None], broken="Stopped")), [0, 0, 0]),
        (make_ended(SHARED, make_loss(), stopped="DeadlineReached"), [0, 0, 0]),
    ],
)
def test_only_the_trial_that_an_engine_died_on_is_blamed(ended: EndedRun, expected: list[int]) -> None:
    """The other trials of its load keep their retries; if the culprit is unknown, all are blamed alike."""
    assert [trial.failures for trial in trials_of(after(ended), "a100", 1)] == expected


def test_failures_are_the_broken_runs_of_current_rounds_in_order() -> None:
    """A new round has its own failure budget, for its own pool only."""
    ended = (in_order(1), in_order(2, pool="v100"), in_order(3, round=2), in_order(4), in_order(5, round=2))
    named = [entry.run.name for entry in failures(make_history(rounds=ROUNDS, ended=ended))]
    assert named == ["run-2", "run-3", "run-5"]


@pytest.mark.parametrize(
    ("ended", "counts"),
    [
        (make_ended(ALONE, make_loss()), True),
        (make_ended(ALONE, make_loss(counts=False)), False),
        (make_ended(ALONE, make_loss(), stopped="Suspended"), False),
        (make_ended(ALONE, make_finish(ALONE, [None], broken="EngineCrash")), True),
        (make_ended(ALONE, make_finish(ALONE, [None], broken="EngineCrash"), stopped="Suspended"), False),
        (make_ended(ALONE, make_finish(ALONE, [None])), True),
        (make_ended(ALONE, STOPPED), False),
        (make_ended(ALONE), False),
        (make_ended(ALONE, make_finish(ALONE, ["GpuOutOfMemory"])), False),
        (make_ended(ALONE, make_finish(ALONE, ["UnstableRepeats"])), False),
    ],
)
def test_a_failure_is_a_run_that_broke_by_itself(ended: EndedRun, *, counts: bool) -> None:
    """Stopped, preempted, infeasible and invalid runs use none of the failure budget."""
    assert failures(after(ended)) == ((ended,) if counts else ())


def test_gpu_seconds_are_those_of_ended_runs_and_of_live_ones_until_now() -> None:
    """Each second counts once for each device that the run holds; a run that waits for devices holds none."""
    two, four = make_run("two", cells=(make_cell(2, 8),)), make_run("four", cells=(make_cell(4, 8),))
    history = make_history(
        ended=(make_ended(two, make_loss(ended=30), began=10),),
        active=(make_held(four, since=100), make_held(two, since=110), make_started(run=two)),
    )
    assert gpu_seconds(history, at(150)) == 2 * 20 + 4 * 50 + 2 * 40
    assert active_gpus(history.active[:2]) == 6
    assert active_gpus(()) == 0


def test_a_clock_that_was_set_back_gives_no_gpu_seconds_back() -> None:
    """A run that ended before it started, or starts in the future, held no devices."""
    history = make_history(
        ended=(make_ended(ALONE, make_loss(ended=5), began=10), make_ended(ALONE, make_loss(ended=60), began=0)),
        active=(make_held(ALONE, since=100),),
    )
    assert gpu_seconds(history, at(90)) == 60


def facts_of(number: int, heads: int | None, **changes: object) -> EndedRun:
    """Return a run that reported these facts of the model."""
    run = make_run(f"run-{number}", cells=BATCHES[:1], **changes)
    facts = None if heads is None else ModelFacts(attention_heads=heads)
    return make_ended(run, make_finish(run, model=facts))


@pytest.mark.parametrize(
    ("ended", "heads"),
    [
        ((facts_of(1, 10, round=2), facts_of(2, 20, round=2)), 20),
        ((facts_of(1, 10, round=2), facts_of(2, None, round=2), in_order(3, round=2)), 10),
        ((facts_of(1, 10, round=2), facts_of(2, 20)), 10),
        ((facts_of(1, 10, round=2), facts_of(2, 20, pool="v100")), 20),
        ((facts_of(1, 10, round=2), facts_of(2, 20, pool="v100", round=2)), 10),
        ((facts_of(1, 10, round=2), facts_of(2, 20, pool="gone")), 10),
        ((facts_of(1, 10),), None),
        ((facts_of(1, None, round=2),), None),
        ((), None),
    ],
)
def test_the_newest_run_of_a_current_round_provides_the_model_facts(
    ended: tuple[EndedRun, ...], heads: int | None
) -> None:
    """Runs without facts are skipped; a run of an older round may have had another model."""
    expected = None if heads is None else ModelFacts(attention_heads=heads)
    assert known_model_facts(make_history(rounds=ROUNDS, ended=ended)) == expected


def test_broken_runs_in_a_row_are_those_since_the_last_good_one_newest_first() -> None:
    """Runs of another pool neither count nor end the sequence."""
    good = make_ended(make_run("good", cells=BATCHES[:1]))
    elsewhere = make_ended(make_run("elsewhere", cells=BATCHES[:1], pool="v100"))
    history = after(in_order(1), good, in_order(2), in_order(3, pool="v100"), elsewhere, in_order(4))
    assert [entry.run.name for entry in broken_runs_in_a_row(history, "a100")] == ["run-4", "run-2"]
    assert list(broken_runs_in_a_row(history, "v100")) == []


@pytest.mark.parametrize(
    "observation", [make_loss("Preempted", counts=False), make_finish(ALONE, [None], broken="EngineCrash")]
)
def test_a_run_that_broke_lengthens_the_row_whether_it_counts_or_not(observation: Lost) -> None:
    """A preemption uses no budget and still delays the next try."""
    history = after(in_order(1), make_ended(ALONE, observation))
    assert [entry.run.name for entry in broken_runs_in_a_row(history, "a100")] == ["alone", "run-1"]


@pytest.mark.parametrize(
    "ended",
    [
        make_ended(ALONE, make_loss(INTERRUPTED, counts=False)),
        make_ended(ALONE, make_loss(), stopped="Suspended"),
        make_ended(ALONE, STOPPED),
        make_ended(ALONE, make_finish(ALONE, [None], broken="EngineCrash"), stopped="Suspended"),
        make_ended(ALONE),
    ],
)
def test_a_run_that_was_asked_to_stop_ends_the_row(ended: EndedRun) -> None:
    """An interruption or a stop says nothing about the pool, so it does not delay the next run."""
    assert list(broken_runs_in_a_row(after(in_order(1), ended), "a100")) == []
