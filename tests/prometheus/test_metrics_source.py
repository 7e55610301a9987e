"""The operator's metrics source queries a real Prometheus, which scrapes runners and other exporters."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engines.specs import make_run_spec
from factories.studies import make_measured
from infpop_operator.adapters.prometheus import PrometheusMetrics
from infpop_operator.core.extra_metrics import PRESETS, ExtraMetric, Preset
from infpop_operator.core.model import Missing, Sample, Value, WatchedRun
from infpop_operator.core.ports import PrometheusSource
from infpop_operator.settings import PrometheusSettings
from infpop_runner.metrics import RunMetrics
from prometheus.discovery import static_targets
from prometheus.exporters import serving
from prometheus.faults import Fault, FaultyProxy
from prometheus.server import PrometheusServer

pytestmark = pytest.mark.prometheus

T = TypeVar("T")
Window = tuple[datetime, datetime]
HOSTILE = 'a"} or up{b="\\\'`\n\u2028\U0001f600'
SPEC = make_run_spec(namespace="serving", study="study", run="study-1", batches=(4, 8))
PLACE = {"namespace": "serving", "pod": "study-1-x7f"}


class Node(Collector):
    """Two GPUs of the run's Pod and one of another, and the Pod's CPU, as dcgm-exporter and cAdvisor show them."""

    def __init__(self) -> None:
        self._began = now()

    def collect(self) -> Iterator[Metric]:
        """Yield the families; GPUs differ, and the whole Pod uses slightly more CPU than its container."""
        yield self._family("DCGM_FI_DEV_GPU_UTIL", (80.0, 90.0, 5.0))
        yield self._family("DCGM_FI_DEV_POWER_USAGE", (300.0, 310.0, 50.0))
        yield self._family("DCGM_FI_DEV_FB_USED", (1000.0, 1500.0, 9000.0))
        read_at = now()
        seconds = (read_at - self._began).total_seconds()
        cpu = CounterMetricFamily("container_cpu_usage_seconds", "Of a container", labels=("container", *PLACE))
        for container, cores in (("", 1.5), ("runner", 1.4)):
            cpu.add_metric((container, *PLACE.values()), cores * seconds, timestamp=read_at.timestamp())
        yield cpu

    def _family(self, name: str, values: tuple[float, ...]) -> Metric:
        family = GaugeMetricFamily(name, "Of a GPU", labels=("gpu", "UUID", "Hostname", "container", *PLACE))
        for gpu, value in enumerate(values):
            pod = PLACE["pod"] if gpu < 2 else "another"
            family.add_metric((str(gpu), f"GPU-{gpu}", "node", "runner", PLACE["namespace"], pod), value)
        return family


def runner(number: float, **changes: str) -> Collector:
    """Return the metrics of a runner that has measured its first trial."""
    metrics = RunMetrics(SPEC.model_copy(update=changes))
    metrics.trial_ended(make_measured(number, index=0, batch_size=4))
    return metrics.registry


class Watched:
    """A Prometheus, and a run that started with it."""

    def __init__(self, url: str, began: datetime, window: Window | None = None) -> None:
        self.url = url
        self.began = began
        self.window = window or (began, began)  # in which every target was scraped several times

    def ask(self, question: Callable[[PrometheusSource], Awaitable[T]]) -> T:
        """Return the answer of a source that queries this Prometheus."""

        async def go() -> T:
            settings = PrometheusSettings(url=self.url, timeout_seconds=2.0, patience_seconds=1.0)
            async with PrometheusMetrics(settings, now=now, count=lambda _: None) as source:
                return await question(source)

        return asyncio.run(go())

    def run(self, **changes: object) -> WatchedRun:
        """Return the run, ending now, with these changes."""
        usual = WatchedRun(**PLACE, study="study", run="study-1", started_at=self.began, ended_at=now(), trials=(0,))
        return replace(usual, **changes)

    def sample(self, **changes: object) -> Sample:
        """Return Prometheus' value for the first trial of the run with these changes."""
        return self.ask(lambda source: source.samples(self.run(**changes)))[0]

    def figure(self, metric: ExtraMetric, window: Window) -> float | Missing:
        """Return an extra metric of a trial that was measured between two times."""
        return self.ask(lambda source: source.extra_metrics(self.run(), {0: window}, (metric,)))[0][metric.name]


def now() -> datetime:
    """Return the current time that all components share."""
    return datetime.now(UTC)  # noqa: TID251 - the edge of the tests


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Yield a Prometheus that has scraped runners and the exporters of a node, some of them twice."""
    began = now()
    with ExitStack() as stack:

        def serve(collector: Collector) -> str:
            return stack.enter_context(serving(collector))

        node, twice = serve(Node()), serve(runner(5.0, run="twice"))
        scrapes = [
            static_targets("runner", serve(runner(1234.5678)), labels=PLACE),
            static_targets("honored", serve(runner(1e-3, run="honored")), honor_labels=True, labels=PLACE),
            static_targets("hostile", serve(runner(7.0, namespace=HOSTILE, study=HOSTILE, run=HOSTILE))),
            static_targets("twice-a", twice, labels=PLACE),
            static_targets("twice-b", twice, labels=PLACE),
            static_targets("node", node, labels={"namespace": "gpu-operator", "pod": "dcgm-exporter-1"}),
            static_targets("node-honored", node, honor_labels=True),
        ]
        server = stack.enter_context(PrometheusServer(tmp_path_factory.mktemp("prometheus"), scrapes))
        server.wait_for(f"count(up == 1) == {len(scrapes)}")
        first = now()
        server.wait_for("min(count_over_time(DCGM_FI_DEV_FB_USED[1m])) > 5")
        yield Watched(server.url, began, (first, now()))


def test_a_throughput_is_the_runners_own(watched: Watched) -> None:
    """It is exact to the last digit, with the runner's label or with that of Prometheus."""
    assert watched.sample() == Value(tokens_per_second=1234.5678)
    assert watched.sample(run="honored") == Value(tokens_per_second=1e-3)


def test_hostile_names_are_names(watched: Watched) -> None:
    """Quotes, backslashes and line ends match the run of that name and no other."""
    names = {"namespace": HOSTILE, "study": HOSTILE, "run": HOSTILE}
    assert watched.sample(**names) == Value(tokens_per_second=7.0)
    assert watched.sample(run='study-1"} or {run="study-1') == Missing(reason="Empty")


def test_what_was_scraped_twice_is_not_a_number(watched: Watched) -> None:
    """Two series may come from two runs, so they give no number."""
    assert watched.sample(run="twice") == Missing(reason="TwoSeries")


def test_an_earlier_run_of_that_name_is_not_this_one(watched: Watched) -> None:
    """Samples from before the run started or after it ended are ignored."""
    assert watched.sample(started_at=now() + timedelta(hours=1)) == Missing(reason="Empty")
    earlier = {"started_at": watched.began - timedelta(hours=1), "ended_at": watched.began - timedelta(minutes=10)}
    assert watched.sample(**earlier) == Missing(reason="Empty")


@pytest.mark.parametrize(
    ("preset", "number"),
    [("gpuUtilization", 85.0), ("gpuPower", 610.0), ("gpuMemory", 1500.0 * 1024**2), ("cpuUsage", 1.5)],
)
def test_ready_made_queries_count_nothing_twice(watched: Watched, preset: Preset, number: float) -> None:
    """One exporter is scraped with its own labels and without: only the run's GPUs count, each once."""
    query, unit, across_gpus = PRESETS[preset]
    metric = ExtraMetric(name=preset, query=query, unit=unit, across_gpus=across_gpus)
    found = watched.figure(metric, watched.window)
    assert found == pytest.approx(number, rel=0.1 if preset == "cpuUsage" else 1e-9)


@pytest.mark.parametrize(
    ("query", "figure"),
    [
        ("sum(DCGM_FI_DEV_POWER_USAGE{pod=", Missing(reason="QueryRejected")),
        ("DCGM_FI_DEV_POWER_USAGE[$window]", Missing(reason="QueryRejected")),
        ("DCGM_FI_DEV_POWER_USAGE", Missing(reason="TwoSeries")),
        ('none{pod="$pod"}', Missing(reason="Empty")),
        ("vector(0) / vector(0)", Missing(reason="NotANumber")),
        ("vector(-1)", Missing(reason="WrongUnit")),
        ("scalar(vector(5))", 5.0),
        ('"text"', Missing(reason="QueryRejected")),
    ],
)
def test_a_studys_query_gives_a_number_or_a_reason(watched: Watched, query: str, figure: float | Missing) -> None:
    """The reason contains the words of a real Prometheus."""
    metric = ExtraMetric(name="metric", query=query, unit="watts")
    assert watched.figure(metric, watched.window) == figure


def test_a_sample_from_before_a_trial_is_not_the_trials(watched: Watched) -> None:
    """A query without a range also looks back no further than the trial's start."""
    query, later = 'max(DCGM_FI_DEV_POWER_USAGE{exported_pod="$pod"})', now() + timedelta(minutes=2)
    metric = ExtraMetric(name="power", query=query, unit="watts")
    assert watched.figure(metric, watched.window) == 310.0
    found = watched.figure(metric, (later - timedelta(seconds=30), later))
    assert found == Missing(reason="Empty")


@pytest.mark.parametrize(
    ("fault", "sample"),
    [
        ("none", Value(tokens_per_second=1234.5678)),
        ("unavailable", Missing(reason="PrometheusUnreachable")),
        ("unauthorized", Missing(reason="PrometheusRefused")),
        ("html", Missing(reason="BadAnswer")),
        ("half", Missing(reason="BadAnswer")),
        ("hangs", Missing(reason="TimedOut")),
        ("duplicates", Missing(reason="TwoSeries")),
        ("empty", Missing(reason="Empty")),
    ],
)
def test_a_fault_of_a_proxy_before_prometheus_makes_no_number(watched: Watched, fault: Fault, sample: Sample) -> None:
    """A gateway without backend, a login page, a truncated or duplicated answer: each gives a reason."""
    with FaultyProxy(watched.url) as proxy:
        proxy.fault = fault
        assert Watched(proxy.url, watched.began).sample() == sample


def test_an_outage_comes_and_goes(tmp_path: Path) -> None:
    """While it is down, Prometheus has no number; restarted, it has the earlier ones."""
    began = now()

    async def go(server: PrometheusServer) -> tuple[Sample, ...]:
        run = Watched(server.url, began).run()
        settings = PrometheusSettings(url=server.url, patience_seconds=1.0)
        async with PrometheusMetrics(settings, now=now, count=lambda _: None) as source:
            server.stop()
            away = (await source.samples(run))[0]
            assert source.outage is not None
            server.start()
            await source.probe()
            assert source.outage is None
            return away, (await source.samples(run))[0]

    with serving(runner(5.0)) as address:
        scrapes = [static_targets("runner", address, labels=PLACE)]
        with PrometheusServer(tmp_path, scrapes) as server:
            server.wait_for("infpop_trial_throughput_tokens_per_second")
            found = asyncio.run(go(server))
    assert found == (Missing(reason="PrometheusUnreachable"), Value(tokens_per_second=5.0))
