"""Invariant 8: what the operator may do, as the API server sees it, and what a run may do: nothing."""

import json

import pytest
import yaml

from cluster.operator_process import RBAC, OperatorProcess
from cluster.place import Place, throughput
from controlplane.behaviours import replay
from controlplane.cluster import ControlPlane

pytestmark = pytest.mark.cluster

ACCOUNT = "system:serviceaccount:infpop:infpop-operator"
READ = {"list", "watch"}
# Everything that examples/cluster/rbac.yaml grants. A line more is a decision, and README and chart have to say it.
RIGHTS = {
    "throughputstudies.infpop.io": READ,
    "throughputstudies.infpop.io/status": {"update"},
    "jobs.batch": {*READ, "get", "create", "patch", "delete"},
    "pods": {*READ, "delete"},
    "nodes": READ,
    "configmaps": {"get", "list", "create", "patch"},
    "events": {"list", "create"},
    "workloads.kueue.x-k8s.io": {"list"},
    "customresourcedefinitions.apiextensions.k8s.io": {"list", "watch"},
}


def may(cluster: ControlPlane, *request: str) -> bool:
    """Say whether the operator's account may do it in the namespace `default`."""
    command = ("auth", "can-i", *request, "--as", ACCOUNT, "--namespace", "default", "--quiet")
    try:
        cluster.kubectl(*command)
    except AssertionError:
        return False
    return True


def test_the_rights_are_these_and_no_others(installed: ControlPlane) -> None:
    """Invariant 8: the operator's rights are the list above, without wildcards; everybody's own come with them."""
    granted: dict[str, set[str]] = {}
    for rule in _rules(installed, ACCOUNT):
        for resource in rule["resources"]:
            for group in rule["apiGroups"]:
                name, _, part = resource.partition("/")
                key = (f"{name}.{group}" if group else name) + (f"/{part}" if part else "")
                granted.setdefault(key, set()).update(rule["verbs"])
    everybody = {
        key
        for key in granted
        if key.split(".")[1:] in (["authorization", "k8s", "io"], ["authentication", "k8s", "io"])
    }
    assert {key: verbs for key, verbs in granted.items() if key not in everybody} == RIGHTS
    assert "*" not in json.dumps(list(yaml.safe_load_all(RBAC.read_text())))


def _rules(cluster: ControlPlane, account: str) -> list[dict[str, list[str]]]:
    """Return what the API server says that the account may do with resources in the namespace `default`."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "default"},
    }
    answer = cluster.kubectl("create", "--as", account, "-f", "-", "--output=json", input=json.dumps(review))
    rules: list[dict[str, list[str]]] = json.loads(answer)["status"]["resourceRules"]
    return rules


@pytest.mark.parametrize(
    "request_",
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("patch", "pods"),
        ("create", "pods/exec"),
        ("update", "throughputstudies.infpop.io"),
        ("patch", "throughputstudies.infpop.io"),
        ("update", "throughputstudies.infpop.io/finalizers"),
        ("delete", "throughputstudies.infpop.io"),
        ("patch", "nodes"),
        ("patch", "namespaces"),
        ("delete", "configmaps"),
        ("create", "serviceaccounts/token"),
        ("impersonate", "users"),
    ],
    ids="-".join,
)
def test_the_operator_may_not(installed: ControlPlane, request_: tuple[str, ...]) -> None:
    """Invariants 2, 7, 8: no secret, pod's change, node, spec or finalizer is in the operator's reach."""
    assert not may(installed, *request_)
    assert may(installed, "create", "jobs.batch")


def test_every_right_is_needed(place: Place, quick_operator: OperatorProcess) -> None:
    """Invariant 8: what the operator was seen to do is what it may do: no right is there for nothing."""
    assert quick_operator.is_running()
    place.study(budget={"maxTrials": 1}, publish={"configMap": "best"}, ttlSecondsAfterFinished=0)
    with place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")
        place.wait_until(lambda: place.objects("job") == [], what="the end of the Job")
    used: dict[str, set[str]] = {}
    for entry in place.cluster.audit_entries():
        if entry.user == ACCOUNT and entry.resource:
            used.setdefault(entry.resource, set()).add(entry.verb)
    by_name = {
        key.split(".")[0] + ("/status" if key.endswith("/status") else ""): verbs for key, verbs in RIGHTS.items()
    }
    assert {key: verbs - by_name[key] for key, verbs in used.items() if verbs - by_name[key]} == {}
    # Where nothing goes wrong no Job is read by name, deleted or asked why it has no pod, no pod is deleted, and no
    # Job is queued.
    spared = {"jobs": {"get", "delete"}, "pods": {"delete"}, "events": {"list"}, "workloads": {"list"}}
    unused = {key: verbs - used.get(key, set()) - spared.get(key, set()) for key, verbs in by_name.items()}
    assert {key: verbs for key, verbs in unused.items() if verbs} == {}


def test_pods_have_no_rights(place: Place, quick_operator: OperatorProcess) -> None:
    """Invariant 8: a run's pod has no token, no host, no privileges and no secret but the one that the study names."""
    assert quick_operator.is_running()
    place.study(model={"name": "example/model", "tokenSecretRef": {"name": "hf-token", "key": "token"}})
    place.wait_until(place.running_pods, what="a pod")
    (pod,) = place.running_pods()
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert [
        volume for volume in spec["volumes"] if "projected" in volume or "secret" in volume or "hostPath" in volume
    ] == []
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [variable["name"] for variable in container["env"] if "secretKeyRef" in variable.get("valueFrom", {})] == [
        "HF_TOKEN"
    ]
