"""What users add to the chart's objects: labels, objects of their own, and other security contexts."""

import pytest

from charts.helm import Document, HelmError, of_kind, rendered, template
from charts.values import EVERYTHING

pytestmark = pytest.mark.cluster  # needs no control plane, only helm, which is built with it


def test_common_labels_are_on_every_object_and_select_nothing() -> None:
    """A platform's labels for costs or owners may change later: no selector, which cannot change, contains them."""
    values = {**EVERYTHING, "extraObjects": [], "commonLabels": {"team": "serving"}}
    documents = rendered(values=values)
    (deployment,) = of_kind(documents, "Deployment")
    labelled = [document["metadata"] for document in (*documents, deployment["spec"]["template"])]
    assert [metadata.get("name") for metadata in labelled if metadata["labels"].get("team") != "serving"] == []
    assert "team" not in deployment["spec"]["selector"]["matchLabels"]


def test_a_label_of_one_object_comes_before_a_common_one() -> None:
    """The label by which a Prometheus finds monitors may also be a common one, with another value."""
    values = {
        "commonLabels": {"release": "infpop"},
        "podLabels": {"release": "pods"},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}}},
    }
    documents = rendered(values=values)
    (deployment,), (monitor,) = of_kind(documents, "Deployment"), of_kind(documents, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert deployment["metadata"]["labels"]["release"] == "infpop"
    assert deployment["spec"]["template"]["metadata"]["labels"]["release"] == "pods"


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"commonLabels": {"app.kubernetes.io/name": "mine"}}, "commonLabels"),
        ({"metrics": {"podMonitor": {"labels": {"app.kubernetes.io/name": "mine"}}}}, "metrics.podMonitor.labels"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "podLabels"),
    ],
)
def test_the_charts_own_labels_cannot_be_replaced(values: Document, place: str) -> None:
    """A label with two values would be invalid YAML, or select another release's Pods."""
    with pytest.raises(HelmError, match=rf"- {place}: app\.kubernetes\.io/name is a label of the chart's own"):
        template(values=values)


def test_extra_objects_are_templates() -> None:
    """Maps and texts alike may use the release and the values."""
    values = {"watchNamespace": "team", "extraObjects": EVERYTHING["extraObjects"]}
    names = {document["metadata"]["name"] for document in of_kind(rendered(values=values), "ConfigMap")}
    assert names == {"infpop-map", "team-text"}


def test_security_contexts_may_be_stricter_or_looser() -> None:
    """A cluster that requires a numeric user gets one in both Pods, and keeps the rest of the defaults."""
    values = {"podSecurityContext": {"runAsUser": 1000}, "securityContext": {"readOnlyRootFilesystem": False}}
    documents = rendered(values=values)
    (deployment,), (watcher,) = of_kind(documents, "Deployment"), of_kind(documents, "Pod")
    for pod in (deployment["spec"]["template"]["spec"], watcher["spec"]):
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is False
