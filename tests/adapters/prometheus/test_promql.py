"""The exact PromQL queries; no value can break out of its quotes."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.prometheus.api import END, RUN, START
from infpop_operator.adapters.prometheus.promql import (
    Query,
    metric_query,
    quoted,
    throughput_query,
)
from infpop_operator.core.extra_metrics import LARGEST, PRESETS, ExtraMetric, Preset

WINDOW = (START + timedelta(seconds=60), START + timedelta(seconds=97.9))
HOSTILE = '"} or up{a="\\\'`\n\u2028\U0001f600\0$pod#'

GOLDEN: dict[Preset, str] = {
    "gpuUtilization": (
        "max by (Hostname, UUID, gpu) ("
        'avg_over_time(DCGM_FI_DEV_GPU_UTIL{namespace="serving",pod="study-1-x7f"}[37s]) or '
        'avg_over_time(DCGM_FI_DEV_GPU_UTIL{exported_namespace="serving",exported_pod="study-1-x7f"}[37s]))'
    ),
    "gpuPower": (
        "max by (Hostname, UUID, gpu) ("
        'avg_over_time(DCGM_FI_DEV_POWER_USAGE{namespace="serving",pod="study-1-x7f"}[37s]) or '
        'avg_over_time(DCGM_FI_DEV_POWER_USAGE{exported_namespace="serving",exported_pod="study-1-x7f"}[37s]))'
    ),
    "gpuMemory": (
        "max by (Hostname, UUID, gpu) ("
        'max_over_time(DCGM_FI_DEV_FB_USED{namespace="serving",pod="study-1-x7f"}[37s]) or '
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


def asked(query: str, **changes: object) -> Query | None:
    """Return the query sent for a metric of the run with these changes."""
    return metric_query(metric(query), replace(RUN, **changes), WINDOW)


def unquoted(text: str) -> str:
    """Return the content of a PromQL string, by PromQL's own rules."""
    assert text.isascii()
    return text.encode().decode("unicode_escape")


def test_all_samples_of_a_run_are_asked_for() -> None:
    """The query covers the run from its start to a little after its end, and no other run."""
    query = 'infpop_trial_throughput_tokens_per_second{namespace="serving",study="study",run="study-1"}[305s]'
    assert throughput_query(RUN) == Query(promql=query, at=END + timedelta(seconds=5))


def test_a_run_without_duration_is_queried_too() -> None:
    """A range is never empty or negative, whatever the Nodes' clocks say, and rounding up loses no sample."""
    assert throughput_query(replace(RUN, ended_at=START)).promql.endswith("[5s]")
    assert throughput_query(replace(RUN, ended_at=START + timedelta(milliseconds=1))).promql.endswith("[6s]")
    assert throughput_query(replace(RUN, ended_at=START - timedelta(hours=1))).promql.endswith("[1s]")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_ready_made_query_asks_for_the_pod_in_both_styles_of_labels(preset: Preset) -> None:
    """It is evaluated at the end of the trial's window and reaches back no further than its start."""
    query, unit, _ = PRESETS[preset]
    assert metric_query(metric(query), RUN, WINDOW) == Query(promql=GOLDEN[preset], at=WINDOW[1], lookback_seconds=37)
    assert unit in LARGEST


def test_a_placeholder_is_replaced_everywhere() -> None:
    """It is replaced every time, also next to letters; a word that only starts like one is left alone."""
    found = asked('a{p="$pod",q=~"x$namespace.$pod"}[$window] offset $window + $podium $windows')
    assert found is not None
    assert found.promql == 'a{p="study-1-x7f",q=~"xserving.study-1-x7f"}[37s] offset 37s + $podium $windows'


def test_a_value_is_not_a_placeholder() -> None:
    """Replaced values are not expanded again."""
    found = asked('a{n="$namespace",p="$pod"}', namespace="$pod", pod="$window")
    assert found is not None
    assert found.promql == 'a{n="$pod",p="$window"}'


@pytest.mark.parametrize(
    ("seconds", "range_"), [(0.0, "1s"), (0.4, "1s"), (1.0, "1s"), (59.999, "59s"), (7200, "7200s")]
)
def test_a_window_is_whole_seconds(seconds: float, range_: str) -> None:
    """The window shrinks rather than include the warm-up; it is at least a second, as PromQL has no empty range."""
    found = metric_query(metric("a[$window]"), RUN, (START, START + timedelta(seconds=seconds)))
    assert found is not None
    assert found.promql == f"a[{range_}]"


def test_without_a_pod_only_what_needs_none_is_asked() -> None:
    """Outside a cluster, or if the Pod is gone, there is nothing to ask for."""
    assert asked('a{pod="$pod"}', pod=None) is None
    assert asked('a{namespace="$namespace"}[$window]', pod=None) is not None


@given(value=st.text())
def test_every_value_stays_inside_its_quotes(value: str) -> None:
    """No value ends a string, in any kind of quotes, and no character is lost or changed."""
    text = quoted(value)
    assert re.fullmatch(r"(?:[ -~])*", text)
    assert not set(text) & set("\"'`")
    assert unquoted(text) == value


@given(namespace=st.text(), run=st.text(), pod=st.text())
def test_hostile_names_change_no_query(namespace: str, run: str, pod: str) -> None:
    """A query has the same shape for every name: removing the names leaves the same text."""
    names = replace(RUN, namespace=namespace, study=run, run=run, pod=pod)
    pattern = r'infpop_trial_throughput_tokens_per_second\{namespace="(.*)",study="(.*)",run="(.*)"\}\[305s\]'
    found = re.fullmatch(pattern, throughput_query(names).promql)
    assert found is not None
    assert [unquoted(text) for text in found.groups()] == [namespace, run, run]
    query = metric_query(metric('a{n="$namespace",p="$pod"}'), names, WINDOW)
    assert query is not None
    assert query.promql == f'a{{n="{quoted(namespace)}",p="{quoted(pod)}"}}'


def test_a_hostile_value_is_escaped() -> None:
    """This covers all quotes, backslashes, line ends and non-ASCII characters."""
    expected = "\\u0022} or up{a=\\u0022\\u005c\\u0027\\u0060\\u000a\\u2028\\U0001f600\\u0000$pod#"
    assert quoted(HOSTILE) == expected
