"""The series of studies, computed from their statuses at each scrape: a deleted study has none.

At most `MOST_STUDIES` studies have their own series: unfinished studies first, then the newest. The others are only
counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple, get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from infpop_operator.adapters.kube.records import Body
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.study_metrics import PoolMetrics, State, StudyMetrics, study_metrics_of

MOST_STUDIES = 1000
# Of all studies together: as many samples as a thousand studies have otherwise, see `StudyCollector`.
MOST_CELLS = 20_000
_UNFINISHED: tuple[State, ...] = ("new", "reconciling")
Labels = dict[str, str]


class Family(NamedTuple):
    """A metric family; the sample names of a counter and of an info have a suffix."""

    name: str
    kind: Literal["gauge", "counter", "info"]
    text: str

    def sample(self, labels: Labels, value: float = 1.0) -> Sample:
        """Return one sample of the family."""
        suffix = {"gauge": "", "counter": "_total", "info": "_info"}[self.kind]
        return Sample(self.name + suffix, labels, value)


_CONDITION = Family("infpop_study_condition", "gauge", "1 if the condition is true, 0 if it is false")
_TRIALS = Family("infpop_study_trials", "gauge", "Trials of each pool's newest round")
_REUSED = Family(
    "infpop_study_reused_trials",
    "gauge",
    "Trials of each pool's newest round that other studies of the namespace measured",
)
_BEST = Family(
    "infpop_study_best",
    "info",
    "The best configuration of each pool's newest round; reused_from is the other study that measured it",
)
_THROUGHPUT = Family(
    "infpop_study_best_throughput_tokens_per_second",
    "gauge",
    "Generated tokens per second with the best configuration of each pool's newest round",
)
_IMPROVEMENT = Family("infpop_study_improvement_ratio", "gauge", "Gain of the best over the baseline, 0.1 for 10 %")
_ROUND = Family("infpop_study_round", "gauge", "Number of each pool's newest round")
_CHANGED = Family(
    "infpop_study_last_change_time_seconds",
    "gauge",
    "When each pool, or what is measured on it, last changed, in seconds since 1970",
)
_ROUND_THROUGHPUT = Family(
    "infpop_study_round_best_throughput_tokens_per_second",
    "gauge",
    "Generated tokens per second with the best configuration of each round, on the hardware of that round",
)
_ROUND_IMPROVEMENT = Family(
    "infpop_study_round_improvement_ratio", "gauge", "Gain of each round's best over its baseline, 0.1 for 10 %"
)
_PUBLISHED = Family(
    "infpop_study_published_time_seconds", "gauge", "When what the study publishes last changed, in seconds since 1970"
)
_STUDY = Family("infpop_study", "info", "Model and engine of each study, as in its spec, and its state")
_POOL = Family("infpop_study_pool", "info", "GPU model of each pool's newest round")
_CELL = Family(
    "infpop_study_cell_throughput_tokens_per_second",
    "gauge",
    "Generated tokens per second of each configuration with a number in each pool's newest round",
)
_PER_GPU = Family(
    "infpop_study_best_tokens_per_second_per_gpu",
    "gauge",
    "Generated tokens per second and GPU with the best configuration of each pool's newest round",
)
_COST = Family(
    "infpop_study_best_cost_per_million_tokens",
    "gauge",
    "Cost of a million generated tokens with the best configuration, in the currency of pricePerGPUHour",
)
_PER_JOULE = Family(
    "infpop_study_best_tokens_per_joule",
    "gauge",
    "Generated tokens per joule with the best configuration of each pool's newest round",
)
_RUNS = Family("infpop_study_runs", "gauge", "Active runs")
_GPU_SECONDS = Family("infpop_study_gpu_seconds", "counter", "GPU time of the ended runs")
_FAMILIES = (
    _CONDITION,
    _TRIALS,
    _REUSED,
    _BEST,
    _THROUGHPUT,
    _IMPROVEMENT,
    _ROUND,
    _CHANGED,
    _ROUND_THROUGHPUT,
    _ROUND_IMPROVEMENT,
    _PUBLISHED,
    _RUNS,
    _GPU_SECONDS,
    _STUDY,
    _POOL,
    _PER_GPU,
    _COST,
    _PER_JOULE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The samples of one version of a study, and when one of its trials or runs last changed.

    `metrics` has no pools: its samples say all of them. `cells` is the number of the landscape's samples, which
    `samples` has only if they are shown.
    """

    uid: str
    version: str
    metrics: StudyMetrics
    cells: int
    samples: Mapping[str, Sequence[Sample]]
    changed_at: datetime

    @property
    def has_landscape(self) -> bool:
        """Return whether the samples of the landscape are there."""
        return len(self.samples.get(_CELL.name, ())) == self.cells


class StudyCollector(Collector):
    """Collects the series of the studies that the last `update` received.

    A study whose version did not change is neither parsed nor rendered again: a thousand studies have about twenty
    thousand samples, and with that many new objects at each scrape the garbage collector would stop the process for a
    tenth of a second.
    """

    def __init__(self) -> None:
        self._known: dict[StudyKey, _Known] = {}
        self._shown: Sequence[_Known] = ()
        self._now: datetime | None = None

    def update(self, bodies: Iterable[Body], now: datetime) -> None:
        """Replace the studies with `bodies`, all studies that exist `now`; keep no more samples than are shown."""
        by_key = {_key(body): body for body in bodies}
        known = {key: self._parse(key, body, now) for key, body in by_key.items()}
        chosen = [study.metrics.key for study in _chosen(list(known.values()))]
        for key in known.keys() - set(chosen):
            known[key] = replace(known[key], samples={})
        room = MOST_CELLS
        for key in chosen:
            fits = known[key].cells <= room
            room -= known[key].cells if fits else 0
            known[key] = _with_samples(known[key], by_key[key], with_landscape=fits)
        self._known, self._shown, self._now = known, [known[key] for key in chosen], now

    def collect(self) -> Iterator[Metric]:
        """Yield every family; a family without series still has its name, type and help."""
        known, shown = list(self._known.values()), self._shown
        yield _states(known)
        yield GaugeMetricFamily(
            "infpop_studies_without_series", "Studies that have no series of their own", value=len(known) - len(shown)
        )
        yield self._unchanged(shown)
        yield self._stale(shown)
        for family in (*_FAMILIES, _CELL):
            metric = Metric(family.name, family.text, family.kind)
            metric.samples = [sample for study in shown for sample in study.samples.get(family.name, ())]
            yield metric
        text = "Studies whose landscapes have no series because there are too many cells"
        left_out = sum(not study.has_landscape for study in shown)
        yield GaugeMetricFamily("infpop_studies_without_landscape", text, value=left_out)

    def _parse(self, key: StudyKey, body: Body, now: datetime) -> _Known:
        uid, version = str(body["metadata"].get("uid", "")), str(body["metadata"].get("resourceVersion", ""))
        before = self._known.get(key)
        if before is not None and (before.uid, before.version) == (uid, version):
            return before
        metrics = study_metrics_of(body)
        same = before if before is not None and before.uid == uid else None
        return _Known(
            uid=uid,
            version=version,
            metrics=replace(metrics, pools=()),
            cells=sum(len(pool.cells) for pool in metrics.pools),
            samples=_samples(metrics),
            changed_at=_changed_at(same, metrics, now),
        )

    def _unchanged(self, shown: Sequence[_Known]) -> Metric:
        text = "Time since a trial of an unfinished study got a result or one of its runs made progress"
        family = GaugeMetricFamily("infpop_study_unchanged_seconds", text, labels=("namespace", "study"))
        for study in shown:
            if study.metrics.conditions.get("Reconciling") and self._now is not None:
                family.add_metric(study.metrics.key, max(0.0, (self._now - study.changed_at).total_seconds()))
        return family

    def _stale(self, shown: Sequence[_Known]) -> Metric:
        text = "Time since the result of a study became stale, while it is stale"
        family = GaugeMetricFamily("infpop_study_result_stale_seconds", text, labels=("namespace", "study"))
        for study in shown:
            since = study.metrics.stale_since
            if since is not None and self._now is not None:
                family.add_metric(study.metrics.key, max(0.0, (self._now - since).total_seconds()))
        return family


def _changed_at(before: _Known | None, metrics: StudyMetrics, now: datetime) -> datetime:
    if before is None:  # after a restart, only active runs have the time of their last change
        return metrics.newest_run_since or now
    return before.changed_at if before.metrics.activity == metrics.activity else now


def _key(body: Body) -> StudyKey:
    return StudyKey(body["metadata"]["namespace"], body["metadata"]["name"])


def _chosen(known: Sequence[_Known]) -> Sequence[_Known]:
    newest_first = sorted(known, key=lambda study: (study.metrics.created_at, study.metrics.key), reverse=True)
    return sorted(newest_first, key=lambda study: study.metrics.state not in _UNFINISHED)[:MOST_STUDIES]


def _with_samples(known: _Known, body: Body, *, with_landscape: bool) -> _Known:
    """Return the study with its samples, read again from `body` if some were dropped, with or without its landscape."""
    samples = known.samples
    if not samples or (with_landscape and not known.has_landscape):
        samples = _samples(study_metrics_of(body))
    elif with_landscape or _CELL.name not in samples:
        return known
    kept = {name: found for name, found in samples.items() if with_landscape or name != _CELL.name}
    return replace(known, samples=kept)


def _states(known: Sequence[_Known]) -> Metric:
    family = GaugeMetricFamily("infpop_studies", "Studies by state", labels=("state",))
    counted = Counter(study.metrics.state for study in known)
    for state in get_args(State):
        family.add_metric((state,), counted[state])
    return family


def _samples(metrics: StudyMetrics) -> Mapping[str, Sequence[Sample]]:
    """Return the samples of a study by family name."""
    study = {"namespace": metrics.key.namespace, "study": metrics.key.name}
    samples: dict[str, list[Sample]] = {
        _CONDITION.name: [
            _CONDITION.sample({**study, "condition": kind}, float(holds)) for kind, holds in metrics.conditions.items()
        ]
    }
    about = {"model": metrics.model, "engine": metrics.engine, "state": metrics.state}
    samples[_STUDY.name] = [_STUDY.sample({**study, **about})]
    if metrics.published_at is not None:
        samples[_PUBLISHED.name] = [_PUBLISHED.sample(study, metrics.published_at.timestamp())]
    for pool in metrics.pools:
        labels = {**study, "pool": pool.name}
        for family, sample in (*_pool_samples(labels, pool), *_round_samples(labels, pool)):
            samples.setdefault(family.name, []).append(sample)
    return samples


def _pool_samples(labels: Labels, pool: PoolMetrics) -> Iterator[tuple[Family, Sample]]:
    for trials in pool.trials:
        outcome = {"outcome": trials.outcome, "reason": trials.reason}
        yield _TRIALS, _TRIALS.sample({**labels, **outcome}, float(trials.count))
    if pool.best is not None:
        gpu_count, batch_size = map(str, pool.best)
        origin = {} if pool.best_reused_from is None else {"reused_from": pool.best_reused_from}
        yield _BEST, _BEST.sample({**labels, "gpu_count": gpu_count, "batch_size": batch_size, **origin})
    if pool.reused_trials:
        yield _REUSED, _REUSED.sample(labels, float(pool.reused_trials))
    yield _POOL, _POOL.sample({**labels, "gpu": pool.gpu})
    yield _RUNS, _RUNS.sample(labels, float(pool.runs))
    known = (
        (_THROUGHPUT, pool.best_tokens_per_second),
        (_IMPROVEMENT, pool.improvement_ratio),
        (_GPU_SECONDS, pool.gpu_seconds),
        (_PER_GPU, pool.best_tokens_per_second_per_gpu),
        (_COST, pool.best_cost_per_million_tokens),
        (_PER_JOULE, pool.best_tokens_per_joule),
    )
    yield from ((family, family.sample(labels, value)) for family, value in known if value is not None)
    for cell in pool.cells:
        place = {"gpu_count": str(cell.gpu_count), "batch_size": str(cell.batch_size)}
        yield _CELL, _CELL.sample({**labels, **place}, cell.tokens_per_second)


def _round_samples(labels: Labels, pool: PoolMetrics) -> Iterator[tuple[Family, Sample]]:
    if pool.round is not None:
        yield _ROUND, _ROUND.sample(labels, float(pool.round))
    if pool.changed_at is not None:
        yield _CHANGED, _CHANGED.sample(labels, pool.changed_at.timestamp())
    for entry in pool.rounds:
        known = (
            (_ROUND_THROUGHPUT, entry.best_tokens_per_second),
            (_ROUND_IMPROVEMENT, entry.improvement_ratio),
        )
        own = {**labels, "round": str(entry.number)}
        yield from ((family, family.sample(own, value)) for family, value in known if value is not None)
