"""The operator's metrics about itself, and their bounds."""

from dataclasses import replace

import pytest
from prometheus_client import generate_latest

from api.status_samples import ended_run, run_of
from factories.runs import make_round
from factories.studies import START, at, make_cell, make_measured
from infpop_operator.adapters.kube.errors import KubeConflictError, KubeUnavailableError
from infpop_operator.cluster.metrics.operator_metrics import MOST_REASONS, BoundedLabel, OperatorMetrics
from infpop_operator.core.model import POOL_CHANGED, EndedRun, Finished, Lost, Published, Round


class Bench:
    """Metrics with a clock of their own."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.metrics = OperatorMetrics(lambda: self.now_s)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a series, None without one."""
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "ok"),
        (KubeConflictError("409"), "conflict"),
        (KubeUnavailableError("no answer"), "error"),
        (KeyError("defect"), "unexpected"),
    ],
)
def test_a_reconcile_is_counted_by_its_result(error: Exception | None, result: str) -> None:
    """It is counted once, with its time; other results start at zero, so that a first failure shows as a rate."""
    bench = Bench()
    bench.metrics.count_reconcile(0.25, error)
    results = ("ok", "conflict", "error", "unexpected")
    counted = {each: bench.value("infpop_operator_reconciles_total", result=each) for each in results}
    assert counted == {each: float(each == result) for each in results}
    assert bench.value("infpop_operator_reconcile_seconds_sum") == 0.25


def test_the_time_since_the_last_success_grows_until_a_reconcile_succeeds() -> None:
    """A failed reconcile is no progress; a successful one is, and so is an empty queue."""
    bench, name = Bench(), "infpop_operator_last_pass_age_seconds"
    bench.now_s += 60
    bench.metrics.count_reconcile(1.0, KubeUnavailableError("no answer"))
    assert bench.value(name) == 60
    bench.metrics.count_reconcile(1.0, None)
    assert bench.value(name) == 0
    bench.now_s += 30
    bench.metrics.note_progress()
    bench.now_s += 5
    assert bench.value(name) == 5


def test_a_request_without_an_answer_has_no_code() -> None:
    """It is counted all the same."""
    bench = Bench()
    bench.metrics.count_api_request("GET", 200)
    bench.metrics.count_api_request("PUT", None)
    assert bench.value("infpop_operator_api_requests_total", verb="GET", code="200") == 1
    assert bench.value("infpop_operator_api_requests_total", verb="PUT", code="none") == 1


def ended(*, held_seconds: float | None, **missing_sources: str) -> EndedRun:
    """Return a run on 8 GPUs that was held for a scrape, and for which these sources had no number."""
    entry = ended_run(run_of(0, 1), make_measured(100.0, index=0, batch_size=1))
    assert isinstance(entry.observation, Finished)
    result = entry.observation.result.model_copy(update={"held_seconds": held_seconds})
    return replace(entry, observation=replace(entry.observation, result=result, missing_sources=missing_sources))


def test_a_held_run_costs_all_its_gpus() -> None:
    """Seconds count once, GPU-seconds once for each GPU; a run that was not held counts as none."""
    bench = Bench()
    bench.metrics.count_ended_run(ended(held_seconds=4.0))
    bench.metrics.count_ended_run(ended(held_seconds=None))
    assert bench.value("infpop_run_held_seconds_sum") == 4
    assert bench.value("infpop_run_held_seconds_count") == 1
    assert bench.value("infpop_held_gpu_seconds_total") == 32


def test_a_source_that_lacks_a_number_is_counted_with_its_reason() -> None:
    """It is counted once for each run; a run without a result is not counted."""
    bench = Bench()
    bench.metrics.count_ended_run(ended(held_seconds=None, Prometheus="Empty", PodMetrics="NotSeen"))
    bench.metrics.count_ended_run(ended(held_seconds=None, Prometheus="Empty"))
    lost = Lost(reason="NodeLost", ended_at=START)
    bench.metrics.count_ended_run(replace(ended(held_seconds=None), observation=lost))
    assert bench.value("infpop_source_missing_total", source="Prometheus", reason="Empty") == 2
    assert bench.value("infpop_source_missing_total", source="PodMetrics", reason="NotSeen") == 1
    assert bench.value("infpop_run_held_seconds_count") == 0


def test_reasons_of_a_source_are_bounded() -> None:
    """Reasons from a source become single words, at most as many as the label allows."""
    bench = Bench()
    for number in range(500):
        bench.metrics.count_ended_run(ended(held_seconds=None, Prometheus=f'Empty {number}"}}\n'))
        bench.metrics.count_prometheus_query(f"Outcome{number}")
    page = generate_latest(bench.metrics.registry).decode()
    for family in ("infpop_source_missing_total{", "infpop_prometheus_queries_total{"):
        series = [line for line in page.splitlines() if line.startswith(family)]
        assert len(series) <= MOST_REASONS + 2  # "Other", and the "ok" that exists from the start
        assert sum(float(line.rpartition(" ")[2]) for line in series) == 500
    assert bench.value("infpop_source_missing_total", source="Prometheus", reason="Empty0") == 1


@pytest.mark.parametrize(
    ("values", "shown"), [("a", ["a"]), ("ab", ["a", "b"]), ("abcab", ["a", "b", "Other", "a", "b"])]
)
def test_a_label_keeps_its_first_values(values: str, shown: list[str]) -> None:
    """Up to its bound each value is shown; beyond it the first ones stay and every other one is "Other"."""
    label = BoundedLabel(2)
    assert [label.of(value) for value in values] == shown


def test_the_bounds_of_labels_are_apart() -> None:
    """The maximum number of sources takes no room from reasons and outcomes."""
    bench = Bench()
    sources = {f"Source{number}": "Empty" for number in range(MOST_REASONS + 1)}
    bench.metrics.count_ended_run(ended(held_seconds=None, **sources))
    bench.metrics.count_prometheus_query("TimedOut")
    last = f"Source{MOST_REASONS - 1}"
    assert bench.value("infpop_source_missing_total", source=last, reason="Empty") == 1
    assert bench.value("infpop_source_missing_total", source="Other", reason="Empty") == 1
    assert bench.value("infpop_prometheus_queries_total", outcome="TimedOut") == 1


def test_prometheus_queries_are_there_before_the_first() -> None:
    """A rate needs a zero sample before the first query."""
    assert Bench().value("infpop_prometheus_queries_total", outcome="ok") == 0


def test_the_queue_and_the_process_are_shown() -> None:
    """The depth is the last one that was set."""
    bench = Bench()
    bench.metrics.set_queue_depth(7)
    assert bench.value("infpop_operator_queue_depth") == 7
    assert bench.value("process_resident_memory_bytes")


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("infpop_operator_reconcile_seconds", "0.001", "65.536"), ("infpop_run_held_seconds", "1.0", "600.0")],
)
def test_the_buckets_reach_from_the_shortest_to_the_longest_time(name: str, least: str, most: str) -> None:
    """A reconcile that changes nothing takes a millisecond; a run is held for at most ten minutes."""
    page = generate_latest(Bench().metrics.registry).decode()
    bounds = [line.split('"')[1] for line in page.splitlines() if line.startswith(f"{name}_bucket")]
    assert (bounds[0], bounds[-2], bounds[-1]) == (least, most, "+Inf")


def test_nothing_says_when_a_counter_was_made() -> None:
    """Such series would double the number of series."""
    assert b"_created" not in generate_latest(Bench().metrics.registry)


def test_a_round_is_counted_when_it_begins_and_when_it_is_resumed() -> None:
    """It is recorded again for other reasons, which count nothing."""
    bench, first = Bench(), make_round(trigger=None)
    second = make_round(number=2, trigger=POOL_CHANGED)
    back = replace(first, resumed=1, resumed_at=at(9), trigger=POOL_CHANGED)
    for before, after in ((None, first), (first, replace(first, hardware=None)), (None, second), (first, back)):
        bench.metrics.count_round(before, after)
    bench.metrics.count_round(None, make_round(number=3))  # of a version that did not say why

    def rounds(reason: str, start: str) -> float | None:
        return bench.value("infpop_rounds_total", reason=reason, start=start)

    assert rounds("FirstRound", "new") == 1
    assert rounds("HardwareChanged", "new") == 1
    assert rounds("HardwareChanged", "resumed") == 1
    assert rounds("Other", "new") == 1
    assert rounds("FirstRound", "resumed") is None


def test_what_is_published_is_counted_once_for_each_change() -> None:
    """The reasons are bounded, as they may come from a journal that another version wrote."""
    bench = Bench()

    def published(reason: str, seconds: float) -> Round:
        return make_round(published=Published(index=0, configuration=make_cell(1, 8), at=at(seconds), reason=reason))

    one, other = published("Better", 1), published("Better", 2)
    for before, after in ((make_round(), one), (one, one), (one, other)):
        bench.metrics.count_round(before, after)
    assert bench.value("infpop_publications_total", reason="Better") == 2
    for number in range(MOST_REASONS):
        bench.metrics.count_round(make_round(), published(f"Reason{number}", number))
    assert bench.value("infpop_publications_total", reason="Other") == 1
