"""Gather the metrics of an ended run from all sources: its own result, its Pod's metrics, and Prometheus.

The operator queries the sources once for each end of a run and keeps the answer in the study's memory until that end is
recorded. Prometheus may be slow, so a pass waits for it only for a moment: the user must be able to suspend the study
meanwhile, and all studies share the workers. The study is reconciled again when the answer has arrived.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from infpop_operator.api.status_context import PrometheusHealth
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.study_memory import MetricsRequest, StudyMemory
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Finished, Missing, WatchedRun
from infpop_operator.core.ports import MetricsSource, PrometheusSource
from infpop_operator.core.sources import merge_sources, windows_of, with_extra_metrics
from infpop_operator.settings import SourceName
from infpop_runner.contract import Measured

NO_PROMETHEUS = "NoPrometheus"  # the operator was not given its address
_MOMENT_S = 1.0  # a healthy Prometheus answers in a few milliseconds, so that one pass is enough
_MAX_CONCURRENT = 16  # the number of connections


class MetricsGatherer:
    """Queries the metrics sources in the order of the settings.

    Args:
        pods: the source that reads the Pods' own metrics.
        prometheus: the source that queries Prometheus; None if the operator has no Prometheus.
        order: the names of the sources, the most trusted first.
        done: called with the study of a run when the answer arrived after the end of the pass that requested it.
        moment_s: how long a pass waits for the answer, in seconds.
    """

    def __init__(
        self,
        *,
        pods: MetricsSource,
        prometheus: PrometheusSource | None,
        order: Sequence[SourceName],
        done: Callable[[StudyKey], None],
        moment_s: float = _MOMENT_S,
    ) -> None:
        by_name: dict[SourceName, MetricsSource | None] = {"Prometheus": prometheus, "PodMetrics": pods}
        self._sources = tuple(source for name in order if (source := by_name[name]) is not None)
        self._prometheus = prometheus
        self._done = done
        self._moment_s = moment_s
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    def health(self) -> PrometheusHealth | None:
        """Return whether Prometheus answers; None if the operator has no Prometheus."""
        if self._prometheus is None:
            return None
        return PrometheusHealth(outage=self._prometheus.outage)

    async def probe(self) -> None:
        """Check whether Prometheus answers now."""
        if self._prometheus is not None:
            await self._prometheus.probe()

    async def gather(
        self,
        memory: StudyMemory,
        finished: Finished,
        pod: str | None,
        metrics: Sequence[ExtraMetric],
        *,
        gpu_count: int | None = None,
    ) -> Finished | None:
        """Return a run with each number from the most trusted source that has it, and with all extra metrics.

        Return None while a metrics source is still pending for this run.

        Args:
            memory: the memory of the run's study.
            finished: the end of the run according to its own result.
            pod: the name of the run's Pod, None if it is unknown.
            metrics: the study's extra metrics.
            gpu_count: the number of devices of the run.
        """
        run = finished.result.run
        request = memory.requests.get(run)
        if request is None or request.of != finished:
            if request is not None:
                request.task.cancel()
            request = await self._begin(memory, _watched(memory.key, finished, pod, gpu_count), finished, metrics)
        if not request.task.done():
            return None
        if request.task.cancelled() or request.task.exception() is not None:
            del memory.requests[run]  # a defect: the next line raises it, and the next pass queries the sources again
        return request.task.result()

    async def _begin(
        self, memory: StudyMemory, watched: WatchedRun, finished: Finished, metrics: Sequence[ExtraMetric]
    ) -> MetricsRequest:
        """Start to query the sources, and wait for a moment."""
        task = asyncio.create_task(self._ask(watched, finished, metrics))
        request = memory.requests[finished.result.run] = MetricsRequest(of=finished, task=task)
        await asyncio.wait({task}, timeout=self._moment_s)
        if not task.done():
            task.add_done_callback(lambda _: self._done(memory.key))
        return request

    async def _ask(self, watched: WatchedRun, finished: Finished, metrics: Sequence[ExtraMetric]) -> Finished:
        async with self._slots:
            samples = [(source.name, await source.samples(watched)) for source in self._sources]
            return await self._add_extra_metrics(merge_sources(finished, samples), watched, metrics)

    async def _add_extra_metrics(
        self, finished: Finished, watched: WatchedRun, metrics: Sequence[ExtraMetric]
    ) -> Finished:
        windows = windows_of(finished)
        if not metrics or not windows:
            return finished
        if self._prometheus is not None:
            return with_extra_metrics(finished, await self._prometheus.extra_metrics(watched, windows, metrics))
        missing: Mapping[str, float | Missing] = {metric.name: Missing(reason=NO_PROMETHEUS) for metric in metrics}
        return with_extra_metrics(finished, dict.fromkeys(windows, missing))


def _watched(key: StudyKey, finished: Finished, pod: str | None, gpu_count: int | None) -> WatchedRun:
    result = finished.result
    return WatchedRun(
        namespace=key.namespace,
        study=key.name,
        run=result.run,
        pod=pod,
        started_at=result.started_at,
        ended_at=finished.ended_at,
        gpu_count=gpu_count,
        trials=tuple(trial.index for trial in result.trials if isinstance(trial, Measured)),
    )
