"""What a study publishes, and that it changes for a reason only."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.runs import Outcome, make_ended, make_finish, make_history, make_loss, make_round, make_run
from factories.studies import at, make_cell, make_measured, make_pool, make_study
from infpop_operator.core.decision import Decision, SetAside, Verdict
from infpop_operator.core.history import current_round
from infpop_operator.core.model import EndedRun, Hardware, PoolChange, Published, Round
from infpop_operator.core.publication import configuration_in_use, published_in, with_publication
from infpop_operator.core.recommend import best_of_study
from infpop_operator.core.retune import retune
from infpop_operator.core.scope import declared_baseline
from infpop_operator.core.study import ENGINE_DEFAULT, Configuration, Constraint, Objective, Retune, SearchSpace, Study
from infpop_runner.contract import EngineSpec, Measured

OLD, NEW, OTHER = make_cell(8, 64), make_cell(4, 128), make_cell(2, 32)
A100, V100 = make_pool(), make_pool(name="v100", gpu_model="V100")


def run_of(cell: Configuration, outcome: Outcome, *, pool: str = "a100", number: int = 1) -> EndedRun:
    """Return the run that measured a configuration in a round."""
    index = (OLD, NEW, OTHER).index(cell)
    outcome = outcome.model_copy(update={"index": index}) if isinstance(outcome, Measured) else outcome
    run = make_run(f"{pool}-{number}-{index}", cells=[cell], index=index, pool=pool, round=number)
    return make_ended(run, make_finish(run, [outcome]))


def noisy(throughput: float, spread: float) -> Measured:
    """Return a measurement whose repeats lie apart by `spread`."""
    return make_measured(throughput, spread_ratio=spread)


def ended(
    *runs: EndedRun,
    rounds: Sequence[Round] = (make_round(),),
    verdict: Verdict = Verdict.SUCCEEDED,
    **changes: object,
) -> Decision:
    """Return a decision that ends the search, on a history with these rounds and runs."""
    history = make_history(rounds=tuple(rounds), ended=runs)
    return replace(Decision(history=history, verdict=verdict, reason="SpaceExhausted", message=""), **changes)


def with_record(entry: Round, cell: Configuration = OLD, **changes: object) -> Round:
    """Return a round whose trial of `cell` is published."""
    index = (OLD, NEW, OTHER).index(cell)
    record = Published(index=index, configuration=cell, at=at(100), reason="FirstResult")
    return replace(entry, published=replace(record, **changes))


def outcome_of(study: Study, decision: Decision) -> tuple[Configuration, str, int, str] | None:
    """Return the configuration, pool, round and reason of what is published after a decision, at 500 s."""
    after = with_publication(study, decision, at(500))
    assert with_publication(study, after, at(900)) == after, "to decide again changes nothing"
    found = published_in(after.history)
    return None if found is None else (found[1].configuration, found[0].pool, found[0].number, found[1].reason)


RETUNED = (with_record(make_round()), make_round(number=2, identity="id-2", baseline=OLD))
STUDY = make_study(publishes=True)


def test_the_first_result_is_published() -> None:
    """It is the best of the study, with what was measured; a search that goes on or found nothing publishes nothing."""
    study = make_study(publishes=True, pools=(make_pool(software="image:1"),))
    after = with_publication(study, ended(run_of(OLD, 900.0), run_of(NEW, 500.0)), at(500))
    found = published_in(after.history)
    assert found is not None
    record = found[1]
    assert (record.index, record.configuration, record.at, record.reason) == (0, OLD, at(500), "FirstResult")
    assert (record.model, record.software) == ("model", "image:1")
    assert outcome_of(STUDY, ended()) is None
    assert outcome_of(make_study(), ended(run_of(OLD, 900.0))) is None
    for verdict in (Verdict.RUNNING, Verdict.WAITING, Verdict.STALLED):
        assert outcome_of(STUDY, ended(run_of(OLD, 900.0), verdict=verdict)) is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1000.0, 1009.0, (OLD, "a100", 2, "WithinNoise")),
        (1000.0, 1012.0, (NEW, "a100", 2, "Better")),
        (noisy(1000.0, 0.1), noisy(1050.0, 0.1), (OLD, "a100", 2, "WithinNoise")),
        (noisy(1000.0, 0.1), noisy(1070.0, 0.1), (NEW, "a100", 2, "Better")),
        (noisy(1000.0, 0.1), noisy(1040.0, 0.0), (OLD, "a100", 2, "WithinNoise")),
        (1000.0, 800.0, (OLD, "a100", 2, "MeasuredAgain")),
        ("GpuOutOfMemory", 10.0, (NEW, "a100", 2, "CannotRun")),
        ("HeadsNotDivisible", 10.0, (NEW, "a100", 2, "CannotRun")),
        ("UnstableRepeats", 5000.0, (OLD, "a100", 1, "FirstResult")),
    ],
)
def test_a_new_round_changes_what_is_published_for_a_reason_only(
    old: Outcome, new: Outcome, expected: tuple[Configuration, str, int, str]
) -> None:
    """What is published is measured first in the new round: it stays unless the best is clearly better, or it fails."""
    decision = ended(run_of(OLD, 9000.0), run_of(OLD, old, number=2), run_of(NEW, new, number=2), rounds=RETUNED)
    assert outcome_of(STUDY, decision) == expected


def test_the_reason_is_said_with_both_configurations() -> None:
    """A person reads what took the place of what, and by how much it is better."""
    decision = ended(run_of(OLD, 1000.0, number=2), run_of(NEW, 1500.0, number=2), rounds=RETUNED)
    found = published_in(with_publication(STUDY, decision, at(500)).history)
    assert found is not None
    assert found[1].detail == (
        "4 GPUs, batch size 128 on pool a100 instead of 8 GPUs, batch size 64 on pool a100: "
        "50.0 % better, more than the noise of both measurements"
    )


def test_a_tie_that_needs_fewer_gpus_does_not_change_what_is_published() -> None:
    """The best of the round has half the GPUs and is as fast: to recommend it is right, to redeploy for it is not."""
    decision = ended(run_of(OLD, 1000.0, number=2), run_of(NEW, 995.0, number=2), rounds=RETUNED)
    best = best_of_study(STUDY, decision.history)
    assert best is not None
    assert best[1].configuration == NEW
    assert outcome_of(STUDY, decision) == (OLD, "a100", 2, "WithinNoise")


def test_more_trials_of_the_same_round_follow_the_same_rule() -> None:
    """With a larger budget a round goes on; nothing is recorded where nothing changes."""
    rounds = (with_record(make_round()),)
    within = ended(run_of(OLD, 1000.0), run_of(NEW, 1005.0), rounds=rounds)
    assert with_publication(STUDY, within, at(500)) is within
    better = ended(run_of(OLD, 1000.0), run_of(NEW, 1005.0), run_of(OTHER, 2000.0), rounds=rounds)
    assert outcome_of(STUDY, better) == (OTHER, "a100", 1, "Better")


def test_what_cannot_be_placed_on_new_hardware_is_replaced() -> None:
    """The new nodes have four GPUs: no trial of eight was possible, and none is needed to know."""
    study = make_study(publishes=True, pools=(make_pool(device_count=4),))
    decision = ended(run_of(NEW, 10.0, number=2), rounds=RETUNED)
    assert outcome_of(study, decision) == (NEW, "a100", 2, "CannotRun")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("Inherited", (NEW, 2)), ("LoadFails", (NEW, 2)), ("NoRoom", (OLD, 1)), ("Unschedulable", (OLD, 1))],
)
def test_what_cannot_work_is_replaced_and_what_waits_for_a_node_is_not(
    reason: str, expected: tuple[Configuration, int]
) -> None:
    """A load that fails each time is proof; a node that is drained when the search ends will be back."""
    aside = SetAside(gpu_count=8, reason=reason, detail="why", attempts=3)
    decision = ended(run_of(NEW, 10.0, number=2), rounds=RETUNED, set_aside={"a100": (aside,)})
    assert outcome_of(STUDY, decision)[::2] == expected


@pytest.mark.parametrize(
    ("reason", "attempts", "expected"),
    [
        ("HostOutOfMemory", 3, (NEW, 2)),
        ("EngineCrash", 3, (NEW, 2)),
        ("HostOutOfMemory", 2, (OLD, 1)),
        ("NodeLost", 3, (OLD, 1)),
        ("Evicted", 3, (OLD, 1)),
    ],
)
def test_only_an_engine_that_dies_in_each_attempt_is_proof(
    reason: str, attempts: int, expected: tuple[Configuration, int]
) -> None:
    """A lost node or a budget that ended the round before the last attempt says nothing about the configuration."""
    first = run_of(OLD, 1.0, number=2)
    broken = [
        replace(first, run=replace(first.run, name=f"old-{attempt}"), observation=make_loss(reason))
        for attempt in range(attempts)
    ]
    decision = ended(*broken, run_of(NEW, 10.0, number=2), rounds=RETUNED)
    assert outcome_of(STUDY, decision)[::2] == expected


@pytest.mark.parametrize("lost", [None, make_loss("Preempted", counts=False)])
def test_what_was_not_tried_stays(lost: object) -> None:
    """A budget ended the round before it was measured there: nothing is known against it."""
    tried = () if lost is None else (replace(run_of(OLD, 1.0, number=2), observation=lost),)
    decision = ended(*tried, run_of(NEW, 9999.0, number=2), rounds=RETUNED)
    assert outcome_of(STUDY, decision) == (OLD, "a100", 1, "FirstResult")


def test_a_pool_that_left_the_study_takes_its_publication_with_it() -> None:
    """Its nodes are no longer for this model; the best of the other pools is published."""
    rounds = (with_record(make_round(pool="v100")), make_round())
    decision = ended(run_of(OLD, 900.0, pool="v100"), run_of(NEW, 5.0), rounds=rounds)
    assert outcome_of(make_study(publishes=True, pools=(A100,)), decision) == (NEW, "a100", 1, "PoolRemoved")
    assert outcome_of(make_study(publishes=True, pools=(A100, V100)), decision) == (OLD, "v100", 1, "FirstResult")


def test_another_pool_must_be_clearly_better() -> None:
    """Pools are compared as the study's best compares them, at their own prices, with the noise of both."""
    rounds = (with_record(make_round(pool="v100")), make_round())
    study = make_study(publishes=True, pools=(A100, V100))
    close = ended(run_of(OLD, 1000.0, pool="v100"), run_of(NEW, 1009.0), rounds=rounds)
    assert outcome_of(study, close) == (OLD, "v100", 1, "FirstResult")
    clear = ended(run_of(OLD, 1000.0, pool="v100"), run_of(NEW, 1020.0), rounds=rounds)
    assert outcome_of(study, clear) == (NEW, "a100", 1, "Better")
    dear = replace(
        study,
        objective=Objective(metric="costPerMillionTokens"),
        pools=(make_pool(price_per_gpu_hour=100.0), make_pool(name="v100", price_per_gpu_hour=1.0)),
    )
    assert outcome_of(dear, clear) == (OLD, "v100", 1, "FirstResult")


def test_nodes_with_fewer_gpus_of_the_same_model_change_what_is_published() -> None:
    """What was measured stays true, but no node has as many GPUs any more: the best that fits takes its place."""
    measured = (run_of(OLD, 900.0), run_of(NEW, 500.0), run_of(OTHER, 400.0))
    for devices, expected in ((8, (OLD, "FirstResult")), (None, (OLD, "FirstResult")), (4, (NEW, "CannotRun"))):
        hardware = Hardware(fingerprint="same", device_count=devices)
        entry = with_record(make_round(hardware=hardware))
        assert outcome_of(STUDY, ended(*measured, rounds=(entry,)))[::3] == expected
    too_small = with_record(make_round(hardware=Hardware(fingerprint="same", device_count=1)))
    assert outcome_of(STUDY, ended(*measured, rounds=(too_small,)))[::3] == (OLD, "FirstResult"), "none fits"


def changed(entry: Round) -> Round:
    """Return a round whose pool has other hardware now."""
    noted = PoolChange(identity="id-9", hardware="other", what=("GPU",), since=at(400))
    return replace(entry, hardware=Hardware(fingerprint="same"), change=noted)


def test_nothing_is_published_for_hardware_that_is_gone() -> None:
    """The faster pool has other nodes now: only what runs on present nodes takes the place of what is published."""
    study = make_study(publishes=True, pools=(A100, V100))
    rounds = (changed(make_round()), make_round(pool="v100"))
    gone = ended(run_of(OLD, 900.0), run_of(NEW, 100.0, pool="v100"), rounds=rounds)
    assert outcome_of(study, gone) == (NEW, "v100", 1, "FirstResult")
    published = (changed(make_round()), with_record(make_round(pool="v100"), NEW))
    decision = ended(run_of(OLD, 900.0), run_of(NEW, 100.0, pool="v100"), rounds=published)
    assert with_publication(study, decision, at(500)) is decision
    assert outcome_of(STUDY, ended(run_of(OLD, 900.0), rounds=(changed(make_round()),))) is None


def test_a_study_about_to_tune_again_publishes_when_it_has() -> None:
    """Otherwise servers would be deployed twice; a pool that may wait for a day delays nothing."""
    study = make_study(publishes=True, pools=(A100, V100))
    rounds = (changed(make_round()), make_round(pool="v100"))
    decision = ended(run_of(NEW, 100.0, pool="v100"), rounds=rounds, retunes_at={"a100": at(900)})
    assert outcome_of(study, decision) is None
    limited = replace(decision, held_changes={"a100": "spec.retune.maxPerDay"})
    assert outcome_of(study, limited) == (NEW, "v100", 1, "FirstResult")


def test_the_engines_default_stays_published_outside_the_search_space() -> None:
    """The user allows it by naming it as the baseline, in words or in numbers."""
    study = make_study(
        publishes=True,
        engine=EngineSpec(name="vllm"),
        baseline=ENGINE_DEFAULT,
        space=SearchSpace(gpu_counts=(1,), batch_sizes=(8, 16)),
    )
    default = declared_baseline(study, make_round())
    assert default is not None
    assert default.batch_size not in study.space.batch_sizes
    run = make_run("default", cells=[default], index=0)
    other = make_run("other", cells=[make_cell(1, 16)], index=1)
    runs = (
        make_ended(run, make_finish(run, [make_measured(1000.0)])),
        make_ended(other, make_finish(other, [make_measured(1001.0, index=1)])),
    )
    record = Published(index=0, configuration=default, at=at(100), reason="FirstResult")
    decision = ended(*runs, rounds=(replace(make_round(), published=record),))
    assert with_publication(study, decision, at(500)) is decision


def test_a_configuration_that_the_user_no_longer_allows_is_replaced() -> None:
    """It left the search space; the study's own baseline may lie outside."""
    narrow = make_study(publishes=True, space=SearchSpace(gpu_counts=(4,), batch_sizes=(128,)))
    decision = ended(
        run_of(OLD, 1000.0, number=2),
        run_of(NEW, 995.0, number=2),
        rounds=(with_record(make_round()), make_round(number=2, identity="id-2")),
    )
    assert outcome_of(narrow, decision) == (NEW, "a100", 2, "LeftSearchSpace")
    assert outcome_of(replace(narrow, baseline=OLD), decision) == (OLD, "a100", 2, "WithinNoise")


def test_the_best_is_never_replaced_by_itself() -> None:
    """What was in use is measured first even outside the search space; if it is the best by far, it stays."""
    narrow = make_study(publishes=True, space=SearchSpace(gpu_counts=(4,), batch_sizes=(128,)))
    decision = ended(run_of(OLD, 1000.0, number=2), run_of(NEW, 10.0, number=2), rounds=RETUNED)
    assert outcome_of(narrow, decision) == (OLD, "a100", 2, "MeasuredAgain")


def test_a_constraint_that_it_breaks_replaces_what_is_published() -> None:
    """The user bounded the latency: the fastest configuration that keeps the bound is published."""
    bound = Constraint(metric="throughputPerGPU", minimum=100.0)
    study = make_study(publishes=True, objective=Objective(constraints=(bound,)))
    decision = ended(run_of(OLD, 790.0), run_of(NEW, 500.0), rounds=(with_record(make_round()),))
    assert outcome_of(study, decision) == (NEW, "a100", 1, "ConstraintBroken")


def test_a_missing_metric_is_no_reason() -> None:
    """The objective of what is published is unknown: it may be better, so it stays."""
    study = make_study(publishes=True, objective=Objective(metric="queue", goal="Minimize"))
    runs = (run_of(OLD, 1.0), run_of(NEW, 1.0))
    measured = replace(runs[1], observation=replace(runs[1].observation, extra_metrics={1: {"queue": 3.0}}))
    decision = ended(runs[0], measured, rounds=(with_record(make_round()),))
    assert outcome_of(study, decision) == (OLD, "a100", 1, "FirstResult")


def test_the_newest_record_counts_even_if_the_clock_was_set_back() -> None:
    """A record is always later than the one before it."""
    rounds = (with_record(make_round(), at=at(0) + timedelta(days=9)), make_round(number=2, identity="id-2"))
    decision = ended(run_of(OLD, 10.0, number=2), run_of(NEW, 500.0, number=2), rounds=rounds)
    found = published_in(with_publication(STUDY, decision, at(500)).history)
    assert found is not None
    assert (found[1].configuration, found[1].at) == (NEW, at(0) + timedelta(days=9, seconds=1))


def test_a_round_whose_pool_has_changed_since_says_what_it_measured() -> None:
    """The study has another image by now, which measured nothing; a name that was shortened is unknown."""
    change = PoolChange(identity="id-2", hardware="f1", what=(), since=at(1))
    subject = (("model", "old/model"), ("software", "registry.example.com/" + "x" * 99 + "… (0123)"))
    entry = make_round(change=change, subject=subject, hardware=Hardware(fingerprint="f1"))
    study = make_study(publishes=True, pools=(make_pool(software="image:2"),))
    found = published_in(with_publication(study, ended(run_of(OLD, 5.0), rounds=(entry,)), at(500)).history)
    assert found is not None
    assert (found[1].model, found[1].software) == ("old/model", None)


def test_the_configuration_in_use_belongs_to_one_pool() -> None:
    """A new round of that pool measures it first; other pools have their own best."""
    history = make_history(rounds=(with_record(make_round()), make_round(pool="v100")))
    assert configuration_in_use(STUDY, history, "a100") == OLD
    assert configuration_in_use(STUDY, history, "v100") is None
    assert configuration_in_use(STUDY, make_history(), "a100") is None
    assert configuration_in_use(make_study(), history, "a100") is None


@given(
    rate=st.floats(1.0, 1e5),
    gain=st.floats(-0.5, 0.5),
    spreads=st.tuples(st.floats(0, 0.25), st.floats(0, 0.25)),
)
def test_a_difference_within_the_noise_never_changes_what_is_published(
    rate: float, gain: float, spreads: tuple[float, float]
) -> None:
    """Whatever the numbers are: up to 1 % or one standard error of the difference, the configuration stays."""
    old, new = noisy(rate, spreads[0]), noisy(rate * (1 + gain), spreads[1])
    decision = ended(run_of(OLD, old, number=2), run_of(NEW, new, number=2), rounds=RETUNED)
    found = outcome_of(STUDY, decision)
    assert found is not None
    # Three repeats: the standard error of their median is 1.2533 / 1.693 / sqrt(3) of their range.
    error = 1.2533 / 1.693 / 3**0.5
    noise = max(0.01 * (1 + gain), error * (spreads[0] ** 2 + (spreads[1] * (1 + gain)) ** 2) ** 0.5)
    if abs(gain - noise) > 1e-9:
        assert found[0] == (NEW if gain > noise else OLD)


@pytest.mark.parametrize(("publishes", "expected"), [(True, OLD), (False, NEW)])
def test_a_new_round_measures_first_what_is_in_use(expected: Configuration, *, publishes: bool) -> None:
    """That is what is published, even if the best of its round is another; without publishing it is that best."""
    study = make_study(publishes=publishes, pools=(make_pool(fingerprint="f2"),), retune=Retune(debounce=timedelta(0)))
    entry = make_round(hardware=Hardware(fingerprint="f1"), identity="id-1")
    history = make_history(rounds=(with_record(entry),), ended=(run_of(OLD, 1000.0), run_of(NEW, 1005.0)))
    newest = current_round(retune(study, history, at(500)).history, "a100")
    assert newest is not None
    assert (newest.number, newest.baseline) == (2, expected)
