"""The series of studies, made from their statuses at each scrape: they go when the study goes.

At most `MOST_STUDIES` studies have series of their own, those that go on before those that have ended, and the newest
of each first; the others are counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from infpop_operator.adapters.kube.records import Body
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.study_metrics import State, StudyMetrics, study_metrics_of
from infpop_operator.cluster.metrics.study_samples import FAMILIES, UNCHANGED, samples_of

MOST_STUDIES = 1000
_GO_ON: tuple[State, ...] = ("new", "reconciling")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a version of a study shows, and when one of its trials or runs changed last."""

    uid: str
    version: str
    metrics: StudyMetrics
    samples: Mapping[str, Sequence[Sample]]
    changed_at: datetime


class StudyCollector(Collector):
    """Shows the studies that `see` was told last.

    What did not change since is neither read nor made again: a thousand studies are some twenty thousand samples, and
    so many new objects at each scrape would have the garbage collector stop everything for a tenth of a second.
    """

    def __init__(self) -> None:
        self._known: dict[StudyKey, _Known] = {}
        self._now: datetime | None = None

    def see(self, bodies: Iterable[Body], now: datetime) -> None:
        """Take in all studies that there are."""
        seen = (self._look(body, now) for body in bodies)
        self._known = {each.metrics.key: each for each in seen}
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield every family; one without series has its name, type and help."""
        known = list(self._known.values())
        shown = _chosen(known)
        yield _states(known)
        yield GaugeMetricFamily(
            "infpop_studies_without_series", "Studies beyond those that have series", value=len(known) - len(shown)
        )
        yield self._unchanged(shown)
        for family in FAMILIES:
            metric = Metric(family.name, family.text, family.kind)
            metric.samples = [sample for each in shown for sample in each.samples.get(family.name, ())]
            yield metric

    def _look(self, body: Body, now: datetime) -> _Known:
        metadata = body["metadata"]
        uid, version = str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
        before = self._known.get(StudyKey(metadata["namespace"], metadata["name"]))
        if before is not None and (before.uid, before.version) == (uid, version):
            return before
        metrics = study_metrics_of(body)
        same = before if before is not None and before.uid == uid else None
        changed_at = _changed_at(same, metrics, now)
        return _Known(uid=uid, version=version, metrics=metrics, samples=samples_of(metrics), changed_at=changed_at)

    def _unchanged(self, shown: Sequence[_Known]) -> Metric:
        family = GaugeMetricFamily(UNCHANGED.name, UNCHANGED.text, labels=("namespace", "study"))
        for each in shown:
            if each.metrics.conditions.get("Reconciling") and self._now is not None:
                family.add_metric(each.metrics.key, max(0.0, (self._now - each.changed_at).total_seconds()))
        return family


def _changed_at(before: _Known | None, metrics: StudyMetrics, now: datetime) -> datetime:
    if before is None:  # of what was before we began to look, live runs alone tell when they changed
        return metrics.newest_run_since or now
    return before.changed_at if before.metrics.activity == metrics.activity else now


def _chosen(known: Sequence[_Known]) -> Sequence[_Known]:
    newest_first = sorted(known, key=lambda each: (each.metrics.created_at, each.metrics.key), reverse=True)
    return sorted(newest_first, key=lambda each: each.metrics.state not in _GO_ON)[:MOST_STUDIES]


def _states(known: Sequence[_Known]) -> Metric:
    family = GaugeMetricFamily("infpop_studies", "Studies by state", labels=("state",))
    counted = Counter(each.metrics.state for each in known)
    for state in get_args(State):
        family.add_metric((state,), counted[state])
    return family
