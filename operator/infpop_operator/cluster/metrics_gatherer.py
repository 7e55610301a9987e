"""Gather what the metrics sources know of a run that ended: its own result, its Pod's metrics, Prometheus.

Asked once for each end of a run, and kept in the study's memory until that end is recorded. Prometheus may be slow, so
no pass waits for it for longer than a moment: the study has to be free to be suspended, and the workers are there for
all studies. The study is reconciled again when the answer has come.
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
_MOMENT_S = 1.0  # a healthy Prometheus answers in a few milliseconds: one pass is enough then
_AT_ONCE = 16  # as many as there are connections


class MetricsGatherer:
    """Asks the metrics sources in the order of the settings.

    Args:
        pods: the source that reads the Pods' own metrics.
        prometheus: the source that asks Prometheus; None: there is none.
        order: the most trusted first.
        done: called with the study of a run when the answer came after the pass that asked.
        moment_s: for how long a pass waits.
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
        known: dict[SourceName, MetricsSource | None] = {"Prometheus": prometheus, "PodMetrics": pods}
        self._sources = tuple(source for name in order if (source := known[name]) is not None)
        self._prometheus = prometheus
        self._done = done
        self._moment_s = moment_s
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def health(self) -> PrometheusHealth | None:
        """Return whether Prometheus answers, None where it is not asked."""
        if self._prometheus is None:
            return None
        return PrometheusHealth(outage=self._prometheus.outage)

    async def probe(self) -> None:
        """Find out whether Prometheus answers just now."""
        if self._prometheus is not None:
            await self._prometheus.probe()

    async def gather(
        self, memory: StudyMemory, finished: Finished, pod: str | None, metrics: Sequence[ExtraMetric]
    ) -> Finished | None:
        """Return a run with every number from the most trusted source that has it, and with all extra metrics.

        None while a source has not answered yet.

        Args:
            memory: of the study of the run.
            finished: as the run's own result says.
            pod: the name of its Pod.
            metrics: the study's extra metrics.
        """
        run = finished.result.run
        request = memory.requests.get(run)
        if request is None or request.of != finished:
            if request is not None:
                request.task.cancel()
            request = await self._begin(memory, finished, pod, metrics)
        if not request.task.done():
            return None
        if request.task.cancelled() or request.task.exception() is not None:
            del memory.requests[run]  # a defect: it is raised, and the sources are asked again
        return request.task.result()

    async def _begin(
        self, memory: StudyMemory, finished: Finished, pod: str | None, metrics: Sequence[ExtraMetric]
    ) -> MetricsRequest:
        """Ask, and wait for a moment."""
        task = asyncio.create_task(self._ask(memory.key, finished, pod, metrics))
        request = memory.requests[finished.result.run] = MetricsRequest(of=finished, task=task)
        await asyncio.wait({task}, timeout=self._moment_s)
        if not task.done():
            task.add_done_callback(lambda _: self._done(memory.key))
        return request

    async def _ask(
        self, key: StudyKey, finished: Finished, pod: str | None, metrics: Sequence[ExtraMetric]
    ) -> Finished:
        watched = _watched(key, finished, pod)
        async with self._slots:
            whole = merge_sources(finished, [(source.name, await source.samples(watched)) for source in self._sources])
            return await self._add_extra_metrics(whole, watched, metrics)

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


def _watched(key: StudyKey, finished: Finished, pod: str | None) -> WatchedRun:
    result = finished.result
    return WatchedRun(
        namespace=key.namespace,
        study=key.name,
        run=result.run,
        pod=pod,
        started_at=result.started_at,
        ended_at=finished.ended_at,
        trials=tuple(trial.index for trial in result.trials if isinstance(trial, Measured)),
    )
