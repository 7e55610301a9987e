"""The whole metrics page, checked against docs/metrics.md and against promtool."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.status_samples import ended_run, large_status, run_of
from engines.specs import make_run_spec
from factories.runs import make_round
from factories.studies import START, make_cell, make_measured
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.metrics.exposition import MetricsPage
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics.study_collector import StudyCollector
from infpop_operator.cluster.status_writer import dump_status
from infpop_operator.core.model import EndedRun, Finished, Published
from infpop_runner.metrics import RunMetrics
from prometheus.promtool import complaints_about

PUBLISHED = Published(index=0, configuration=make_cell(8, 1), at=START, reason="First")
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(?P<name>infpop_\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\|", re.MULTILINE)
SUFFIXES = {"counter": "_total", "info": "_info"}


def documented() -> dict[str, tuple[str, set[str]]]:
    """Return kind and labels of each metric, by its PromQL name (a histogram's without its suffix)."""
    rows = ROW.finditer(DOCUMENT.read_text(encoding="utf-8"))
    return {row["name"]: (row["kind"], set(re.findall(r"`(\w+)`", row["labels"]))) for row in rows}


def test_the_document_lists_every_metric() -> None:
    """Metrics of runner and operator are listed, each with its kind, and no removed metric remains."""
    studies = CollectorRegistry()
    studies.register(StudyCollector())
    registries = (RunMetrics(make_run_spec()).registry, OperatorMetrics(lambda: 0.0).registry, studies)
    metrics = [metric for registry in registries for metric in registry.collect() if "infpop" in metric.name]
    shown = {metric.name + SUFFIXES.get(metric.type, ""): metric.type for metric in metrics}
    assert {name: kind for name, (kind, _) in documented().items()} == shown


def ended() -> EndedRun:
    """Return a run that was held and for which Prometheus had no number."""
    entry = ended_run(run_of(0, 1), make_measured(100.0, index=0, batch_size=1))
    assert isinstance(entry.observation, Finished)
    result = entry.observation.result.model_copy(update={"held_seconds": 4.0})
    seen = Finished(result=result, ended_at=START, missing_sources={"Prometheus": "Empty"})
    return EndedRun(run=entry.run, started_at=START, observation=seen)


@pytest.fixture(scope="module")
def page() -> str:
    """Return the page of an operator with one study, after everything happened once."""
    metrics, cache = OperatorMetrics(lambda: 0.0), Cache()
    metrics.count_reconcile(0.1, None)
    metrics.count_api_request("GET", None)
    metrics.count_ended_run(ended())
    status = dump_status(large_status(worst=False))
    metrics.count_round(None, replace(make_round(), published=PUBLISHED))
    status["pools"][0]["improvementPercent"] = "12.5"
    status["pools"][0]["best"] |= {"reusedFrom": "other", "tokensPerJoule": "0.4"}
    status["pools"][0]["trials"]["reused"] = 3
    status["rounds"][-1] |= {"improvementPercent": "12.5", "openedAt": "2026-01-01T00:00:00Z"}
    status["published"] = {**status["best"], "at": "2026-01-01T00:00:00Z", "reason": "FirstResult", "message": "m"}
    stale = next(each for each in status["conditions"] if each["type"] == "ResultStale")
    stale["status"] = "True"
    metadata = {"namespace": "serving", "name": "one", "uid": "u", "resourceVersion": "1"}
    cache.see_study({"metadata": metadata, "status": status})
    shown = MetricsPage(metrics, cache, queue_depth=lambda: 0, clock=lambda: START)
    return asyncio.run(shown.render("", compressed=False)).body.decode()


def _named(metrics: Iterator[Metric]) -> Iterator[tuple[str, set[str]]]:
    for metric in metrics:
        for sample in metric.samples:
            name = re.sub("_(bucket|sum|count)$", "", sample.name) if metric.type == "histogram" else sample.name
            yield name, sample.labels.keys() - {"le"}


def test_labels_are_those_of_the_document(page: str) -> None:
    """Each operator metric has a sample here, with exactly the documented labels."""
    labels = {name: found for name, found in _named(text_string_to_metric_families(page)) if "infpop" in name}
    promised = {name: labels for name, (_, labels) in documented().items() if "of a" not in name}
    assert labels == {name: promised[name] for name in labels}
    operator = DOCUMENT.read_text(encoding="utf-8").partition("## Runners")[0]
    assert set(labels) == {row["name"] for row in ROW.finditer(operator)}


@pytest.mark.prometheus
def test_promtool_has_no_complaint(page: str) -> None:
    """Names, units, types and help texts follow Prometheus conventions."""
    assert complaints_about(page) == []
