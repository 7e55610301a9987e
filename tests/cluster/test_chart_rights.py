"""Invariant 8: the chart's rights are the least that do. Each rule is taken away in turn, and something fails."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from charts.helm import of_kind, rendered
from cluster.conftest import QUICK
from cluster.operator_process import OperatorProcess, running_operator
from cluster.place import Place, throughput
from cluster.studies import apply_documents, find_condition
from controlplane.behaviours import replay
from controlplane.cluster import ControlPlane

pytestmark = pytest.mark.cluster
Rule = dict[str, Any]
Lack = Callable[[Place, OperatorProcess], bool]


def has_no_status(place: Place, _: OperatorProcess) -> bool:
    """Say that nothing was ever written on the study."""
    return place.status() == {}


def says_missing_rights(place: Place, _: OperatorProcess) -> bool:
    """Assert that the study reports which right is missing."""
    return find_condition(place.status(), "Ready").get("reason") == "MissingRights"


def has_no_events(place: Place, operator: OperatorProcess) -> bool:
    """Assert that no Event was recorded, and that the log reports it."""
    return place.reasons() == [] and "Event Valid not written" in operator.text()


def complains_of_definitions(_: Place, operator: OperatorProcess) -> bool:
    """Say that the log complains: kopf does not notice a definition that comes later, and gives up in the end."""
    return "customresourcedefinitions.apiextensions.k8s.io is forbidden" in operator.text()


# What a user can see when the rule for a resource is gone.
LACKS: Mapping[str, Lack] = {
    "throughputstudies": has_no_status,
    "throughputstudies/status": has_no_status,
    "jobs": has_no_status,
    "pods": has_no_status,
    "nodes": has_no_status,
    "configmaps": says_missing_rights,
    "events": has_no_events,
    "customresourcedefinitions": complains_of_definitions,
}


def rules() -> list[Rule]:
    """Return the rules of the chart's ClusterRole."""
    (role,) = (each for each in of_kind(rendered(), "ClusterRole") if each["metadata"]["name"] == "infpop")
    found: list[Rule] = role["rules"]
    return found


def account_with(cluster: ControlPlane, namespace: str, granted: list[Rule]) -> tuple[str, str]:
    """Return a service account of the namespace that may do this in the whole cluster, and nothing else."""
    cluster.kubectl("create", "serviceaccount", "operator", "--namespace", namespace)
    metadata = {"name": namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": granted}
    apply_documents(cluster, role)
    options = (f"--clusterrole={namespace}", f"--serviceaccount={namespace}:operator")
    cluster.kubectl("create", "clusterrolebinding", namespace, *options)
    return (namespace, "operator")


def denied(cluster: ControlPlane, namespace: str) -> set[str]:
    """Return the resources of which the API server refused the operator something, here or in the whole cluster.

    Elsewhere studies of other tests are: where their namespace is about to go, everybody is refused.
    """
    user = f"system:serviceaccount:{namespace}:operator"
    entries = [entry for entry in cluster.audit_entries(about=user) if entry.user == user]
    return {entry.resource for entry in entries if entry.code == 403 and entry.namespace in ("", namespace)}


def test_every_rule_is_taken_away_once() -> None:
    """Each rule of the chart has a case here that fails without it; without Workloads only a message is lost."""
    assert sorted(resource for rule in rules() for resource in rule["resources"]) == sorted([*LACKS, "workloads"])


def test_with_all_of_them_nothing_is_refused(place: Place, tmp_path: Path) -> None:
    """The operator completes a study, publishes it and records Events, and requests nothing that it may not."""
    account = account_with(place.cluster, place.namespace, rules())
    with running_operator(place.cluster, tmp_path, namespace=None, environment=QUICK, account=account):
        create_study(place)
        with place.kubelet(replay(throughput)):
            place.wait_for("Succeeded")
            place.wait_until(lambda: place.find("configmap", "best"), what="the ConfigMap")
            place.wait_until(lambda: "Succeeded" in place.reasons(), what="the Event")
    assert denied(place.cluster, place.namespace) == set()


@pytest.mark.parametrize("missing", LACKS)
def test_without_a_rule_something_fails(place: Place, tmp_path: Path, missing: str) -> None:
    """The API server refuses what the rule is for, and the user sees what is missing."""
    granted = [rule for rule in rules() if missing not in rule["resources"]]
    account = account_with(place.cluster, place.namespace, granted)
    operator = OperatorProcess(place.cluster, tmp_path, namespace=None, environment=QUICK, account=account)
    create_study(place)
    operator.start()
    try:
        place.wait_until(lambda: missing in denied(place.cluster, place.namespace), what=f"a refusal of {missing}")
        place.wait_until(lambda: LACKS[missing](place, operator), what=f"a sign that {missing} is missing")
    finally:
        operator.kill()
    assert denied(place.cluster, place.namespace) == {missing}


def test_without_the_rule_for_workloads_a_queued_study_only_waits(place: Place, tmp_path: Path) -> None:
    """The operator asks why the run is queued, is refused, and reports no missing right."""
    granted = [rule for rule in rules() if "workloads" not in rule["resources"]]
    account = account_with(place.cluster, place.namespace, granted)
    with running_operator(place.cluster, tmp_path, namespace=None, environment=QUICK, account=account):
        place.study(scheduling={"queueName": "gpus"})
        place.wait_until(lambda: denied(place.cluster, place.namespace) == {"workloads"}, what="a refusal")
        place.wait_for("Ready", "False", reason="Queued")


def create_study(place: Place) -> None:
    """Create a study that needs every right of the operator."""
    place.study(budget={"maxTrials": 1}, publish={"configMap": "best"})
