"""Cells that another study of the namespace measured: what is taken over, what it costs, and until when it counts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from core.planning import ALONE, LATER, LOAD, SPACE, make_small_study
from factories.runs import Outcome, make_ended, make_finish, make_held, make_loss, make_run
from factories.studies import START, at, make_cell, make_pool, make_raced_out
from infpop_operator.api.status import to_status
from infpop_operator.core.budget import retry_at
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.history import failures, gpu_seconds, next_index, trials_of
from infpop_operator.core.history_diff import apply, changes
from infpop_operator.core.load_failures import load_outlook
from infpop_operator.core.model import EndedRun, Finished, Hardware, History, Origin, Round, Trial, TrialState
from infpop_operator.core.placement import PATIENCE, unplaced
from infpop_operator.core.reuse import SharedRun, shared_runs, take_over, wanted_identities
from infpop_operator.core.space import cells
from infpop_operator.core.study import Budget, Configuration, Plateau, Retune, Study
from infpop_runner.contract import Broken, EngineSpec, Provenance

ALL = cells(SPACE)
OTHER = "other"
VLLM = EngineSpec(name="vllm")


def reusing(**changes: object) -> Study:
    """Return a grid search on eight cells that takes over what others measured."""
    return make_small_study(**({"reuse": "SameIdentity"} | changes))


def round_of(study: Study, **changes: object) -> Round:
    """Return the first round of the study's only pool."""
    (pool,) = study.pools
    return replace(Round(pool=pool.name, number=1, identity=measurement_identity(study, pool)), **changes)


def history_of(study: Study, *ended: EndedRun, **changes: object) -> History:
    """Return a history of a round that measures what `study` measures."""
    return replace(History(started_at=START, rounds=(round_of(study),), ended=ended), **changes)


def made(
    name: str, configurations: Sequence[Configuration], *outcomes: Outcome, ended: float = 60, **changes: object
) -> EndedRun:
    """Return a run with these outcomes, 100 tokens/s by default; `changes` are those of its result."""
    run = make_run(name, cells=configurations)
    return make_ended(run, make_finish(run, outcomes or None, ended=ended, **changes))


def shared(study: Study, *ended: EndedRun, name: str = OTHER) -> tuple[SharedRun, ...]:
    """Return what a study that measures what `study` measures has to offer."""
    return tuple(shared_runs(name, history_of(study, *ended), {round_of(study).identity}))


def decided(study: Study, history: History, *offered: SharedRun, now: datetime = LATER) -> Decision:
    """Return the decision of a study to which others offer their runs."""
    return decide(study, history, {}, now, shared=offered)


def trials(history: History) -> tuple[Trial, ...]:
    """Return the trials of the first round."""
    return trials_of(history, "a100", 1)


def numbers(history: History) -> dict[Configuration, float | str | None]:
    """Return the throughput of each trial, or the reason why there is none."""
    return {
        trial.configuration: getattr(trial.result, "throughput_tokens_per_second", trial.reason)
        for trial in trials(history)
    }


def test_a_measured_cell_is_taken_over_with_the_run_that_measured_it() -> None:
    """The number, its source and its extra metrics come along, under an index of this study's round."""
    study = reusing()
    run = make_run("other-1", cells=ALL[2:3], index=7)
    finished = replace(make_finish(run, [812.5]), sources={7: "Prometheus"}, extra_metrics={7: {"power": 300.0}})
    history = decided(study, History(started_at=START), *shared(study, make_ended(run, finished))).history
    (trial,) = (each for each in trials(history) if each.reused_from is not None)
    assert trial.configuration == ALL[2]
    assert trial.reused_from == Origin(study=OTHER, run="other-1")
    assert (trial.index, trial.state, trial.source) == (0, TrialState.MEASURED, "Prometheus")
    assert trial.extra_metrics == {"power": 300.0}


def test_a_study_whose_cells_are_all_known_ends_without_a_run() -> None:
    """It has a best without having held a device or used its trial budget."""
    study = reusing(budget=Budget(max_trials=1))
    rates = [float(100 + index) for index in range(len(ALL))]
    offered = shared(study, made("other-1", ALL, *rates))
    end = decided(study, History(started_at=START), *offered)
    assert (end.verdict, end.reason, end.start) == (Verdict.SUCCEEDED, "SpaceExhausted", ())
    assert gpu_seconds(end.history, LATER) == 0.0


def test_only_open_cells_are_taken_over() -> None:
    """A cell outside the search space, one that is being measured and one that is measured keep what they have."""
    study = reusing()
    own = make_ended(replace(ALONE, trials=make_run(cells=ALL[:1]).trials), make_finish(make_run(cells=ALL[:1]), [5.0]))
    live = make_held(make_run("live", cells=ALL[1:2], index=1))
    offered = shared(study, made("other-1", (*ALL[:3], make_cell(8, 1024))))
    history = decided(study, history_of(study, own, active=(live,)), *offered, now=at(100)).history
    taken = [trial.configuration for trial in trials(history) if trial.reused_from is not None]
    assert taken == [ALL[2]]
    assert numbers(history)[ALL[0]] == 5.0


def test_the_baseline_is_taken_over_too() -> None:
    """It counts as measured in this round, even outside the search space: the improvement is known at once."""
    study = reusing(baseline=make_cell(4, 4))
    history = history_of(study, rounds=(round_of(study, baseline=study.baseline),))
    after = decided(study, history, *shared(study, made("other-1", [make_cell(4, 4)], 50.0)))
    assert numbers(after.history)[make_cell(4, 4)] == 50.0
    assert after.start[0].trials[0].configuration != make_cell(4, 4)


def test_infeasible_cells_are_taken_over_and_others_are_not() -> None:
    """An out-of-memory error holds for the hardware, a lost race only for that study; the others say nothing."""
    study = reusing()
    partial = made("other-1", LOAD, 100.0, "GpuOutOfMemory", "UnstableRepeats", make_raced_out(90.0))
    lost = make_ended(make_run("other-2", cells=ALL[:1]), make_loss())
    history = take_over(study, history_of(study), shared(study, partial, lost), LATER)
    assert numbers(history) == {LOAD[0]: 100.0, LOAD[1]: "GpuOutOfMemory"}
    assert failures(history) == ()


def test_a_study_that_does_not_reuse_takes_nothing_over() -> None:
    """`Never` is the default, and a suspended study changes nothing."""
    for study in (reusing(reuse="Never"), reusing(suspended=True)):
        offered = shared(study, made("other-1", ALL))
        assert wanted_identities(study, History(started_at=START), LATER) == frozenset()
        assert decided(study, history_of(study), *offered).history.ended == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": VLLM},
        {"workload_fingerprint": "w2"},
        {"model_fingerprint": "m2"},
        {"pools": (make_pool(fingerprint="f2"),)},
        {"pools": (make_pool(software="vllm:2"),)},
    ],
)
def test_another_identity_is_never_taken_over(changes: dict[str, object]) -> None:
    """Another engine, workload, model, hardware or image: its numbers answer another question."""
    study, other = reusing(), make_small_study(**changes)
    foreign = tuple(shared_runs(OTHER, history_of(other, made("other-1", ALL)), {round_of(other).identity}))
    assert foreign
    assert decided(study, history_of(study), *foreign).history.ended == ()
    assert tuple(shared_runs(OTHER, history_of(other, made("other-1", ALL)), {round_of(study).identity})) == ()


def provenance(version: str | None) -> Provenance:
    """Return a provenance with this version of the engine."""
    return Provenance(engine="simulated", engine_version=version)


def test_a_result_of_another_engine_version_than_the_rounds_is_not_taken_over() -> None:
    """An image's tag may name another engine today: the round's own results decide."""
    study = reusing()
    own = made("study-1", ALL[:1], provenance=provenance("2"))
    stale = made("other-1", ALL[1:2], provenance=provenance("1"))
    fresh = made("other-2", ALL[2:3], provenance=provenance("2"))
    history = take_over(study, history_of(study, own), shared(study, stale, fresh), LATER)
    assert set(numbers(history)) == {ALL[0], ALL[2]}


def test_of_results_that_differ_the_newest_are_taken_over() -> None:
    """Without an own result, results that match the newest one are: it is the most likely to hold today."""
    study = reusing()
    stale = made("other-1", ALL[1:3], 1.0, 2.0, ended=60, provenance=provenance("1"))
    fresh = made("other-2", ALL[2:3], 3.0, ended=600, provenance=provenance("2"))
    history = take_over(study, history_of(study), shared(study, fresh, stale), LATER)
    assert numbers(history) == {ALL[2]: 3.0}


def test_an_own_result_that_contradicts_reused_ones_wins() -> None:
    """The reused cells no longer count, and are measured; what is measured now is not blamed for the difference."""
    study = reusing()
    history = take_over(
        study, history_of(study), shared(study, made("other-1", LOAD, provenance=provenance("1"))), LATER
    )
    run = make_run("study-1", cells=ALL[:1], index=next_index(history, "a100", 1))
    live = replace(history, active=(make_held(run),))
    end = decide(study, live, {run.name: make_finish(run, [7.0], provenance=provenance("2"))}, at(61))
    assert numbers(end.history) == {ALL[0]: 7.0}
    assert failures(end.history) == ()
    assert end.start[0].trials[0].configuration in ALL
    again = take_over(study, end.history, shared(study, made("other-1", LOAD, provenance=provenance("1"))), LATER)
    assert again == end.history


def test_each_cell_is_taken_over_once() -> None:
    """Neither a repeated decision, nor one after a restart, nor a second study with the same run adds a trial."""
    study = reusing()
    source = made("other-1", LOAD)
    history = take_over(study, history_of(study), shared(study, source), LATER)
    second = shared_runs("third", history, {round_of(study).identity})
    assert take_over(study, history, (*shared(study, source), *second), LATER) == history
    stored = apply(History(started_at=START), changes(History(started_at=START), history))
    assert take_over(study, stored, shared(study, source), LATER) == stored == history
    assert len(trials(history)) == len(LOAD)


def test_a_reused_result_is_passed_on_under_the_study_that_measured_it() -> None:
    """A third study names the run that measured it; that study itself does not take its own result back."""
    study = reusing(name="second")
    history = take_over(study, history_of(study), shared(study, made("other-1", LOAD)), LATER)
    offered = tuple(shared_runs("second", history, {round_of(study).identity}))
    third = take_over(reusing(name="third"), history_of(study), offered, LATER)
    assert {trial.reused_from for trial in trials(third)} == {Origin(study=OTHER, run="other-1")}
    assert take_over(reusing(name=OTHER), history_of(study), offered, LATER) == history_of(study)


def test_more_cells_of_a_run_are_taken_over_when_the_search_space_grows() -> None:
    """The second part of a run is a record of its own, with the same origin."""
    small = reusing(space=replace(SPACE, batch_sizes=SPACE.batch_sizes[:2]))
    source = shared(small, made("other-1", LOAD))
    history = take_over(small, history_of(small), source, LATER)
    grown = take_over(reusing(), history, source, LATER)
    assert [trial.index for trial in trials(grown)] == [0, 1, 2, 3]
    assert [len(entry.run.trials) for entry in grown.ended] == [2, 2]
    assert len({entry.run.name for entry in grown.ended}) == 2


def test_two_pools_of_the_same_hardware_each_take_the_cell_over() -> None:
    """Each pool has a round of its own; neither takes the other's record for its own."""
    pools = (make_pool(), make_pool(name="more"))
    study = reusing(pools=pools)
    identity = measurement_identity(study, pools[0])
    rounds = tuple(Round(pool=pool.name, number=1, identity=identity) for pool in pools)
    offered = shared(reusing(), made("other-1", LOAD))
    history = take_over(study, History(started_at=START, rounds=rounds), offered, LATER)
    assert [len(trials_of(history, pool.name, 1)) for pool in pools] == [4, 4]
    assert apply(History(started_at=START), changes(History(started_at=START), history)) == history


def test_a_requested_round_measures_again() -> None:
    """A user who requests a new round wants new numbers, also from a study that has them."""
    study = reusing()
    rounds = (round_of(study), round_of(study, number=2, trigger="Requested"))
    history = history_of(study, rounds=rounds)
    assert wanted_identities(study, history, LATER) == frozenset()
    assert take_over(study, history, shared(study, made("other-1", LOAD)), LATER) == history


def test_only_the_newest_round_of_another_study_counts() -> None:
    """Its user requested new numbers, so the old ones are not taken over any more."""
    study = reusing()
    rounds = (round_of(study), round_of(study, number=2, trigger="Requested"))
    new = replace(made("other-2", LOAD[1:2], 9.0), run=make_run("other-2", cells=LOAD[1:2], round=2))
    theirs = history_of(study, made("other-1", LOAD), new, rounds=rounds)
    history = take_over(study, history_of(study), shared_runs(OTHER, theirs, {round_of(study).identity}), LATER)
    assert numbers(history) == {LOAD[1]: 9.0}


def test_a_round_that_has_ended_takes_nothing_over() -> None:
    """A result that is published stays as it is, whatever another study measures later."""
    study = reusing(budget=Budget(max_trials=1))
    history = history_of(study, made("study-1", ALL[:1]))
    assert wanted_identities(study, history, LATER) == frozenset()
    assert take_over(study, history, shared(study, made("other-1", LOAD)), LATER) == history


def test_reused_trials_use_no_trial_budget() -> None:
    """`maxTrials` limits what a round measures itself, and its last run shares a load no further than that."""
    study = reusing(budget=Budget(max_trials=3), algorithm=replace(make_small_study().algorithm, trials_per_run=4))
    after = decided(study, history_of(study), *shared(study, made("other-1", ALL[:4])))
    assert [len(run.trials) for run in after.start] == [3]


def own(index: int, rate: float, *, cell: int | None = None) -> EndedRun:
    """Return a run of this study of one cell, by default the one with the index of its trial."""
    number = index if cell is None else cell
    run = make_run(f"study-{index}", cells=ALL[number : number + 1], index=index)
    return make_ended(run, make_finish(run, [rate]))


def test_a_plateau_counts_own_trials_only() -> None:
    """Reused trials neither begin nor end one, whenever they arrive; own trials are compared with them."""
    study = reusing(budget=Budget(plateau=Plateau(trials=2, improvement_ratio=0.01)))
    flat = shared(study, made("other-1", ALL[4:8], 100.0, 100.0, 100.0, 100.0))
    assert decided(study, history_of(study), *flat).start
    assert decided(study, history_of(study, own(0, 100.0), own(1, 200.0)), *flat).start
    over = decided(study, take_over(study, history_of(study), flat, LATER))
    after = replace(over.history, ended=(*over.history.ended, own(4, 100.0, cell=0), own(5, 100.0, cell=1)))
    assert decided(study, after).reasons_by_pool == {"a100": "Plateau"}


def test_reused_runs_say_nothing_about_this_studys_infrastructure() -> None:
    """They end no pause, place no GPU count and load no engine: budgets for failures hold as without them."""
    study = reusing()
    lost = [
        make_ended(make_run(f"study-{index}", cells=ALL[:1], attempt=index + 1), make_loss(ended=60 + index))
        for index in range(2)
    ]
    unheld = [
        replace(entry, held_since=entry.observation.ended_at, observation=replace(entry.observation, counts=False))
        for entry in lost
    ]
    offered = shared(study, made("other-1", ALL[1:3]))
    before, away = history_of(study, *lost), history_of(study, *unheld)
    after = take_over(study, before, offered, LATER)
    assert len(after.ended) == len(before.ended) + 1
    assert retry_at(after, "a100") == retry_at(before, "a100") is not None
    assert unplaced(study.pools[0], take_over(study, away, offered, LATER), round_of(study)).keys() == {1}
    assert not load_outlook(study, study.pools[0], round_of(study), after).any_loaded


def test_a_load_that_another_study_made_says_nothing_of_this_ones_rights() -> None:
    """A cause that only a person removes, such as a missing secret, still ends the study at once."""
    study = reusing()
    broken = Broken(reason="ModelUnavailable", detail="401", retry="never")
    run = make_run("study-1", cells=ALL[:1])
    finish = make_finish(run, [None], load_seconds=None)
    failed = make_ended(run, replace(finish, result=finish.result.model_copy(update={"broken": broken})))
    history = take_over(study, history_of(study), shared(study, made("other-1", ALL[1:3])), LATER)
    end = decided(study, replace(history, ended=(*history.ended, failed)))
    assert (end.verdict, end.reason) == (Verdict.STALLED, "ModelUnavailable")


def test_a_round_waits_for_nodes_from_when_it_took_something_over() -> None:
    """The numbers may be months old; a GPU count without a node still gets the time that it always gets."""
    study = reusing(pools=(make_pool(usable_device_count=1),))
    after = decided(study, history_of(study), *shared(study, made("other-1", cells(replace(SPACE, gpu_counts=(1,))))))
    assert (after.verdict, after.reason) == (Verdict.WAITING, "NoRoom")
    assert after.wake_at == LATER + PATIENCE * study.pools[0].schedule_timeout
    over = decide(study, after.history, {}, after.wake_at)
    assert over.verdict is Verdict.SUCCEEDED


def test_a_round_on_changed_hardware_takes_over_what_is_known_there() -> None:
    """The round opens with what another study measured on that hardware, the configuration in use among it."""
    before = reusing(budget=Budget(max_trials=1), retune=Retune(debounce=timedelta(minutes=10)))
    after = replace(before, pools=(make_pool(fingerprint="f2"),))
    offered = tuple(
        shared_runs(OTHER, history_of(after, made("other-1", ALL[:2], 50.0, 80.0)), {round_of(after).identity})
    )
    old = round_of(before, hardware=Hardware.of(before.pools[0]))
    waiting = decided(after, history_of(before, own(0, 100.0), rounds=(old,)), *offered)
    assert waiting.history.ended == (own(0, 100.0),)
    opened = decided(after, waiting.history, *offered, now=LATER + after.retune.debounce)
    second = trials_of(opened.history, "a100", 2)
    assert [(trial.configuration, trial.reused_from is not None) for trial in second] == [
        (ALL[0], True),
        (ALL[1], True),
    ]
    (pool,) = to_status(after, opened, LATER).pools
    assert pool.baseline is not None
    assert (pool.baseline.throughput, pool.baseline.reused_from) == ("50", OTHER)
    assert pool.improvement_percent == "60.0"


def test_a_study_whose_budget_is_spent_takes_nothing_over() -> None:
    """It has ended, and its result stays."""
    study = reusing(budget=Budget(deadline=timedelta(hours=1)))
    assert decided(study, history_of(study), *shared(study, made("other-1", LOAD))).history.ended == ()


def test_progress_counts_reused_trials_on_both_sides() -> None:
    """The maximum grows by what cost nothing, up to the whole space; the reason of a pause is still explained."""
    study = reusing(budget=Budget(max_trials=2))
    losses = tuple(
        make_ended(
            make_run(f"study-{index}", cells=ALL[:1], attempt=index), make_loss(ended=index, detail="n1 is gone")
        )
        for index in (1, 2)
    )
    waiting = decided(study, history_of(study, *losses), *shared(study, made("other-1", ALL[1:3])), now=at(3))
    status = to_status(study, waiting, at(3))
    assert status.progress == "3/4"
    assert "n1 is gone" in next(each.message for each in status.conditions if each.type == "Ready")


def test_a_finished_run_of_another_study_keeps_its_time() -> None:
    """The record says when it was taken over, when it was measured, and that it held nothing since."""
    study = reusing()
    source = made("other-1", LOAD, held_seconds=30.0)
    source = replace(source, observation=replace(source.observation, missing_sources={"Prometheus": "Empty"}))
    history = take_over(study, history_of(study), shared(study, source), LATER)
    (entry,) = history.ended
    assert isinstance(entry.observation, Finished)
    assert (entry.observation.result.held_seconds, entry.observation.missing_sources) == (None, {})
    assert (entry.started_at, entry.observation.ended_at, entry.gpu_seconds) == (LATER, at(60), 0.0)
    assert entry.held_since == at(60)
