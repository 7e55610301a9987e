"""Metrics of a run from its sources: in the order of the settings, asked once, and dropped with the run."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import pytest

from factories.studies import START, make_measured
from infpop_operator.api.status_context import PrometheusHealth
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.study_memory import StudyMemories, StudyMemory
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Finished, Missing, Sample, Value, WatchedRun
from infpop_runner.contract import Provenance, RunResult

KEY = StudyKey("serving", "study")
POWER = ExtraMetric(name="power", query="power", unit="watts")


@dataclass
class Notes:
    """A source that knows every value and records each question."""

    name: str
    number: float
    outage: str | None = None
    asked: list[WatchedRun] = field(default_factory=list)

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return one number for the first trial."""
        self.asked.append(watched)
        return {0: Value(tokens_per_second=self.number)}

    async def extra_metrics(
        self,
        watched: WatchedRun,  # noqa: ARG002 - there is only one run
        windows: Mapping[int, tuple[datetime, datetime]],
        metrics: Sequence[ExtraMetric],
    ) -> Mapping[int, Mapping[str, float | Missing]]:
        """Return 300 for every metric of every trial."""
        return {index: {metric.name: 300.0 for metric in metrics} for index in windows}

    async def probe(self) -> None:
        """Do nothing: this source always answers."""


def make_finished(run: str = "study-1") -> Finished:
    """Return a run with one measured trial of 100 tokens/s."""
    measured = make_measured(100.0).model_copy(update={"window_seconds": (10.0, 40.0)})
    end = START + timedelta(minutes=1)
    result = RunResult(
        run=run, trials=(measured,), provenance=Provenance(engine="vllm"), started_at=START, ended_at=end
    )
    return Finished(result=result, ended_at=end)


gathering = partial(MetricsGatherer, done=lambda _: None)


def gathered(gatherer: MetricsGatherer, *metrics: ExtraMetric, memory: StudyMemory | None = None) -> Finished:
    """Return all that is known of the run if every source answers immediately."""
    memory = memory or StudyMemory(key=KEY)
    whole = asyncio.run(gatherer.gather(memory, make_finished(), "pod", metrics))
    assert whole is not None
    return whole


class Silent(Notes):
    """A source that does not answer until `answers` is set."""

    answers: asyncio.Event

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Wait, then answer."""
        await self.answers.wait()
        return await super().samples(watched)


class Failing(Notes):
    """A source with a defect."""

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Fail once."""
        self.asked.append(watched)
        if len(self.asked) == 1:
            raise RuntimeError("a defect")
        return {}


def test_the_order_of_the_settings_decides_which_source_counts() -> None:
    """The first source gives the number; the others only have to agree."""
    pods, prometheus = Notes("PodMetrics", 100.2), Notes("Prometheus", 100.1)
    gatherer = gathering(pods=pods, prometheus=prometheus, order=("PodMetrics", "Prometheus"))
    assert gathered(gatherer).sources == {0: "PodMetrics"}
    gatherer = gathering(pods=pods, prometheus=prometheus, order=("Prometheus",))
    assert gathered(gatherer).sources == {0: "Prometheus"}


def test_a_run_is_queried_once() -> None:
    """However many passes observe a run before its end is recorded, no source is asked twice; then it is dropped."""
    prometheus, memory = Notes("Prometheus", 100.0), StudyMemory(key=KEY)
    gatherer = gathering(pods=Notes("PodMetrics", 100.0), prometheus=prometheus, order=("Prometheus",))
    assert gathered(gatherer, memory=memory) == gathered(gatherer, memory=memory)
    memory.drop_ended_runs({"study-1"})
    gathered(gatherer, memory=memory)
    assert [watched.pod for watched in prometheus.asked] == ["pod"]
    memory.drop_ended_runs(())
    gathered(gatherer, memory=memory)
    assert len(prometheus.asked) == 2


def test_a_source_knows_how_many_gpus_the_run_has() -> None:
    """Otherwise a source cannot notice that a GPU is missing from an exporter's answer."""
    prometheus = Notes("Prometheus", 100.0)
    gatherer = gathering(pods=Notes("PodMetrics", 100.0), prometheus=prometheus, order=("Prometheus",))
    asyncio.run(gatherer.gather(StudyMemory(key=KEY), make_finished(), "pod", (POWER,), gpu_count=4))
    assert [watched.gpu_count for watched in prometheus.asked] == [4]


def test_a_pass_does_not_wait_for_a_source_that_does_not_answer() -> None:
    """This pass and the next get no answer; the study is reconciled again when the source answers."""
    prometheus, memory = Silent("Prometheus", 100.0), StudyMemory(key=KEY)
    told: list[StudyKey] = []

    async def passes() -> None:
        prometheus.answers, woken = asyncio.Event(), asyncio.Event()
        gatherer = MetricsGatherer(
            pods=Notes("PodMetrics", 100.0),
            prometheus=prometheus,
            order=("Prometheus",),
            done=lambda key: (told.append(key), woken.set())[0],
            moment_s=0.0,
        )
        for _ in range(2):
            assert await gatherer.gather(memory, make_finished(), "pod", ()) is None
        prometheus.answers.set()
        await woken.wait()
        whole = await gatherer.gather(memory, make_finished(), "pod", ())
        assert whole is not None
        assert whole.sources == {0: "Prometheus"}

    asyncio.run(passes())
    assert (told, len(prometheus.asked)) == ([KEY], 1)


def test_unanswered_requests_end_with_the_run() -> None:
    """Pending requests are cancelled when the study is deleted or the operator ends."""
    prometheus, memories = Silent("Prometheus", 100.0), StudyMemories()

    async def passes() -> None:
        prometheus.answers = asyncio.Event()
        gatherer = gathering(pods=prometheus, prometheus=prometheus, order=("Prometheus",), moment_s=0.0)
        for end in (lambda: memories.of(KEY).drop_ended_runs(()), lambda: memories.drop(KEY)):
            assert await gatherer.gather(memories.of(KEY), make_finished(), "pod", ()) is None
            end()
            assert memories.of(KEY).requests == {}
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    asyncio.run(passes())
    assert prometheus.asked == []


def test_a_defect_of_a_source_is_reported_and_the_query_repeated() -> None:
    """The defect costs the study a pause, not its numbers."""
    gatherer = gathering(pods=Failing("PodMetrics", 100.0), prometheus=None, order=("PodMetrics",))
    memory = StudyMemory(key=KEY)
    with pytest.raises(RuntimeError, match="a defect"):
        gathered(gatherer, memory=memory)
    assert gathered(gatherer, memory=memory).sources == {}


def test_extra_metrics_come_from_prometheus() -> None:
    """Every measured trial gets every metric that its study names."""
    gatherer = gathering(pods=Notes("PodMetrics", 100.0), prometheus=Notes("Prometheus", 100.0), order=("PodMetrics",))
    assert gathered(gatherer, POWER).extra_metrics == {0: {"power": 300.0}}


def test_extra_metrics_without_prometheus_have_a_reason() -> None:
    """A metric that no source can give is missing with a reason, never zero, and removes no number."""
    gatherer = gathering(pods=Notes("PodMetrics", 100.0), prometheus=None, order=("Prometheus", "PodMetrics"))
    whole = gathered(gatherer, POWER)
    assert whole.extra_metrics == {0: {"power": Missing(reason="NoPrometheus")}}
    assert whole.sources == {0: "PodMetrics"}


def test_an_outage_is_known_only_with_a_prometheus() -> None:
    """Without Prometheus nothing can be unreachable."""
    pods = Notes("PodMetrics", 100.0)
    assert gathering(pods=pods, prometheus=None, order=()).health() is None
    down = Notes("Prometheus", 1.0, outage="no answer since 12:00")
    health = gathering(pods=pods, prometheus=down, order=("Prometheus",)).health()
    assert health == PrometheusHealth(outage="no answer since 12:00")


class Counting(Silent):
    """A source that counts the requests that it has received."""

    received = 0

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Wait, then answer."""
        self.received += 1
        return await super().samples(watched)


def test_concurrent_queries_are_limited_to_the_connections() -> None:
    """The other requests wait for their turn; each is made in the end."""

    async def play() -> tuple[int, int]:
        source = Counting("PodMetrics", 1.0)
        source.answers = asyncio.Event()
        gatherer = gathering(pods=source, prometheus=None, order=("PodMetrics",), moment_s=0.0)
        memory = StudyMemory(key=KEY)
        for number in range(20):
            await gatherer.gather(memory, make_finished(f"study-{number}"), "pod", ())
        at_once = source.received
        source.answers.set()
        await asyncio.gather(*(request.task for request in memory.requests.values()))
        return at_once, source.received

    assert asyncio.run(play()) == (16, 20)
