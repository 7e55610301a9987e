"""The series of studies: derived from statuses, and removed with the study."""

from datetime import timedelta
from typing import Any

import pytest

from factories.studies import START
from infpop_operator.cluster.metrics.study_metrics import CONDITIONS
from reconcile.study_series import Bench, conditions, live_run, row, study


def test_a_status_becomes_series() -> None:
    """Each number of a pool's newest round appears in base units; trials of older rounds are not counted."""
    best = {"pool": "a100", "round": 2, "gpuCount": 4, "batchSize": 64, "throughput": "4312.5"}
    best |= {"throughputPerGPU": "1078.12", "spread": "0.01", "run": "run-1"}
    pool = {"name": "a100", "round": 2, "best": best, "improvementPercent": "12.5", "gpuHours": "1.5"}
    bench = Bench()
    bench.see(
        study(
            conditions=conditions(Accepted="True", Reconciling="True", Ready="False", ResultStale="Unknown"),
            pools=[pool],
            runs=[live_run("Measuring")],
            trials=[
                row(0, "Measured", number=1),
                row(0, "Measured", number=2),
                row(1, "Measured", number=2, reason="ConstraintBroken"),
                row(2, "Infeasible", number=2, reason="GpuOutOfMemory"),
                row(3, "Running", number=2),
                row(4, "RacedOut", number=2),
            ],
        )
    )
    trials = {(found["outcome"], found["reason"]): value for found, value in bench.series("infpop_study_trials")}
    assert trials == {
        ("measured", ""): 1,
        ("measured", "ConstraintBroken"): 1,
        ("infeasible", "GpuOutOfMemory"): 1,
        ("running", ""): 1,
        ("raced_out", ""): 1,
    }
    one = {"namespace": "serving", "study": "one", "pool": "a100"}
    assert bench.value("infpop_study_best_throughput_tokens_per_second", **one) == 4312.5
    assert bench.value("infpop_study_best_info", **one, gpu_count="4", batch_size="64") == 1
    assert bench.value("infpop_study_improvement_ratio", **one) == 0.125
    assert bench.value("infpop_study_gpu_seconds_total", **one) == 5400
    assert bench.value("infpop_study_runs", **one) == 1
    assert bench.value("infpop_study_condition", study="one", condition="Reconciling") == 1
    assert bench.value("infpop_study_condition", study="one", condition="Ready") == 0
    assert bench.value("infpop_study_condition", study="one", condition="ResultStale") is None
    assert bench.value("infpop_studies", state="reconciling") == 1
    assert bench.value("infpop_studies", state="stalled") == 0


def test_a_best_of_another_study_is_labelled_as_such() -> None:
    """Its number is no measurement of this study; how many trials are not is a series of its own."""
    best = {"pool": "a100", "gpuCount": 4, "batchSize": 64, "throughput": "4312.5", "throughputPerGPU": "1078.12"}
    best |= {"spread": "0.01", "run": "other-1", "reusedFrom": "other"}
    counts = {"total": 3, "measured": 3, "infeasible": 0, "invalid": 0, "broken": 0, "running": 0}
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "round": 1, "best": best, "trials": {**counts, "reused": 2}}]))
    assert bench.value("infpop_study_best_info", pool="a100", gpu_count="4", reused_from="other") == 1
    assert bench.value("infpop_study_reused_trials", pool="a100") == 2
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "round": 1, "best": {**best, "reusedFrom": None}, "trials": counts}]))
    assert bench.value("infpop_study_best_info", pool="a100", reused_from="other") is None
    assert bench.value("infpop_study_reused_trials", pool="a100") is None


def round_row(number: int, **changes: object) -> dict[str, Any]:
    """Return a round of the pool a100 with a best."""
    best = {"gpuCount": 8, "batchSize": 64, "throughput": f"{number}00.5"}
    row = {"pool": "a100", "round": number, "openedAt": f"2026-01-0{number}T00:00:00Z", "best": best}
    return {**row, "improvementPercent": f"{number}.5", "trials": 3, "gpuHours": "1", **changes}


def test_each_round_keeps_its_numbers() -> None:
    """The gain of a round stays when the next one begins; a round without a best or a gain has no series of it."""
    bench, one = Bench(), {"namespace": "serving", "study": "one", "pool": "a100"}
    rounds = [
        round_row(1),
        round_row(2),
        round_row(3, best=None, improvementPercent=None),
        round_row(1, pool="removed"),
    ]
    bench.see(study(pools=[{"name": "a100", "round": 3}], rounds=rounds))
    tokens = bench.series("infpop_study_round_best_throughput_tokens_per_second")
    assert {labels["round"]: value for labels, value in tokens} == {"1": 100.5, "2": 200.5}
    gains = bench.series("infpop_study_round_improvement_ratio")
    assert {labels["round"]: value for labels, value in gains} == {"1": 0.015, "2": 0.025}
    assert bench.value("infpop_study_round", **one) == 3
    assert bench.value("infpop_study_last_change_time_seconds", **one) == (START + timedelta(days=2)).timestamp()


def test_what_is_published_has_the_time_of_its_last_change() -> None:
    """A study that publishes nothing has no such series."""
    best = {"pool": "a100", "gpuCount": 4, "batchSize": 64, "throughput": "1", "throughputPerGPU": "1", "spread": "0"}
    published = {**best, "run": "r", "at": "2026-01-02T12:00:00Z", "reason": "Better", "message": "m"}
    bench = Bench()
    bench.see(study("other"), study(published=published))
    found = bench.series("infpop_study_published_time_seconds")
    expected = (START + timedelta(days=1, hours=12)).timestamp()
    assert found == [({"namespace": "serving", "study": "one"}, expected)]


def test_a_change_that_waits_and_a_resumed_round_are_the_last_change() -> None:
    """The last change is what a user would look for in the history of the nodes."""
    change = {"reason": "HardwareChanged", "what": ["GPU A → B"], "since": "2026-01-05T00:00:00Z"}
    resumed = round_row(1, resumedAt="2026-01-04T00:00:00Z")
    for pool, days in (({"change": change}, 4), ({}, 3)):
        bench = Bench()
        bench.see(study(pools=[{"name": "a100", "round": 1, **pool}], rounds=[round_row(2), resumed]))
        expected = (START + timedelta(days=days)).timestamp()
        assert bench.value("infpop_study_last_change_time_seconds", pool="a100") == expected
    bench = Bench()
    held = {"reason": "Requested", "heldBy": "budget"}
    bench.see(study(pools=[{"name": "a100", "round": 1, "change": held}], rounds=[round_row(1)]))
    assert bench.value("infpop_study_last_change_time_seconds", pool="a100") == START.timestamp()


def test_a_stale_result_says_for_how_long() -> None:
    """The time is that of the condition, so it survives a restart; a current result has no series."""
    name = "infpop_study_result_stale_seconds"
    bench = Bench()
    bench.now += timedelta(hours=3)
    bench.see(
        study("old", conditions=conditions(ResultStale="True")), study(conditions=conditions(ResultStale="False"))
    )
    assert [(labels["study"], value) for labels, value in bench.series(name)] == [("old", 10800.0)]
    bench.see(study("old", version=2, conditions=conditions(ResultStale="Unknown")))
    assert bench.series(name) == []


def test_what_is_not_known_has_no_series() -> None:
    """A pool without a best has neither throughput nor improvement, and a best without a baseline no improvement."""
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "gpuHours": "soon", "improvementPercent": "NaN"}]))
    for name in ("best_throughput_tokens_per_second", "best_info", "improvement_ratio", "gpu_seconds_total", "trials"):
        assert bench.series(f"infpop_study_{name}") == []
    assert bench.value("infpop_study_runs", pool="a100") == 0


def test_trials_whose_rows_were_left_out_count_all_the_same() -> None:
    """A status is cut to a size limit; its counts are not."""
    counts = {"total": 9, "measured": 2, "racedOut": 2, "infeasible": 5, "invalid": 0, "broken": 0, "running": 0}
    bench = Bench()
    pool = {"name": "a100", "round": 1, "trials": counts}
    bench.see(study(pools=[pool], trials=[row(6, "Infeasible", reason="GpuOutOfMemory")]))
    assert bench.value("infpop_study_trials", outcome="infeasible", reason="GpuOutOfMemory") == 1
    assert bench.value("infpop_study_trials", outcome="infeasible", reason="") == 4
    assert bench.value("infpop_study_trials", outcome="measured", reason="") == 2
    assert bench.value("infpop_study_trials", outcome="raced_out", reason="") == 2


def test_the_series_of_a_deleted_study_go() -> None:
    """From the next scrape on, no series names it."""
    bench = Bench()
    status = {"conditions": conditions(Reconciling="True"), "pools": [{"name": "a100"}]}
    bench.see(study("one", **status), study("other", **status))
    assert 'study="one"' in bench.page()
    bench.see(study("other", **status))
    assert 'study="one"' not in bench.page()
    assert 'study="other"' in bench.page()


def test_every_state_has_a_number() -> None:
    """Each study is in one state; states without studies are zero."""
    held = {
        "refused": {"Accepted": "False", "Stalled": "True"},
        "suspended": {"Suspended": "True", "Succeeded": "True"},
        "succeeded": {"Succeeded": "True"},
        "stalled": {"Stalled": "True"},
        "reconciling": {"Reconciling": "True"},
    }
    bench = Bench()
    broken = study("broken", pools="none")
    bench.see(study("new"), broken, *(study(name, conditions=conditions(**each)) for name, each in held.items()))
    states = {found["state"]: value for found, value in bench.series("infpop_studies")}
    assert states == dict.fromkeys([*held, "new", "unreadable"], 1.0)
    bench.see()
    assert {value for _, value in bench.series("infpop_studies")} == {0.0}


def test_a_study_that_does_not_move_is_seen() -> None:
    """Time counts from the last change of a trial or run, not of messages, and only while the study continues."""
    name, going_on = "infpop_study_unchanged_seconds", conditions(Reconciling="True")
    bench = Bench()
    bench.see(study(conditions=going_on, trials=[row(0, "Running")]))
    assert bench.value(name) == 0
    bench.now += timedelta(hours=1)
    bench.see(study(version=2, conditions=going_on, trials=[row(0, "Running")], progress="0/6"))
    assert bench.value(name) == 3600
    bench.see(study(version=3, conditions=going_on, trials=[row(0, "Measured")]))
    assert bench.value(name) == 0
    bench.now += timedelta(minutes=1)
    bench.see(study(version=3, conditions=going_on, trials=[row(0, "Measured")]))
    assert bench.value(name) == 60
    bench.see(study(version=4, conditions=conditions(Reconciling="False"), trials=[row(0, "Measured")]))
    assert bench.value(name) is None


def test_a_run_that_never_starts_makes_no_progress() -> None:
    """Each try has its own name and attempt; the time keeps growing until a run starts working."""
    name, going_on = "infpop_study_unchanged_seconds", conditions(Reconciling="True")
    bench = Bench()
    bench.see(study(conditions=going_on, trials=[row(0, "Running")]))
    bench.now += timedelta(minutes=10)
    now = bench.now.isoformat()
    bench.see(study(version=2, conditions=going_on, trials=[row(0, "Broken")]))
    bench.see(study(version=3, conditions=going_on, trials=[row(0, "Running")], runs=[live_run("Unschedulable", now)]))
    assert bench.value(name) == 600
    bench.see(study(version=4, conditions=going_on, trials=[row(0, "Running")], runs=[live_run("ModelLoading", now)]))
    assert bench.value(name) == 0


def test_a_restart_remembers_since_when_runs_wait() -> None:
    """A live run has the time of its last change; a study created again with the same name starts from zero."""
    name, going_on = "infpop_study_unchanged_seconds", conditions(Reconciling="True")
    since = (START - timedelta(hours=2)).isoformat()
    bench = Bench()
    bench.see(study(conditions=going_on, runs=[live_run("Unschedulable", since)]))
    assert bench.value(name) == 7200
    bench.see(study(uid="another", version=2, conditions=going_on))
    assert bench.value(name) == 0


def test_what_did_not_change_is_not_read_again() -> None:
    """A scrape rebuilds nothing for a study of the same version."""
    bench, body = Bench(), study(pools=[{"name": "a100"}])
    bench.see(body)
    before = bench.collector._known
    bench.see(body)
    assert all(bench.collector._known[key] is known for key, known in before.items())


def test_the_trials_and_runs_of_each_pool_are_its_own() -> None:
    """Values differ between pools; trials of an older round or of an unknown pool are not shown."""

    def pool(name: str, factor: int) -> dict[str, Any]:
        best = {"pool": name, "round": factor, "gpuCount": factor, "batchSize": 8 * factor, "spread": "0", "run": "r"}
        best |= {"throughput": f"{100 * factor}.5", "throughputPerGPU": "1"}
        numbers = {"improvementPercent": f"{10 * factor}", "gpuHours": f"{factor}"}
        return {"name": name, "round": factor, "best": best, **numbers}

    bench = Bench()
    bench.see(
        study(
            pools=[pool("a100", 2), pool("v100", 3)],
            runs=[live_run("Measuring"), live_run("Measuring"), live_run("Measuring") | {"pool": "v100"}],
            trials=[
                row(0, "Measured", number=1),
                row(0, "Measured", number=2),
                row(1, "Measured", number=2),
                row(0, "Invalid", number=3, pool="v100", reason="UnstableRepeats"),
                row(0, "Measured", number=2, pool="h100"),
            ],
        )
    )
    for name, factor, runs in (("a100", 2, 2), ("v100", 3, 1)):
        one = {"namespace": "serving", "study": "one", "pool": name}
        assert bench.value("infpop_study_best_throughput_tokens_per_second", **one) == 100 * factor + 0.5
        assert bench.value("infpop_study_best_info", **one, gpu_count=str(factor), batch_size=str(8 * factor)) == 1
        assert bench.value("infpop_study_improvement_ratio", **one) == pytest.approx(factor / 10)
        assert bench.value("infpop_study_gpu_seconds_total", **one) == 3600 * factor
        assert bench.value("infpop_study_runs", **one) == runs
    trials = {(found["pool"], found["outcome"], found["reason"]): value
              for found, value in bench.series("infpop_study_trials")}  # fmt: skip
    assert trials == {("a100", "measured", ""): 2, ("v100", "invalid", "UnstableRepeats"): 1}


@pytest.mark.parametrize("kind", CONDITIONS)
def test_every_condition_has_its_series(kind: str) -> None:
    """1 if true, 0 if false, absent while unknown; other conditions have no series."""
    for status, expected in (("True", 1), ("False", 0), ("Unknown", None)):
        bench = Bench()
        bench.see(study(conditions=conditions(**{kind: status, "Accepted": "True", "Fancy": "True"})))
        found = {labels["condition"]: value for labels, value in bench.series("infpop_study_condition")}
        assert found == ({} if expected is None else {kind: expected})


@pytest.mark.parametrize("state", ["ModelLoading", "WarmingUp", "Measuring", "Done"])
def test_a_run_that_reaches_another_phase_makes_progress(state: str) -> None:
    """The time without progress restarts."""
    going_on = conditions(Reconciling="True")
    bench = Bench()
    bench.see(study(conditions=going_on, runs=[live_run("Starting", START.isoformat())]))
    bench.now += timedelta(minutes=10)
    bench.see(study(version=2, conditions=going_on, runs=[live_run(state, START.isoformat())]))
    assert bench.value("infpop_study_unchanged_seconds") == 0


@pytest.mark.parametrize("state", ["Measured", "Infeasible", "Invalid"])
def test_every_result_of_a_trial_is_progress(state: str) -> None:
    """So is another result of the same trial after another attempt."""
    going_on, name = conditions(Reconciling="True"), "infpop_study_unchanged_seconds"
    bench = Bench()
    bench.see(study(conditions=going_on, trials=[row(0, "Running")]))
    bench.now += timedelta(minutes=10)
    bench.see(study(version=2, conditions=going_on, trials=[row(0, state)]))
    assert bench.value(name) == 0
    bench.now += timedelta(minutes=10)
    bench.see(study(version=3, conditions=going_on, trials=[row(0, state) | {"attempts": 2}]))
    assert bench.value(name) == 0
