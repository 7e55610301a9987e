"""Gather what everybody who watched a run knows of it: its own result, its pod's metrics, Prometheus.

Asked once for each end of a run, and remembered until that end is. Prometheus may be slow, so no look waits for it for
longer than a moment: the study has to be free to be suspended, and the workers are there for all studies. The study is
looked at again when the answer has come.
"""

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from infpop_operator.api.status_context import PrometheusHealth
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Finished, Missing, WatchedRun
from infpop_operator.core.ports import MetricsSource, PrometheusSource
from infpop_operator.core.sources import merge_sources, windows_of, with_extra_metrics
from infpop_operator.settings import SourceName
from infpop_runner.contract import Measured

NO_PROMETHEUS = "NoPrometheus"  # the operator was not told where one is
_MOMENT_S = 1.0  # a Prometheus that is well answers in a few milliseconds: one look is enough then
_AT_ONCE = 16  # as many as there are connections


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathering:
    """The end of a run, and what puts together all that is known of it."""

    of: Finished
    task: asyncio.Task[Finished]


class MetricsGatherer:
    """Asks the sources of metrics in the order of the settings.

    Args:
        pods: the source that looks at pods themselves.
        prometheus: the source that asks Prometheus; None: there is none.
        order: the most trusted first.
        done: called with the study of a run that nobody waited for until it was gathered.
        moment_s: for how long a look waits.
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
        self._known: dict[StudyKey, dict[str, _Gathering]] = {}

    def close(self) -> None:
        """Ask nobody any more; what is not known by now is asked by the next operator."""
        for key in tuple(self._known):
            self.forget_all_but(key, ())

    def standing(self) -> PrometheusHealth | None:
        """Return whether Prometheus answers, None where it is not asked."""
        if self._prometheus is None:
            return None
        return PrometheusHealth(outage=self._prometheus.outage)

    async def look(self) -> None:
        """Find out whether Prometheus answers just now."""
        if self._prometheus is not None:
            await self._prometheus.probe()

    async def gather(
        self, key: StudyKey, finished: Finished, pod: str | None, metrics: Sequence[ExtraMetric]
    ) -> Finished | None:
        """Return a run with every number from the most trusted source that has it, and with all extra metrics.

        None while somebody has not answered yet.

        Args:
            key: the study of the run.
            finished: as the run's own result says.
            pod: the name of its pod.
            metrics: what the study wants to know besides.
        """
        run = finished.result.run
        known = self._known.get(key, {}).get(run)
        if known is None or known.of != finished:
            self._drop(known)
            known = _Gathering(of=finished, task=asyncio.create_task(self._ask(key, finished, pod, metrics)))
            self._known.setdefault(key, {})[run] = known
            await asyncio.wait({known.task}, timeout=self._moment_s)
            if not known.task.done():
                known.task.add_done_callback(lambda _: self._done(key))
        if not known.task.done():
            return None
        if known.task.cancelled() or known.task.exception() is not None:
            del self._known[key][run]  # a defect: it is told, and asked again
        return known.task.result()

    def is_asking(self, key: StudyKey, run: str) -> bool:
        """Say whether somebody has not answered yet what he knows of a run."""
        known = self._known.get(key, {}).get(run)
        return known is not None and not known.task.done()

    def forget_all_but(self, key: StudyKey, live: Container[str]) -> None:
        """Drop what was gathered of a study's runs, except for those whose end is not remembered yet."""
        known = self._known.pop(key, {})
        kept = {run: gathering for run, gathering in known.items() if run in live}
        for run in known.keys() - kept.keys():
            self._drop(known[run])
        if kept:
            self._known[key] = kept

    @staticmethod
    def _drop(gathering: _Gathering | None) -> None:
        if gathering is not None:
            gathering.task.cancel()

    async def _ask(
        self, key: StudyKey, finished: Finished, pod: str | None, metrics: Sequence[ExtraMetric]
    ) -> Finished:
        watched = _watched(key, finished, pod)
        async with self._slots:
            whole = merge_sources(finished, [(source.name, await source.samples(watched)) for source in self._sources])
            return await self._with_figures(whole, watched, metrics)

    async def _with_figures(self, finished: Finished, watched: WatchedRun, metrics: Sequence[ExtraMetric]) -> Finished:
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
