"""Gather what everybody who watched a run knows of it: its own result, its pod's metrics, Prometheus.

Asked once for each end of a run, and remembered until that end is: Prometheus may be slow, and a run is looked at
again whenever something else of its study moves.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from infpop_operator.api.standing import PrometheusStanding
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.model import Finished, Missing, WatchedRun
from infpop_operator.core.ports import MetricsSource, PrometheusSource
from infpop_operator.core.sources import gather, windows_of, with_figures
from infpop_operator.settings import SourceName
from infpop_runner.contract import Measured

NO_PROMETHEUS = "NoPrometheus"  # the operator was not told where one is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """What was put together, and from which end of the run."""

    of: Finished
    whole: Finished


class Gatherer:
    """Asks the sources of metrics in the order of the settings.

    Args:
        pods: the source that looks at pods themselves.
        prometheus: the source that asks Prometheus; None: there is none.
        order: the most trusted first.
    """

    def __init__(
        self, *, pods: MetricsSource, prometheus: PrometheusSource | None, order: Sequence[SourceName]
    ) -> None:
        known: dict[SourceName, MetricsSource | None] = {"Prometheus": prometheus, "PodMetrics": pods}
        self._sources = tuple(source for name in order if (source := known[name]) is not None)
        self._prometheus = prometheus
        self._gathered: dict[StudyKey, dict[str, _Gathered]] = {}

    def standing(self) -> PrometheusStanding | None:
        """Return whether Prometheus answers, None where it is not asked."""
        if self._prometheus is None:
            return None
        return PrometheusStanding(outage=self._prometheus.outage)

    async def look(self) -> None:
        """Find out whether Prometheus answers just now."""
        if self._prometheus is not None:
            await self._prometheus.probe()

    async def gather(
        self, key: StudyKey, finished: Finished, pod: str | None, metrics: Sequence[ExtraMetric]
    ) -> Finished:
        """Return a run with every number from the most trusted source that has it, and with all extra metrics.

        Args:
            key: the study of the run.
            finished: as the run's own result says.
            pod: the name of its pod.
            metrics: what the study wants to know besides.
        """
        run = finished.result.run
        known = self._gathered.get(key, {}).get(run)
        if known is None or known.of != finished:
            known = _Gathered(of=finished, whole=await self._ask(_watched(key, finished, pod), finished, metrics))
            self._gathered.setdefault(key, {})[run] = known
        return known.whole

    def forget_all_but(self, key: StudyKey, live: Container[str]) -> None:
        """Drop what was gathered of a study's runs, except for those whose end is not remembered yet."""
        kept = {run: gathered for run, gathered in self._gathered.pop(key, {}).items() if run in live}
        if kept:
            self._gathered[key] = kept

    async def _ask(self, watched: WatchedRun, finished: Finished, metrics: Sequence[ExtraMetric]) -> Finished:
        whole = gather(finished, [(source.name, await source.samples(watched)) for source in self._sources])
        return await self._with_figures(whole, watched, metrics)

    async def _with_figures(self, finished: Finished, watched: WatchedRun, metrics: Sequence[ExtraMetric]) -> Finished:
        windows = windows_of(finished)
        if not metrics or not windows:
            return finished
        if self._prometheus is not None:
            return with_figures(finished, await self._prometheus.figures(watched, windows, metrics))
        missing: Mapping[str, float | Missing] = {metric.name: Missing(reason=NO_PROMETHEUS) for metric in metrics}
        return with_figures(finished, dict.fromkeys(windows, missing))


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
