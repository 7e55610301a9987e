"""From the metrics of one study to its samples: names, labels and units. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from prometheus_client.samples import Sample

from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.study_metrics import PoolFigures, StudyMetrics

Labels = dict[str, str]


class Family(NamedTuple):
    """A family of series; the samples of a counter and of an info have a suffix."""

    name: str
    kind: Literal["gauge", "counter", "info"]
    text: str

    def sample(self, labels: Labels, value: float = 1.0) -> Sample:
        """Return one sample of the family."""
        suffix = {"gauge": "", "counter": "_total", "info": "_info"}[self.kind]
        return Sample(self.name + suffix, labels, value)


# Known at the scrape alone, so that it has no sample here.
UNCHANGED = Family(
    "infpop_study_unchanged_seconds",
    "gauge",
    "Time since a study that goes on had a result or a run at work that changed",
)
_CONDITION = Family("infpop_study_condition", "gauge", "1 where the condition holds, 0 where it does not")
_TRIALS = Family("infpop_study_trials", "gauge", "Trials of each pool's newest round")
_BEST = Family("infpop_study_best", "info", "The newest round's best configuration")
_THROUGHPUT = Family(
    "infpop_study_best_throughput_tokens_per_second",
    "gauge",
    "Generated tokens per second of the newest round's best configuration",
)
_IMPROVEMENT = Family("infpop_study_improvement_ratio", "gauge", "Gain of the best over the baseline, 0.1 for 10 %")
_RUNS = Family("infpop_study_runs", "gauge", "Runs that live now")
_GPU_SECONDS = Family("infpop_study_gpu_seconds", "counter", "GPU time of the runs that ended")
FAMILIES = (_CONDITION, _TRIALS, _BEST, _THROUGHPUT, _IMPROVEMENT, _RUNS, _GPU_SECONDS)


def samples_of(metrics: StudyMetrics) -> Mapping[str, Sequence[Sample]]:
    """Return the samples of a study by the name of their family."""
    study = _study_labels(metrics.key)
    samples: dict[str, list[Sample]] = {
        _CONDITION.name: [
            _CONDITION.sample({**study, "condition": kind}, float(holds)) for kind, holds in metrics.conditions.items()
        ]
    }
    for pool in metrics.pools:
        for family, sample in _of_pool({**study, "pool": pool.name}, pool):
            samples.setdefault(family.name, []).append(sample)
    return samples


def _study_labels(key: StudyKey) -> Labels:
    return {"namespace": key.namespace, "study": key.name}


def _of_pool(labels: Labels, pool: PoolFigures) -> Iterator[tuple[Family, Sample]]:
    for figure in pool.trials:
        outcome = {"outcome": figure.outcome, "reason": figure.reason}
        yield _TRIALS, _TRIALS.sample({**labels, **outcome}, float(figure.count))
    if pool.best is not None:
        gpu_count, batch_size = map(str, pool.best)
        yield _BEST, _BEST.sample({**labels, "gpu_count": gpu_count, "batch_size": batch_size})
    yield _RUNS, _RUNS.sample(labels, float(pool.runs))
    known = (
        (_THROUGHPUT, pool.best_tokens_per_second),
        (_IMPROVEMENT, pool.improvement_ratio),
        (_GPU_SECONDS, pool.gpu_seconds),
    )
    yield from ((family, family.sample(labels, value)) for family, value in known if value is not None)
