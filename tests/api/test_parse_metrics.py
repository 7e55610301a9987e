"""A metric in a study is a query with known placeholders, or the name of a preset query."""

from dataclasses import replace
from typing import get_args

import pytest
import yaml

from api.documents import changed as changed_document
from factories.studies import make_pool
from infpop_operator.api.convert import to_metric, to_study
from infpop_operator.api.parse import parse_document
from infpop_operator.api.spec_metrics import ExtraMetric as SpecMetric
from infpop_operator.core.errors import StudyError
from infpop_operator.core.extra_metrics import ExtraMetric, Preset


def changed(path: str, value: object) -> str:
    """Return the valid document as YAML with one value replaced."""
    return yaml.safe_dump(changed_document({path: value}))


def problems(text: str) -> str:
    """Return the whole message for an invalid document."""
    with pytest.raises(StudyError) as caught:
        parse_document(text, source="study.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        'avg(a{namespace="$namespace",pod="$pod"})',
        "max_over_time(a[$window:15s])",
        'a{pod=~"^x.*$"} / b{pod=~"(a$|b$)"}',
        'label_replace(a{pod="$pod"}, "gpu", "$1-${2}", "device", "(.*)(.)")',
        "a\n  + b",
        "1",
    ],
)
def test_a_dollar_that_is_promqls_own_is_left_to_it(query: str) -> None:
    """Regular expression anchors and groups are not placeholders."""
    metrics = [{"name": "figure", "query": query, "unit": "count"}]
    document = parse_document(changed("spec.metrics", metrics), source="study.yaml")
    assert to_metric(document.spec.metrics[0]) == ExtraMetric(name="figure", query=query, unit="count")


@pytest.mark.parametrize(
    "query", ["$Pod", "$pods", "${pod}", "${window}", "$pod_name", "a[$__rate_interval]", "$a$pod"]
)
def test_an_unknown_placeholder_is_refused(query: str) -> None:
    """Prometheus would misread it, or refuse it only after the GPUs were used."""
    metrics = [{"name": "figure", "query": query, "unit": "count"}]
    assert "spec.metrics[0].query" in problems(changed("spec.metrics", metrics))


@pytest.mark.parametrize("preset", get_args(Preset))
def test_a_preset_is_a_query_with_a_unit_and_known_placeholders(preset: Preset) -> None:
    """Every preset passes the checks for a user's own query."""
    metric = to_metric(SpecMetric(name="figure", preset=preset))
    written = [{"name": "figure", "query": metric.query, "unit": metric.unit}]
    document = parse_document(changed("spec.metrics", written), source="study.yaml")
    assert [to_metric(each) for each in document.spec.metrics] == [replace(metric, across_gpus=None)]


@pytest.mark.parametrize("metric", [SpecMetric(name="a"), SpecMetric(name="a", query="b")])
def test_a_metric_that_no_rule_has_seen_is_an_error(metric: SpecMetric) -> None:
    """Whatever the rules refuse is an error, not a guess."""
    with pytest.raises(ValueError, match="no preset"):
        to_metric(metric)


def test_the_only_metric_in_watts_is_the_power() -> None:
    """Studies with a power metric report tokens per joule; with two such metrics it is unclear which one is meant."""

    def power(*metrics: dict[str, str]) -> str | None:
        document = parse_document(changed("spec.metrics", list(metrics)), source="study.yaml")
        study = to_study(
            document, pools=(make_pool(),), model_fingerprint="m", workload_fingerprint="w", model_facts=None
        )
        return study.objective.power_metric

    gpus, cpu = {"name": "gpus", "preset": "gpuPower"}, {"name": "cpu", "query": "p", "unit": "watts"}
    assert (power(), power(gpus), power(cpu), power(gpus, cpu)) == (None, "gpus", "cpu", None)
