"""When a pool is tuned again: what changed, the policy, and whether the round was finished decide it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from core.retuning import (
    A100,
    DEBOUNCE,
    GPU_CHANGE,
    H100,
    HOUR,
    MINUTE,
    V100,
    Timeline,
    away,
    begun,
    in_search,
    make_tuned_study,
    on,
    tuned,
    with_other_spec,
)
from factories.runs import make_finish
from factories.studies import START, make_cell, make_pool
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Verdict
from infpop_operator.core.history import failures
from infpop_operator.core.model import History, Lost
from infpop_operator.core.scope import baseline_of
from infpop_operator.core.study import Algorithm, Budget, Retune, RetunePolicy, Study
from infpop_runner.contract import Provenance

CHANGES: dict[str, Callable[[Study], Study]] = {
    "hardware": lambda study: on(study, A100),
    "spec": with_other_spec,
    "both": lambda study: with_other_spec(on(study, A100)),
}
STATES: dict[str, Callable[[Study], Timeline]] = {"finished": tuned, "searching": in_search, "begun": begun}
NOW, LATER, HELD = "a new round at once", "a new round after the debounce", "no new round"

# What `docs/retuning.md` has as a table: what changed, the policy, the state of the round -> what happens.
TABLE = [
    *(("hardware", "OnPoolChange", state, LATER) for state in STATES),
    *(("both", "OnPoolChange", state, LATER) for state in STATES),
    *(("spec", "OnPoolChange", state, NOW) for state in STATES),
    *((change, policy, "finished", HELD) for change in CHANGES for policy in ("Manual", "Never")),
    *((change, policy, "searching", HELD) for change in ("hardware", "both") for policy in ("Manual", "Never")),
    *((change, policy, "begun", LATER) for change in ("hardware", "both") for policy in ("Manual", "Never")),
    *(("spec", policy, state, NOW) for state in ("searching", "begun") for policy in ("Manual", "Never")),
]


@pytest.mark.parametrize(("change", "policy", "state", "outcome"), TABLE)
def test_what_happens_after_a_change(change: str, policy: RetunePolicy, state: str, outcome: str) -> None:
    """The policy governs tuning again: what was never tuned begins all the same, and a user's edit needs no debounce.

    Until then the change is recorded and no run starts.
    """
    timeline = STATES[state](make_tuned_study(policy))
    changed = CHANGES[change](timeline.study)
    first = timeline.look(changed, after=MINUTE, lost=state != "finished")
    assert (timeline.rounds() == [1, 2]) is (outcome == NOW)
    if outcome != NOW:
        assert timeline.newest.change is not None
        assert (timeline.newest.change.since, first.start) == (timeline.now, ())
    assert dict(first.retunes_at) == ({"gpus": timeline.now + DEBOUNCE} if outcome == LATER else {})
    assert set(first.held_changes) == ({"gpus"} if outcome == HELD else set())
    assert outcome != LATER or first.wake_at == timeline.now + DEBOUNCE
    timeline.look(after=DEBOUNCE - timedelta(seconds=1))
    assert (timeline.rounds() == [1, 2]) is (outcome == NOW)
    timeline.look(after=timedelta(seconds=1))
    assert timeline.rounds() == ([1] if outcome == HELD else [1, 2])
    if outcome != HELD:
        assert timeline.newest.opened_at == (timeline.now if outcome == LATER else timeline.now - DEBOUNCE)
        assert timeline.newest.trigger == ("PoolChanged" if change == "hardware" else "SpecChanged")
        assert timeline.newest.change is None
        timeline.finish()
        assert timeline.rounds() == [1, 2]


def test_a_round_after_a_change_compares_with_what_was_in_use() -> None:
    """The old best is measured first, and its number on the new hardware is the one to improve on."""
    timeline = tuned()
    assert timeline.newest.subject[0] == ("GPU", "Tesla-V100-SXM2-32GB")
    timeline.look(on(timeline.study, A100), after=HOUR)
    timeline.look(after=DEBOUNCE)
    assert timeline.newest.cause == GPU_CHANGE
    assert baseline_of(timeline.study, timeline.newest) == make_cell(2, 16)
    (live,) = timeline.history.active
    assert live.run.trials[0].configuration == make_cell(2, 16)


@pytest.mark.parametrize(
    ("state", "verdict", "reason"),
    [("finished", Verdict.SUCCEEDED, "MaxTrialsReached"), ("searching", Verdict.WAITING, "PoolChanged")],
)
def test_a_finished_study_stays_so_while_hardware_settles(state: str, verdict: Verdict, reason: str) -> None:
    """Its result stays published; a search that was not finished says what it waits for."""
    timeline = STATES[state](make_tuned_study())
    decision = timeline.look(on(timeline.study, A100), after=MINUTE, lost=True)
    assert (decision.verdict, decision.reason) == (verdict, reason)
    assert verdict is Verdict.SUCCEEDED or "gpus has changed (GPU Tesla-V100" in decision.message


def test_a_held_search_needs_its_user() -> None:
    """It measured something on hardware that is gone: the study is stalled, and says what to do."""
    timeline = in_search(make_tuned_study("Manual"))
    decision = timeline.look(on(timeline.study, A100), after=MINUTE, lost=True)
    assert (decision.verdict, decision.reason, decision.needs_change) == (Verdict.STALLED, "PoolChanged", True)
    assert "infpop.io/retune" in decision.message
    assert decision.held_changes["gpus"] in decision.message
    other = replace(timeline.study, pools=(A100, make_pool(name="other")))
    assert timeline.look(other, after=MINUTE).verdict is Verdict.RUNNING


def test_a_flap_back_is_no_change() -> None:
    """The debounce begins again with the next change, and the round goes on as if nothing had happened."""
    timeline = tuned()
    both = timeline.study, on(timeline.study, A100)
    for _ in range(5):
        timeline.look(both[1], after=MINUTE)
        assert timeline.newest.change is not None
        timeline.look(both[0], after=DEBOUNCE - MINUTE)
        assert timeline.newest.change is None
    timeline.look(both[1], after=MINUTE)
    timeline.look(after=DEBOUNCE - MINUTE)
    assert timeline.rounds() == [1]


def test_the_last_hardware_of_several_counts() -> None:
    """A rollout that passes through a third model starts one round, of the last; a mixed or empty pool starts none."""
    timeline = tuned()
    v100 = timeline.study
    for pool in (A100, H100):
        timeline.look(on(v100, pool), after=DEBOUNCE - MINUTE)
    timeline.look(away(v100, timeline.history), after=MINUTE)
    timeline.look(on(v100, H100), after=HOUR)
    assert timeline.rounds() == [1]
    timeline.look(after=DEBOUNCE)
    assert [entry.hardware.gpu_model for entry in timeline.history.rounds if entry.hardware] == [
        V100.gpu_model,
        H100.gpu_model,
    ]


def test_an_edit_while_hardware_settles_restarts_no_debounce() -> None:
    """The hardware has been the same all the time."""
    timeline = tuned()
    timeline.look(on(timeline.study, A100), after=MINUTE)
    timeline.look(with_other_spec(timeline.study), after=DEBOUNCE - MINUTE)
    assert timeline.newest.change is not None
    assert "model.revision none → v2" in timeline.newest.change.what
    timeline.look(after=MINUTE)
    assert timeline.rounds() == [1, 2]


def test_a_pool_that_vanishes_keeps_its_round() -> None:
    """Absent nodes are no change: the same round has its result, and goes on when they are back."""
    timeline = tuned()
    result = timeline.history
    decision = timeline.look(away(timeline.study, timeline.history), after=100 * HOUR)
    assert (decision.verdict, timeline.history, decision.retunes_at) == (Verdict.SUCCEEDED, result, {})
    timeline.look(replace(timeline.study, pools=(V100,)), after=100 * HOUR)
    assert timeline.rounds() == [1]


def test_rounds_that_hardware_starts_are_limited_within_a_day() -> None:
    """The next one waits until the first is a day old; a user's edit and request are not limited."""
    timeline = tuned(make_tuned_study(retune=Retune(debounce=MINUTE, max_per_day=2)))
    opened = []
    for pool in (A100, H100):
        timeline.look(on(timeline.study, pool), after=HOUR)
        timeline.look(after=MINUTE)
        opened.append(timeline.now)
        timeline.finish()
    decision = timeline.look(on(timeline.study, replace(V100, fingerprint="third")), after=HOUR)
    assert decision.retunes_at == {"gpus": opened[0] + timedelta(hours=24)}
    assert "spec.retune.maxPerDay" in decision.held_changes["gpus"]
    timeline.look(with_other_spec(timeline.study), after=MINUTE)
    assert timeline.rounds() == [1, 2, 3, 4]
    timeline.look(on(timeline.study, A100), after=HOUR)
    timeline.now = opened[0] + timedelta(hours=24, seconds=-1)
    timeline.look()
    assert timeline.rounds() == [1, 2, 3, 4]
    timeline.look(after=timedelta(seconds=1))
    assert timeline.rounds() == [1, 2, 3, 4, 5]


def test_two_pools_that_swap_hardware_get_one_round_each() -> None:
    """Each pool has its own debounce, and its own limit."""
    one, other = replace(V100, name="one"), replace(A100, name="other")
    timeline = tuned(make_tuned_study(pools=(one, other), retune=Retune(debounce=DEBOUNCE, max_per_day=1)))
    swapped = (replace(A100, name="one"), replace(V100, name="other"))
    timeline.look(replace(timeline.study, pools=swapped), after=MINUTE)
    timeline.look(after=DEBOUNCE)
    timeline.finish()
    rounds = [(entry.pool, entry.number, entry.hardware.fingerprint) for entry in timeline.history.rounds]  # type: ignore[union-attr]
    assert rounds == [("one", 1, "v"), ("other", 1, "a"), ("one", 2, "a"), ("other", 2, "v")]


@pytest.mark.parametrize("back", [HOUR, timedelta(days=400)])
def test_a_clock_that_was_set_back_blocks_nothing(back: timedelta) -> None:
    """A change counts as observed now, and rounds of the future do not count."""
    timeline = tuned(make_tuned_study(retune=Retune(debounce=DEBOUNCE, max_per_day=1)))
    timeline.now += timedelta(days=1000)
    timeline.look(on(timeline.study, A100))
    timeline.look(after=DEBOUNCE)
    timeline.finish()
    timeline.look(on(timeline.study, H100))
    timeline.now -= back
    timeline.look()
    assert timeline.newest.change is not None
    assert timeline.newest.change.since == timeline.now
    timeline.look(after=DEBOUNCE)
    assert timeline.rounds() == [1, 2, 3]


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        (Budget(max_trials=2, deadline=HOUR), "spec.budget.deadline"),
        (Budget(max_trials=2, max_gpu_hours=0.01), "spec.budget.maxGPUHours"),
    ],
)
@pytest.mark.parametrize("change", [*CHANGES, "request"])
def test_a_spent_budget_of_the_study_allows_no_new_round(budget: Budget, field: str, change: str) -> None:
    """The result stays, the status names the field, and the round starts once the budget is raised."""
    timeline = tuned(make_tuned_study(budget=budget))
    changed = (
        replace(timeline.study, retune=replace(timeline.study.retune, requested="now"))
        if change == "request"
        else CHANGES[change](timeline.study)
    )
    decision = timeline.look(changed, after=2 * HOUR)
    decision = timeline.look(after=DEBOUNCE)
    assert (timeline.rounds(), decision.verdict, decision.start) == ([1], Verdict.SUCCEEDED, ())
    assert field in decision.held_changes["gpus"]
    timeline.look(replace(changed, budget=Budget(max_trials=2)), after=MINUTE)
    assert timeline.rounds() == [1, 2]


def test_a_policy_that_changes_while_a_change_waits_applies_at_once() -> None:
    """Both ways: it holds the round that was due, and lets go the one that was held."""
    timeline = tuned()
    changed = on(timeline.study, A100)
    timeline.look(changed, after=MINUTE)
    manual = replace(changed, retune=replace(changed.retune, policy="Manual"))
    assert timeline.look(manual, after=DEBOUNCE).held_changes.keys() == {"gpus"}
    timeline.look(changed, after=MINUTE)
    assert timeline.rounds() == [1, 2]


@pytest.mark.parametrize("holds", [True, False])
def test_a_run_that_has_no_devices_yet_never_gets_changed_ones(holds: bool) -> None:  # noqa: FBT001 - both ways
    """A Pod that waits would measure the new hardware under the old round; a run at work ends by itself."""
    timeline = begun(make_tuned_study())
    history = timeline.history
    if not holds:
        history = replace(history, active=tuple(replace(live, held_since=None) for live in history.active))
    decision = decide(on(timeline.study, A100), history, {}, timeline.now + MINUTE)
    assert [live.stopping for live in decision.history.active] == [None if holds else "Superseded"]


def test_a_run_that_an_autoscaler_gave_other_hardware_measures_nothing() -> None:
    """The pool had no node; the one that its run got is of other hardware, so the run belongs to no round yet.

    A request had opened a round that has no result to compare with. The round of the new hardware is the next one.
    """
    timeline = tuned(make_tuned_study("OnPoolChange"))
    wanted = replace(timeline.study.retune, requested="again")
    awaited = on(timeline.study, replace(V100, usable_device_count=None, total_device_count=None), retune=wanted)
    timeline.look(awaited, after=HOUR)
    (waiting,) = timeline.history.active
    bound = timeline.now + MINUTE
    history = replace(timeline.history, active=(replace(waiting, held_since=bound),))
    changed = on(awaited, A100)
    noted = decide(changed, history, {}, bound)
    assert [live.stopping for live in noted.history.active] == ["Superseded"]
    finished = {waiting.run.name: make_finish(waiting.run, [50.0])}
    ended = decide(changed, noted.history, finished, bound + MINUTE).history
    assert isinstance(ended.ended[-1].observation, Lost)
    assert failures(ended) == ()
    (newest,) = (entry for entry in decide(changed, ended, {}, bound + DEBOUNCE).history.rounds if entry.number == 3)
    assert newest.hardware is not None
    assert newest.hardware.gpu_model == A100.gpu_model


def test_a_run_that_ended_before_its_node_was_known_costs_one_attempt() -> None:
    """Its result names the GPU. The labels of the node follow, and the round waits for its change."""
    exact = replace(V100, compute_capability="7.0")
    timeline = begun(make_tuned_study(pools=(exact,), budget=Budget(max_trials=2, max_failed_trials=1)))
    (live,) = timeline.history.active
    made = Provenance(engine="vllm", gpu_model="NVIDIA A100-SXM4-40GB")
    finished = {live.run.name: make_finish(live.run, [50.0], provenance=made)}
    ended = decide(timeline.study, timeline.history, finished, timeline.now + MINUTE).history
    assert isinstance(ended.ended[-1].observation, Lost)
    assert ended.ended[-1].observation.reason == "GpuChanged"
    changed = on(timeline.study, replace(A100, compute_capability="8.0"))
    noted = decide(changed, ended, {}, timeline.now + 2 * MINUTE)
    assert (noted.verdict, noted.reason) == (Verdict.WAITING, "PoolChanged")
    second = decide(changed, noted.history, {}, timeline.now + 2 * MINUTE + DEBOUNCE)
    assert [run.round for run in second.start] == [2]
    assert failures(second.history) == ()


def test_a_round_of_an_earlier_version_tells_what_it_knows() -> None:
    """It has neither subject nor times: its hardware and engine are compared, and nothing is invented."""
    study = make_tuned_study()
    (entry,) = tuned(study).history.rounds
    engine = replace(entry.engine, args=(("block_size", 16),)) if entry.engine is not None else None
    for known, what in (
        (replace(entry, subject=(), opened_at=None), GPU_CHANGE),
        (
            replace(entry, subject=(), hardware=None, engine=engine, identity="older"),
            ("engine.args.block_size 16 → none",),
        ),
        (
            replace(entry, subject=(), hardware=None, engine=None, identity="older"),
            ("what is measured (the version that started the last round did not record it)",),
        ),
    ):
        history = History(started_at=START, rounds=(known,))
        (noted,) = decide(on(study, A100), history, {}, START).history.rounds
        assert noted.change is not None
        assert noted.change.what == what


def test_what_changed_is_bounded() -> None:
    """Many arguments become one fact and long values are cut, but two different studies never read the same."""
    args = {f"a{number}": "x" * 500 for number in range(60)}
    study = make_tuned_study()
    engine = study.engine.model_copy(update={"args": args})
    other = study.engine.model_copy(update={"args": args | {"a59": "y" * 500}})
    timeline = tuned(replace(study, engine=engine))
    timeline.look(replace(study, engine=other, algorithm=Algorithm(name="grid", seed=3)), after=MINUTE)
    assert sum(len(name) + len(value) for name, value in timeline.newest.subject) < 3000
    assert len(timeline.newest.cause) == 2
    assert max(map(len, timeline.newest.cause)) < 400


def test_a_held_change_stays_held_when_the_budget_is_raised() -> None:
    """Whether the round was finished is decided when the change comes; more trials would be of the old revision."""
    timeline = tuned(make_tuned_study("Manual"))
    changed = with_other_spec(timeline.study)
    timeline.look(changed, after=MINUTE)
    decision = timeline.look(replace(changed, budget=Budget(max_trials=4)), after=MINUTE)
    assert (timeline.rounds(), decision.start) == ([1], ())
    assert decision.held_changes.keys() == {"gpus"}


def test_a_change_after_the_last_round_of_the_day_has_a_debounce_of_its_own() -> None:
    """The limit is over before the hardware has settled."""
    timeline = tuned(make_tuned_study(retune=Retune(debounce=DEBOUNCE, max_per_day=1)))
    timeline.look(on(timeline.study, A100), after=HOUR)
    timeline.look(after=DEBOUNCE)
    opened_at = timeline.now
    timeline.finish()
    timeline.now = opened_at + timedelta(hours=24) - MINUTE
    assert timeline.look(on(timeline.study, H100)).retunes_at == {"gpus": timeline.now + DEBOUNCE}


@pytest.mark.parametrize("policy", ["Manual", "Never"])
def test_a_pool_that_never_measured_anything_begins_on_whatever_it_has(policy: RetunePolicy) -> None:
    """No policy holds it, however often its hardware changes before the first result."""
    timeline = begun(make_tuned_study(policy))
    for number, pool in enumerate((A100, H100), start=2):
        timeline.look(on(timeline.study, pool), after=MINUTE, lost=True)
        decision = timeline.look(after=DEBOUNCE, lost=True)
        assert (timeline.newest.number, decision.held_changes) == (number, {})
    timeline.finish()
    assert timeline.look(on(timeline.study, A100), after=MINUTE).held_changes.keys() == {"gpus"}
