"""What the chart says about values that cannot be meant: where, and what to write instead."""

import pytest

from charts.helm import Document, HelmError, helm, template
from charts.values import NODES

pytestmark = pytest.mark.cluster  # needs no control plane, only helm, which is built with it

IMAGE_NAME = (
    "value must be 'the name of an image without tag and digest, which are values of their own, in lower case: "
    "registry.example.com/infpop-operator'"
)
NAME = "value must be 'text of lower-case letters, digits and -, at most 63 characters'"
ONE = "value must be 'the number 1, or 0 to stop the operator (two hinder each other)'"
PROMETHEUS = (
    "value must be 'an address that begins with http:// or https://, without user and password (for them: "
    "prometheus.secretName)'"
)
SECONDS = "value must be 'a number of seconds above 0'"
TAG = "value must be 'a tag as text: quotes in a file, or --set-string (Helm reads 1.10 as the number 1.1)'"
LABEL = "value must be 'text of letters, digits, -, _ and ., at most 63; put a number, true or false in quotes'"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # Helm's own words are clear.
        ({"replica": 1}, "at '': additional properties 'replica' not allowed"),
        ({"crds": {"instal": True}}, "at '/crds': additional properties 'instal' not allowed"),
        ({"nodes": [{"name": "n1"}]}, "at '/nodes/0': missing property 'capacity'"),
        (
            {"image": {"pullPolicy": "Sometimes"}},
            "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent',",
        ),
        ({"operator": {"probeAddress": "::"}}, "at '/operator/probeAddress': value must be one of '0.0.0.0', '[::]'"),
        (
            {"prometheus": {"sources": ["X"]}},
            "at '/prometheus/sources/0': value must be one of 'Prometheus', 'PodMetrics'",
        ),
        # They would name a pattern, a bound or a type.
        ({"replicas": 2}, f"at '/replicas': {ONE}"),
        ({"replicas": "2"}, f"at '/replicas': {ONE}"),
        ({"prometheus": {"url": "prometheus:9090"}}, f"at '/prometheus/url': {PROMETHEUS}"),
        ({"prometheus": {"url": "http://user:word@prometheus:9090"}}, f"at '/prometheus/url': {PROMETHEUS}"),
        (
            {"grafana": {"url": "grafana"}},
            "at '/grafana/url': value must be 'an address that begins with http:// or http",
        ),
        ({"image": {"repository": "registry:5000/op:0.1.0"}}, f"at '/image/repository': {IMAGE_NAME}"),
        ({"image": {"repository": "ghcr.io/MyTeam/op"}}, f"at '/image/repository': {IMAGE_NAME}"),
        ({"runner": {"image": {"repository": "infpop-runner:1"}}}, f"at '/runner/image/repository': {IMAGE_NAME}"),
        ({"image": {"tag": 1.1}}, f"at '/image/tag': {TAG}"),
        ({"image": {"digest": "0123"}}, "at '/image/digest': value must be 'sha256: and 64 hexadecimal digits'"),
        (
            {"global": {"imageRegistry": "https://mirror.io"}},
            "at '/global/imageRegistry': value must be 'a registry such",
        ),
        ({"rbac": {"create": "no"}}, "at '/rbac/create': value must be 'true or false, without quotes'"),
        ({"watchNamespace": "Not A Name"}, f"at '/watchNamespace': {NAME}"),
        ({"fullnameOverride": "7"}, f"at '/fullnameOverride': {NAME[:-1]}, that begins with a letter'"),
        ({"nodeSelector": {"gpu": False}}, f"at '/nodeSelector/gpu': {LABEL}"),
        ({"commonLabels": {"owner": "Team A"}}, f"at '/commonLabels/owner': {LABEL}"),
        ({"podLabels": {"a b": "c"}}, "at '/podLabels': additional properties 'a b' not allowed"),
        ({"operator": {"tickSeconds": 0}}, f"at '/operator/tickSeconds': {SECONDS}"),
        ({"operator": {"tickSeconds": "often"}}, f"at '/operator/tickSeconds': {SECONDS}"),
        ({"metrics": {"scrapeGrace": 601}}, f"at '/metrics/scrapeGrace': {SECONDS[:-1]} and at most 600'"),
        (
            {"metrics": {"podMonitor": {"interval": 5}}},
            "at '/metrics/podMonitor/interval': value must be 'a duration su",
        ),
        (
            {"test": {"timeoutSeconds": 1}},
            "at '/test/timeoutSeconds': value must be 'a whole number of seconds from 30 t",
        ),
        # What an upgrade with --reuse-values lacks.
        (
            {"global": None},
            "at '': value must be 'complete: --reuse-values lacks values that are new in this version; ",
        ),
        # Values that contradict each other.
        (
            {"prometheus": {"tokenKey": "token"}},
            "prometheus.secretName is empty, but prometheus names keys of a Secret",
        ),
        (
            {"prometheus": {"secretName": "s", "certKey": "c"}},
            "prometheus.certKey and prometheus.privateKeyKey belong t",
        ),
        (
            {"rbac": {"readNodes": False}},
            "rbac.readNodes: false means that the operator cannot ask which nodes there are",
        ),
        ({"nodes": NODES}, "nodes is used only with rbac.readNodes: false"),
        (
            {"podLabels": {"app.kubernetes.io/component": "x"}},
            "podLabels: app.kubernetes.io/component is a label of the",
        ),
        ({"extraEnv": [{"name": "INFPOP_TICK_SECONDS"}]}, "extraEnv: INFPOP_TICK_SECONDS is set by the chart already."),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(values: Document, message: str) -> None:
    """A typing error, a second operator or a password in a URL never reaches a cluster, and a person can correct it."""
    with pytest.raises(HelmError) as caught:
        template(values=values)
    assert f"- {message}" in str(caught.value)
    assert "pattern" not in str(caught.value)


def test_lint_says_the_same() -> None:
    """A pipeline that only lints finds the value too."""
    with pytest.raises(HelmError) as caught:
        helm("lint", "CHART", "--set=prometheus.url=prometheus:9090")
    assert f"at '/prometheus/url': {PROMETHEUS}" in str(caught.value)
