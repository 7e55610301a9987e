"""The names of all series that the runner and the operator can expose."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from engines.specs import make_run_spec
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics.study_collector import StudyCollector
from infpop_runner.metrics import RunMetrics

_SUFFIXES = {
    "counter": ("_total",),
    "info": ("_info",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}


def known_series() -> set[str]:
    """Return their PromQL names, including series that have no value yet."""
    studies = CollectorRegistry()
    studies.register(StudyCollector())
    registries = (RunMetrics(make_run_spec()).registry, OperatorMetrics(lambda: 0.0).registry, studies)
    return {name for registry in registries for metric in registry.collect() for name in _names(metric)}


def _names(metric: Metric) -> Iterator[str]:
    yield from (metric.name + suffix for suffix in _SUFFIXES[metric.type])
