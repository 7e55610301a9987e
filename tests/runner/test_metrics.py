"""Names, labels and values of the runner's metrics."""

from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from engines.specs import make_run_spec
from infpop_runner.contract import Infeasible, Measured, Skipped, TrialSpec
from infpop_runner.measure import PassOutcome
from infpop_runner.metrics import RunMetrics

RUN_LABELS = {"namespace", "study", "pool", "run", "gpu_count"}
TRIAL_LABELS = RUN_LABELS | {"trial", "batch_size"}
MEASURED = Measured(
    index=0,
    batch_size=4,
    throughput_tokens_per_second=10.0,
    spread_ratio=0.1,
    repeats=3,
    generated_tokens=30,
    measured_seconds=3.0,
    gpu_memory_peak_bytes=1024,
    missing=dict.fromkeys(("batch_seconds_p50", "batch_seconds_p95", "pad_ratio", "concurrency_peak"), "Unknown"),
)
SPEC = make_run_spec(namespace="serving", batches=(4, 8))


def scrape(metrics: RunMetrics) -> dict[str, Metric]:
    """Return the metric families of a scrape, by name."""
    families: Iterable[Metric] = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {family.name: family for family in families}


def finished_run() -> RunMetrics:
    """Return the metrics of a run with one measured and one infeasible trial."""
    metrics = RunMetrics(SPEC)
    metrics.started(datetime(2026, 1, 1, tzinfo=UTC))
    metrics.loaded(12.5, {"engine": "vllm"})
    metrics.observe_pass(
        TrialSpec(index=0, batch_size=4), PassOutcome(seconds=1.0, generated=(5, 5), intervals=((0.0, 0.5), (0.5, 1.0)))
    )
    metrics.trial_ended(MEASURED)
    metrics.trial_ended(Infeasible(index=1, batch_size=8, reason="GpuOutOfMemory"))
    metrics.enter("done")
    return metrics


def test_names_and_labels_are_those_of_the_design() -> None:
    """Every series carries the study's bounded labels and no other."""
    expected = {
        "infpop_run_state": RUN_LABELS | {"state"},
        "infpop_run": RUN_LABELS | {"engine"},
        "infpop_run_start_time_seconds": RUN_LABELS,
        "infpop_model_load_seconds": RUN_LABELS,
        "infpop_gpu_memory_peak_bytes": RUN_LABELS,
        "infpop_trial_state": TRIAL_LABELS | {"state"},
        "infpop_trial_throughput_tokens_per_second": TRIAL_LABELS,
        "infpop_trial_throughput_spread_ratio": TRIAL_LABELS,
        "infpop_trial_measured_seconds": TRIAL_LABELS,
        "infpop_generated_tokens": TRIAL_LABELS,
        "infpop_trial_batch_seconds": TRIAL_LABELS,
    }
    families = scrape(finished_run())
    found = {
        name: {label for sample in family.samples for label in sample.labels} - {"le"}
        for name, family in families.items()
    }
    # The text format calls an Info a gauge with the suffix in its name.
    found["infpop_run"] = found.pop("infpop_run_info")
    assert found == expected


def test_a_skipped_trial_has_a_state_and_no_number() -> None:
    """A user who looks at a run sees that nothing of it is outstanding."""
    metrics = RunMetrics(SPEC)
    metrics.trial_ended(Skipped(index=1, batch_size=8, detail="not worthwhile"))
    families = scrape(metrics)
    states = [sample for sample in families["infpop_trial_state"].samples if sample.labels["trial"] == "1"]
    assert [sample.labels["state"] for sample in states if sample.value == 1.0] == ["skipped"]
    assert families["infpop_trial_throughput_tokens_per_second"].samples == []


def test_the_memory_peak_of_a_run_never_falls() -> None:
    """A smaller batch after a larger one may have a smaller peak of its own."""
    metrics = finished_run()
    smaller = MEASURED.model_copy(update={"index": 1, "batch_size": 2, "gpu_memory_peak_bytes": 512})
    metrics.trial_ended(smaller)
    (sample,) = scrape(metrics)["infpop_gpu_memory_peak_bytes"].samples
    assert sample.value == 1024.0


def test_values_are_those_of_the_result() -> None:
    """The metrics after a trial equal its result."""
    families = scrape(finished_run())

    def value(name: str) -> float:
        (sample,) = families[name].samples
        return float(sample.value)

    assert value("infpop_trial_throughput_tokens_per_second") == 10.0
    assert value("infpop_trial_throughput_spread_ratio") == 0.1
    assert value("infpop_trial_measured_seconds") == 3.0
    assert value("infpop_generated_tokens") == 10.0
    assert value("infpop_model_load_seconds") == 12.5
    assert value("infpop_gpu_memory_peak_bytes") == 1024.0
    assert value("infpop_run_start_time_seconds") == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_exactly_one_state_holds() -> None:
    """A run, and each of its trials, is in exactly one state at a time."""
    families = scrape(finished_run())
    states = {
        (sample.labels.get("trial"), sample.labels["state"])
        for name in ("infpop_run_state", "infpop_trial_state")
        for sample in families[name].samples
        if sample.value == 1.0
    }
    assert states == {(None, "done"), ("0", "measured"), ("1", "infeasible")}


def test_a_number_that_is_not_known_yet_is_absent() -> None:
    """Before anything was measured there is no series that could be read as zero."""
    families = scrape(RunMetrics(SPEC))
    assert {name for name, family in families.items() if family.samples} == {"infpop_run_state", "infpop_trial_state"}
