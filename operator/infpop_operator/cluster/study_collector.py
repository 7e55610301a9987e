"""The series of studies, made from their statuses at each scrape: they go when the study goes.

At most `MOST_STUDIES` studies have series of their own, those that go on before those that have ended, and the newest
of each first; the others are counted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.study_figures import PoolFigures, State, StudyFigures, figures_of

MOST_STUDIES = 1000
_GO_ON: tuple[State, ...] = ("new", "reconciling")
_STUDY = ("namespace", "study")
_POOL = (*_STUDY, "pool")
Body = Mapping[str, Any]
Version = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a version of a study says, and when one of its trials or runs changed last."""

    version: Version
    figures: StudyFigures
    changed_at: datetime


class StudyCollector(Collector):
    """Shows the studies that `see` was told last. What did not change since is not read again."""

    def __init__(self) -> None:
        self._known: dict[StudyKey, _Known] = {}
        self._now: datetime | None = None

    def see(self, bodies: Iterable[Body], now: datetime) -> None:
        """Take in all studies that there are."""
        seen = (self._look(body, now) for body in bodies)
        self._known = {each.figures.key: each for each in seen}
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield every family; one without series has its name, type and help."""
        known = list(self._known.values())
        shown = _chosen(known)
        yield _states(known)
        yield GaugeMetricFamily(
            "infpop_studies_without_series", "Studies beyond those that have series", value=len(known) - len(shown)
        )
        yield from self._of_studies(shown)
        yield from _of_pools([(each.figures.key, pool) for each in shown for pool in each.figures.pools])

    def _look(self, body: Body, now: datetime) -> _Known:
        metadata = body["metadata"]
        version = (str(metadata.get("uid", "")), str(metadata.get("resourceVersion", "")))
        before = self._known.get(StudyKey(metadata["namespace"], metadata["name"]))
        if before is not None and before.version == version:
            return before
        figures = figures_of(body)
        if before is None or before.version[0] != version[0]:
            # Of what was before we began to look, live runs alone tell when they changed.
            changed_at = figures.newest_run_since or now
        else:
            changed_at = before.changed_at if before.figures.activity == figures.activity else now
        return _Known(version=version, figures=figures, changed_at=changed_at)

    def _of_studies(self, shown: Sequence[_Known]) -> Iterator[Metric]:
        conditions = GaugeMetricFamily(
            "infpop_study_condition", "1 where the condition holds, 0 where it does not", labels=(*_STUDY, "condition")
        )
        unchanged = GaugeMetricFamily(
            "infpop_study_unchanged_seconds", "Time since a trial or run of a study that goes on changed", labels=_STUDY
        )
        for each in shown:
            key = each.figures.key
            for kind, holds in each.figures.conditions.items():
                conditions.add_metric((*key, kind), float(holds))
            if each.figures.conditions.get("Reconciling") and self._now is not None:
                unchanged.add_metric(key, max(0.0, (self._now - each.changed_at).total_seconds()))
        yield conditions
        yield unchanged


def _chosen(known: Sequence[_Known]) -> Sequence[_Known]:
    newest_first = sorted(known, key=lambda each: (each.figures.created_at, each.figures.key), reverse=True)
    return sorted(newest_first, key=lambda each: each.figures.state not in _GO_ON)[:MOST_STUDIES]


def _states(known: Sequence[_Known]) -> Metric:
    family = GaugeMetricFamily("infpop_studies", "Studies by state", labels=("state",))
    for state in get_args(State):
        family.add_metric((state,), sum(each.figures.state == state for each in known))
    return family


def _of_pools(pools: Sequence[tuple[StudyKey, PoolFigures]]) -> Iterator[Metric]:
    yield _trials(pools)
    yield _best(pools)
    yield _gauge(
        "infpop_study_best_throughput_tokens_per_second",
        "Generated tokens per second of the newest round's best configuration",
        [((*key, pool.name), pool.best_tokens_per_second) for key, pool in pools],
    )
    yield _gauge(
        "infpop_study_improvement_ratio",
        "Gain of the best over the baseline, 0.1 for 10 %",
        [((*key, pool.name), pool.improvement_ratio) for key, pool in pools],
    )
    yield _gauge(
        "infpop_study_runs", "Runs that live now", [((*key, pool.name), float(pool.runs)) for key, pool in pools]
    )
    yield _gpu_seconds(pools)


def _trials(pools: Sequence[tuple[StudyKey, PoolFigures]]) -> Metric:
    family = GaugeMetricFamily(
        "infpop_study_trials", "Trials of each pool's newest round", labels=(*_POOL, "outcome", "reason")
    )
    for key, pool in pools:
        for figure in pool.trials:
            family.add_metric((*key, pool.name, figure.outcome, figure.reason), figure.count)
    return family


def _best(pools: Sequence[tuple[StudyKey, PoolFigures]]) -> Metric:
    family = InfoMetricFamily("infpop_study_best", "The newest round's best configuration", labels=_POOL)
    for key, pool in pools:
        if pool.best is not None:
            gpu_count, batch_size = pool.best
            family.add_metric((*key, pool.name), {"gpu_count": str(gpu_count), "batch_size": str(batch_size)})
    return family


def _gauge(name: str, text: str, values: Sequence[tuple[Sequence[str], float | None]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=_POOL)
    for labels, value in values:
        if value is not None:
            family.add_metric(labels, value)
    return family


def _gpu_seconds(pools: Sequence[tuple[StudyKey, PoolFigures]]) -> Metric:
    family = CounterMetricFamily("infpop_study_gpu_seconds", "GPU time of the runs that ended", labels=_POOL)
    for key, pool in pools:
        if pool.gpu_seconds is not None:
            family.add_metric((*key, pool.name), pool.gpu_seconds)
    return family
