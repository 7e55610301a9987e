"""The series of studies: derived from statuses, bounded whatever a status holds, and removed with the study."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from annotated_types import MaxLen
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.status_samples import large_status
from factories.studies import START
from infpop_operator.api.spec import StudySpec
from infpop_operator.cluster.metrics.study_collector import MOST_STUDIES, StudyCollector
from infpop_operator.cluster.metrics.study_metrics import (
    CONDITIONS,
    MOST_POOLS,
    MOST_REASONS,
    OUTCOMES,
)
from infpop_operator.cluster.status_writer import dump_status

Labels = Mapping[str, str]
# Runs, best, its throughput, improvement and GPU-seconds, in addition to trials; an outcome may add "Other" and "".
MOST_OF_POOL = 5 + len(OUTCOMES) * (MOST_REASONS + 2)
MOST_OF_STUDY = len(CONDITIONS) + 1 + MOST_POOLS * MOST_OF_POOL


def study(name: str = "one", *, version: int = 1, uid: str = "", created: str = "", **status: object) -> dict[str, Any]:
    """Return a study with this status, as API server JSON."""
    metadata = {
        "namespace": "serving",
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": created or "2026-01-01T00:00:00Z",
    }
    return {"metadata": metadata, **({"status": status} if status else {})}


def conditions(**held: str) -> list[dict[str, Any]]:
    """Return conditions with these statuses."""
    return [
        {"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind, status in held.items()
    ]


def row(index: int, state: str, *, reason: str | None = None, pool: str = "a100", number: int = 1) -> dict[str, Any]:
    """Return a trial."""
    run = {"run": f"run-{index}", "attempts": 1, "gpuCount": 1, "batchSize": 8}
    return {"pool": pool, "round": number, "index": index, "state": state, "reason": reason, **run}


def live_run(state: str, since: str = "2026-07-01T00:00:00Z") -> dict[str, Any]:
    """Return a live run."""
    return {"name": "run-9", "pool": "a100", "gpuCount": 1, "batchSizes": [8], "state": state, "since": since}


class Bench:
    """A collector with its own clock."""

    def __init__(self) -> None:
        self.now = START
        self.collector = StudyCollector()
        self._registry = CollectorRegistry()
        self._registry.register(self.collector)

    def see(self, *bodies: dict[str, Any]) -> None:
        """Scrape while these studies exist."""
        self.collector.update(bodies, self.now)

    def page(self) -> str:
        """Return the text of a scrape."""
        return generate_latest(self._registry).decode()

    def series(self, name: str) -> list[tuple[Labels, float]]:
        """Return the series of this name, read as Prometheus reads them."""
        families = text_string_to_metric_families(self.page())
        samples = [sample for family in families for sample in family.samples]
        return [(sample.labels, sample.value) for sample in samples if sample.name == name]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one series, None without it."""
        found = [value for known, value in self.series(name) if labels.items() <= known.items()]
        assert len(found) <= 1
        return found[0] if found else None


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
            ],
        )
    )
    trials = {(found["outcome"], found["reason"]): value for found, value in bench.series("infpop_study_trials")}
    assert trials == {
        ("measured", ""): 1,
        ("measured", "ConstraintBroken"): 1,
        ("infeasible", "GpuOutOfMemory"): 1,
        ("running", ""): 1,
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


def test_what_is_not_known_has_no_series() -> None:
    """A pool without a best has neither throughput nor improvement, and a best without a baseline no improvement."""
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "gpuHours": "soon", "improvementPercent": "NaN"}]))
    for name in ("best_throughput_tokens_per_second", "best_info", "improvement_ratio", "gpu_seconds_total", "trials"):
        assert bench.series(f"infpop_study_{name}") == []
    assert bench.value("infpop_study_runs", pool="a100") == 0


def test_trials_whose_rows_were_left_out_count_all_the_same() -> None:
    """A status is cut to a size limit; its counts are not."""
    counts = {"total": 7, "measured": 2, "infeasible": 5, "invalid": 0, "broken": 0, "running": 0}
    bench = Bench()
    pool = {"name": "a100", "round": 1, "trials": counts}
    bench.see(study(pools=[pool], trials=[row(6, "Infeasible", reason="GpuOutOfMemory")]))
    assert bench.value("infpop_study_trials", outcome="infeasible", reason="GpuOutOfMemory") == 1
    assert bench.value("infpop_study_trials", outcome="infeasible", reason="") == 4
    assert bench.value("infpop_study_trials", outcome="measured", reason="") == 2


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


def test_at_most_a_thousand_studies_have_series() -> None:
    """Active studies come first, then the newest; the others are only counted."""
    ended, going_on = conditions(Succeeded="True"), conditions(Reconciling="True")
    old = [study(f"old-{number}", conditions=ended, created="2025-01-01T00:00:00Z") for number in range(2)]
    new = [study(f"new-{number}", conditions=ended, created="2026-01-01T00:00:00Z") for number in range(MOST_STUDIES)]
    active = study("active", conditions=going_on, created="2024-01-01T00:00:00Z")
    undecided = study("undecided", conditions=conditions(Ready="False"), created="2024-01-01T00:00:00Z")
    bench = Bench()
    bench.see(*old, *new, active, undecided)
    named = {found["study"] for found, _ in bench.series("infpop_study_condition")}
    assert len(named) == MOST_STUDIES
    assert {"active", "undecided"} <= named
    assert not named & {"old-0", "old-1"}
    assert bench.value("infpop_studies_without_series") == 4
    assert bench.value("infpop_studies", state="succeeded") == MOST_STUDIES + 2


def test_the_largest_status_has_few_series() -> None:
    """700 trials on a pool, 64 runs and 16 pools give some dozens of series, not hundreds."""
    bench = Bench()
    bench.see({**study(), "status": dump_status(large_status())})
    count = len(_study_series(bench.page()))
    assert 20 < count <= 60, count


def test_reasons_and_pools_beyond_what_a_spec_allows_are_bounded() -> None:
    """The most frequent reasons keep their names, the rest is counted together, and no trial is lost."""
    bench = Bench()
    reasons = ["Frequent", "Frequent", *(f"Reason{number}" for number in range(30))]
    rows = [row(index, "Broken", reason=reason) for index, reason in enumerate(reasons)]
    pools = [{"name": name, "round": 1} for name in ("a100", *(f"pool-{number}" for number in range(40)))]
    bench.see(study(pools=pools, trials=rows))
    trials = {found["reason"]: value for found, value in bench.series("infpop_study_trials")}
    assert len(trials) == MOST_REASONS + 1
    assert trials["Frequent"] == 2
    assert trials["Other"] == 30 - (MOST_REASONS - 1)
    assert len(bench.series("infpop_study_runs")) == MOST_POOLS


@pytest.mark.parametrize("amount", [MOST_REASONS - 1, MOST_REASONS, MOST_REASONS + 1])
def test_reasons_at_their_bound_keep_their_names(amount: int) -> None:
    """Up to the bound there is no "Other"; beyond it, "Other" has the trials of the rarest reason."""
    rows = [
        row(index, "Broken", reason=f"Reason{reason}")
        for index, reason in enumerate(each for each in range(amount) for _ in range(amount - each))
    ]
    bench = Bench()
    bench.see(study(pools=[{"name": "a100", "round": 1}], trials=rows))
    trials = {found["reason"]: value for found, value in bench.series("infpop_study_trials")}
    named = {f"Reason{reason}": amount - reason for reason in range(min(amount, MOST_REASONS))}
    assert trials == named | ({"Other": 1} if amount > MOST_REASONS else {})


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


hostile = st.text(st.characters(), max_size=80) | st.sampled_from(['"', "\\", "\n", "a\x00b", "\ud800", "é" * 80])
outcome = st.sampled_from([*(name.capitalize() for name in OUTCOMES), "Nonsense"])


@settings(max_examples=60)
@given(
    st.lists(hostile, max_size=40),
    st.lists(st.tuples(st.integers(0, 39), outcome, hostile), max_size=60),
    st.lists(st.text(max_size=12), min_size=1, max_size=4),
)
def test_whatever_a_status_holds_is_bounded(
    names: Sequence[str], trials: Sequence[tuple[int, str, str]], numbers: Sequence[str]
) -> None:
    """Whatever names, reasons and numbers a status holds: the page parses, has few series, and none twice."""
    pools = [{"name": name, "round": 1, "gpuHours": numbers[place % len(numbers)]} for place, name in enumerate(names)]
    rows = [
        row(index, state, reason=reason, pool=names[place % len(names)])
        for index, (place, state, reason) in enumerate(trials)
        if names
    ]
    bench = Bench()
    bench.see(study(conditions=conditions(Reconciling="True"), pools=pools, trials=rows))
    series = _study_series(bench.page())
    assert len(series) == len(set(series)) <= MOST_OF_STUDY


def _study_series(page: str) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    families = text_string_to_metric_families(page)
    samples = [sample for family in families for sample in family.samples]
    return [(sample.name, frozenset(sample.labels.items())) for sample in samples if "study" in sample.labels]


def test_the_bounds_are_the_specs() -> None:
    """The number of pools with series equals the limit of the spec."""
    bounds = [each.max_length for each in StudySpec.model_fields["node_pools"].metadata if isinstance(each, MaxLen)]
    assert bounds == [MOST_POOLS]
