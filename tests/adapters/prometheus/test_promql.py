"""What Prometheus is asked, to the letter; and no value gets out of its quotes."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.prometheus.api import END, RUN, START
from infpop_operator.adapters.prometheus.promql import (
    Question,
    metric_question,
    quoted,
    throughput_question,
)
from infpop_operator.core.extra_metrics import LARGEST, PRESETS, ExtraMetric, Preset

WINDOW = (START + timedelta(seconds=60), START + timedelta(seconds=97.9))
HOSTILE = '"} or up{a="\\\'`\n\u2028\U0001f600\0$pod#'

GOLDEN: dict[Preset, str] = {
    "gpuUtilization": (
        "avg(max by (Hostname, UUID, gpu) ("
        'avg_over_time(DCGM_FI_DEV_GPU_UTIL{namespace="serving",pod="study-1-x7f"}[37s]) or '
        'avg_over_time(DCGM_FI_DEV_GPU_UTIL{exported_namespace="serving",exported_pod="study-1-x7f"}[37s])))'
    ),
    "gpuPower": (
        "sum(max by (Hostname, UUID, gpu) ("
        'avg_over_time(DCGM_FI_DEV_POWER_USAGE{namespace="serving",pod="study-1-x7f"}[37s]) or '
        'avg_over_time(DCGM_FI_DEV_POWER_USAGE{exported_namespace="serving",exported_pod="study-1-x7f"}[37s])))'
    ),
    "gpuMemory": (
        'max(max_over_time(DCGM_FI_DEV_FB_USED{namespace="serving",pod="study-1-x7f"}[37s]) or '
        'max_over_time(DCGM_FI_DEV_FB_USED{exported_namespace="serving",exported_pod="study-1-x7f"}[37s])) * 1048576'
    ),
    "cpuUsage": (
        'max(rate(container_cpu_usage_seconds_total{namespace="serving",pod="study-1-x7f"}[37s]) or '
        'rate(container_cpu_usage_seconds_total{exported_namespace="serving",exported_pod="study-1-x7f"}[37s]))'
    ),
}


def metric(query: str) -> ExtraMetric:
    """Return a metric with this query."""
    return ExtraMetric(name="metric", query=query, unit="count")


def asked(query: str, **changes: object) -> Question | None:
    """Return what is asked for a query of the run with these changes."""
    return metric_question(metric(query), replace(RUN, **changes), WINDOW)


def unquoted(text: str) -> str:
    """Return what a string of PromQL says, by its own rules."""
    assert text.isascii()
    return text.encode().decode("unicode_escape")


def test_all_samples_of_a_run_are_asked_for() -> None:
    """From its start to a little after its end, those of the run alone."""
    query = 'infpop_trial_throughput_tokens_per_second{namespace="serving",study="study",run="study-1"}[305s]'
    assert throughput_question(RUN) == Question(query=query, at=END + timedelta(seconds=5))


def test_a_run_of_no_time_is_asked_about_all_the_same() -> None:
    """A range is never empty nor negative, whatever the clocks of nodes say, and rounded up it loses no sample."""
    assert throughput_question(replace(RUN, ended_at=START)).query.endswith("[5s]")
    assert throughput_question(replace(RUN, ended_at=START + timedelta(milliseconds=1))).query.endswith("[6s]")
    assert throughput_question(replace(RUN, ended_at=START - timedelta(hours=1))).query.endswith("[1s]")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_ready_made_query_asks_for_the_pod_in_both_styles_of_labels(preset: Preset) -> None:
    """At the end of the trial's own time, and never further back than its beginning."""
    query, unit = PRESETS[preset]
    assert metric_question(metric(query), RUN, WINDOW) == Question(
        query=GOLDEN[preset], at=WINDOW[1], lookback_seconds=37
    )
    assert unit in LARGEST


def test_a_placeholder_is_replaced_wherever_it_stands() -> None:
    """Several times, beside letters of other words; a word that only begins like one is left alone."""
    found = asked('a{p="$pod",q=~"x$namespace.$pod"}[$window] offset $window + $podium $windows')
    assert found is not None
    assert found.query == 'a{p="study-1-x7f",q=~"xserving.study-1-x7f"}[37s] offset 37s + $podium $windows'


def test_a_value_is_no_placeholder() -> None:
    """What a value says is not replaced again."""
    found = asked('a{n="$namespace",p="$pod"}', namespace="$pod", pod="$window")
    assert found is not None
    assert found.query == 'a{n="$pod",p="$window"}'


@pytest.mark.parametrize(
    ("seconds", "range_"), [(0.0, "1s"), (0.4, "1s"), (1.0, "1s"), (59.999, "59s"), (7200, "7200s")]
)
def test_a_window_is_whole_seconds(seconds: float, range_: str) -> None:
    """Rather less of the trial than its warm-up; at least a second, since PromQL knows no empty range."""
    found = metric_question(metric("a[$window]"), RUN, (START, START + timedelta(seconds=seconds)))
    assert found is not None
    assert found.query == f"a[{range_}]"


def test_without_a_pod_only_what_needs_none_is_asked() -> None:
    """Outside a cluster, or where the pod is gone, there is nothing to ask for."""
    assert asked('a{pod="$pod"}', pod=None) is None
    assert asked('a{namespace="$namespace"}[$window]', pod=None) is not None


@given(value=st.text())
def test_every_value_stays_inside_its_quotes(value: str) -> None:
    """Nothing that could end a string, in any kind of quotes, and nothing is lost or changed."""
    text = quoted(value)
    assert re.fullmatch(r"(?:[ -~])*", text)
    assert not set(text) & set("\"'`")
    assert unquoted(text) == value


@given(namespace=st.text(), run=st.text(), pod=st.text())
def test_hostile_names_change_no_query(namespace: str, run: str, pod: str) -> None:
    """A question has the same shape for every name: taken out again, the names leave the same text behind."""
    names = replace(RUN, namespace=namespace, study=run, run=run, pod=pod)
    pattern = r'infpop_trial_throughput_tokens_per_second\{namespace="(.*)",study="(.*)",run="(.*)"\}\[305s\]'
    found = re.fullmatch(pattern, throughput_question(names).query)
    assert found is not None
    assert [unquoted(text) for text in found.groups()] == [namespace, run, run]
    question = metric_question(metric('a{n="$namespace",p="$pod"}'), names, WINDOW)
    assert question is not None
    assert question.query == f'a{{n="{quoted(namespace)}",p="{quoted(pod)}"}}'


def test_a_hostile_value_is_escaped() -> None:
    """Quotes of all kinds, a backslash, ends of lines and what is no ASCII."""
    expected = "\\u0022} or up{a=\\u0022\\u005c\\u0027\\u0060\\u000a\\u2028\\U0001f600\\u0000$pod#"
    assert quoted(HOSTILE) == expected
