"""Which end of a run the metrics sources are queried about, and what they get to know of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from factories.studies import START, make_measured
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.study_memory import Ending, StudyMemory
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Finished, Missing, Sample, WatchedRun
from infpop_runner.contract import Infeasible, Provenance, RunResult, TrialResult

KEY = StudyKey("serving", "study")
POWER = ExtraMetric(name="power", query="power", unit="watts")
WINDOW = {"window_seconds": (10.0, 40.0)}
MEASURED = make_measured(100.0).model_copy(update=WINDOW)


@dataclass
class Prometheus:
    """A source that records what it is asked, and answers when `may_answer` is set."""

    name: str = "Prometheus"
    outage: str | None = None
    asked: list[WatchedRun] = field(default_factory=list)
    windows: list[Mapping[int, tuple[datetime, datetime]]] = field(default_factory=list)
    cancelled: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return nothing, once that is allowed."""
        self.asked.append(watched)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {}

    async def extra_metrics(
        self,
        watched: WatchedRun,  # noqa: ARG002 - there is only one run
        windows: Mapping[int, tuple[datetime, datetime]],
        metrics: Sequence[ExtraMetric],
    ) -> Mapping[int, Mapping[str, float | Missing]]:
        """Return 300 for every metric of every trial."""
        self.windows.append(windows)
        return {index: {metric.name: 300.0 for metric in metrics} for index in windows}

    async def probe(self) -> None:
        """Do nothing."""


Gather = Callable[[Finished, tuple[ExtraMetric, ...]], Awaitable[Finished | None]]


def infeasible(index: int) -> Infeasible:
    """Return a trial that did not fit."""
    return Infeasible(index=index, batch_size=64, reason="GpuOutOfMemory", detail="")


def make_end(*trials: TrialResult, seconds: float = 60) -> Finished:
    """Return a run that ended this long after its start, according to its Pod; its runner took a minute."""
    result = RunResult(
        run="study-1",
        trials=trials or (MEASURED,),
        provenance=Provenance(engine="vllm"),
        started_at=START + timedelta(seconds=5),
        ended_at=START + timedelta(seconds=60),
    )
    return Finished(result=result, ended_at=START + timedelta(seconds=seconds))


def played(
    play: Callable[[Prometheus, Gather], Awaitable[None]], *, has_prometheus: bool = True, waits: bool = False
) -> Prometheus:
    """Play with a gatherer, and return its source. Without `waits`, no pass waits for an answer."""

    async def run() -> Prometheus:
        source, memory = Prometheus(), StudyMemory(key=KEY)
        gatherer = MetricsGatherer(
            pods=source,
            prometheus=source if has_prometheus else None,
            order=("Prometheus",) if has_prometheus else ("PodMetrics",),
            done=lambda _: None,
            moment_s=10.0 if waits else 0.0,
        )
        await play(source, lambda end, metrics: gatherer.gather(memory, end, "pod", metrics))
        return source

    return asyncio.run(run())


async def turn() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_end_that_changes_during_a_query_is_queried_again() -> None:
    """The first request is cancelled, and its answer does not become that of the new end."""
    first, second = make_end(), make_end(MEASURED, infeasible(1))

    async def play(source: Prometheus, gather: Gather) -> None:
        assert await gather(first, ()) is None
        await turn()
        assert await gather(second, ()) is None
        await turn()
        assert source.cancelled == 1
        source.may_answer.set()
        await turn()
        whole = await gather(second, ())
        assert whole is not None
        assert len(whole.result.trials) == 2

    assert len(played(play).asked) == 2


def test_a_query_covers_the_whole_run_and_its_measured_trials() -> None:
    """The Pod's end counts, not the runner's: the last scrape comes after the result was written."""
    end = make_end(infeasible(0), make_measured(10.0, index=1), seconds=90)

    async def play(source: Prometheus, gather: Gather) -> None:
        source.may_answer.set()
        assert await gather(end, ()) is not None

    (watched,) = played(play, waits=True).asked
    assert watched == WatchedRun(
        namespace="serving",
        study="study",
        run="study-1",
        pod="pod",
        started_at=START + timedelta(seconds=5),
        ended_at=START + timedelta(seconds=90),
        trials=(1,),
    )


def test_extra_metrics_are_queried_for_the_windows_of_measured_trials() -> None:
    """A trial without a window, or without a number, has no time about which to ask."""
    end = make_end(MEASURED, make_measured(5.0, index=1, batch_size=2), infeasible(2))

    async def play(source: Prometheus, gather: Gather) -> None:
        source.may_answer.set()
        whole = await gather(end, (POWER,))
        assert whole is not None
        assert whole.extra_metrics == {0: {"power": 300.0}}

    began = START + timedelta(seconds=5)
    windows = {0: (began + timedelta(seconds=10), began + timedelta(seconds=40))}
    assert played(play, waits=True).windows == [windows]


def test_extra_metrics_are_not_queried_without_windows_or_metrics() -> None:
    """A query without a time range, or without a metric, has no answer."""

    async def play(source: Prometheus, gather: Gather) -> None:
        source.may_answer.set()
        for end, metrics in ((make_end(make_measured(5.0)), (POWER,)), (make_end(seconds=61), ())):
            whole = await gather(end, metrics)
            assert whole is not None
            assert whole.extra_metrics == {}

    assert played(play, waits=True).windows == []


def test_without_prometheus_only_trials_with_a_window_lack_a_metric() -> None:
    """The reason is that of the operator's settings; a trial that was not measured has no metrics to lack."""

    async def play(source: Prometheus, gather: Gather) -> None:
        source.may_answer.set()
        whole = await gather(make_end(MEASURED, infeasible(1)), (POWER,))
        assert whole is not None
        assert whole.extra_metrics == {0: {"power": Missing(reason="NoPrometheus")}}

    played(play, has_prometheus=False, waits=True)


def test_the_memory_of_a_run_that_has_ended_is_dropped() -> None:
    """Otherwise a later run would inherit that it is ending; a live run keeps what is known of it."""
    ending = Ending(since=START)
    memory = StudyMemory(key=KEY, endings={"old": ending, "live": replace(ending, since=START)})
    memory.drop_ended_runs({"live"})
    assert set(memory.endings) == {"live"}
