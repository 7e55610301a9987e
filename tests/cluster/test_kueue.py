"""A study in a queue of Kueue itself: it waits, is admitted, loses its GPUs to others, and goes on.

Kueue's controller has its own installation, rights and webhooks (`kueue.controller`).
"""

import threading
from collections.abc import Iterator

import pytest

from cluster.operator_process import OperatorProcess
from cluster.place import Body, Place, throughput
from cluster.studies import apply_documents, find_condition
from controlplane.behaviours import Succeeds, replay
from controlplane.cluster import ControlPlane
from controlplane.processes import Process
from kueue.controller import running_kueue

pytestmark = [pytest.mark.gitops, pytest.mark.usefixtures("quick_operator")]
API = "kueue.x-k8s.io/v1beta2"
QUEUE = "gpus"
GPUS = 2  # of the queue: what one run of the study needs, and any other Job
URGENT = "urgent"
SPACE = {"gpuCount": [GPUS], "batchSize": [8, 64]}


@pytest.fixture(scope="module", autouse=True)
def kueue(
    installed: ControlPlane, quick_operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """Kueue's controller, for all tests of this module."""
    assert quick_operator.is_running()
    with running_kueue(installed, tmp_path_factory.mktemp("kueue")) as process:
        document = {"apiVersion": API, "kind": "WorkloadPriorityClass", "metadata": {"name": URGENT}, "value": 1000}
        apply_documents(installed, document)
        yield process


@pytest.fixture
def queue(place: Place) -> str:
    """A LocalQueue of the test's namespace, whose ClusterQueue has two GPUs of its node and serves the urgent first."""
    name = place.namespace
    flavor = {"name": name, "resources": [{"name": "nvidia.com/gpu", "nominalQuota": GPUS}]}
    specs = {
        ("ResourceFlavor", name): {"nodeLabels": {"pool": name}},
        ("ClusterQueue", name): {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": ["nvidia.com/gpu"], "flavors": [flavor]}],
        },
        ("LocalQueue", QUEUE): {"clusterQueue": name},
    }
    for (kind, object_name), spec in specs.items():
        metadata = {"name": object_name} | ({"namespace": name} if kind == "LocalQueue" else {})
        apply_documents(place.cluster, {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec})
    return QUEUE


def other_job(place: Place, name: str, **labels: str) -> None:
    """Create a Job of somebody else that wants all GPUs of the queue."""
    limits = {"nvidia.com/gpu": str(GPUS)}
    container = {"name": "other", "image": "example.org/other", "resources": {"limits": limits}}
    pod = {"restartPolicy": "Never", "containers": [container]}
    queued = {"kueue.x-k8s.io/queue-name": QUEUE, **{f"kueue.x-k8s.io/{key}": value for key, value in labels.items()}}
    metadata = {"name": name, "namespace": place.namespace, "labels": queued}
    place.create("job", {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template(pod)})


def template(pod: Body) -> Body:
    """Return the spec of a Job that Kueue starts, with this Pod."""
    return {"suspend": True, "template": {"spec": pod}}


def holds_quota(place: Place, owner: str) -> bool:
    """Say whether the Workload of a Job, or of any Job whose name begins so, is admitted."""
    return any(
        find_condition(workload.get("status", {}), "Admitted").get("status") == "True"
        for workload in place.objects("workload")
        if workload["metadata"]["ownerReferences"][0]["name"].startswith(owner)
    )


def test_a_study_waits_for_its_turn(place: Place, queue: str) -> None:
    """While others have the queue's GPUs the study is Queued and says so in Kueue's words; then it measures."""
    other_job(place, "other")
    place.wait_until(lambda: holds_quota(place, "other"), what="the other Job admitted")
    place.study(scheduling={"queueName": queue}, searchSpace=SPACE)
    run = place.wait_for_run("Queued")
    status = place.wait(lambda status: "insufficient unused quota" in told(status), what="Kueue's words")
    assert find_condition(status, "Ready")["reason"] == "Queued"
    assert place.get("job", run["name"])["spec"]["suspend"] is True
    with place.kubelet(replay(throughput)):
        place.delete("job", "other")
        status = place.wait_for("Succeeded")
    assert [(row["state"], row["attempts"]) for row in status["trials"]] == [("Measured", 1), ("Measured", 1)]
    assert "trials failed" not in told(status)


def test_a_study_gives_its_gpus_back(place: Place, queue: str) -> None:
    """What is more urgent takes the GPUs of a run in the middle; its trial is tried again, and that is no failure."""
    held = threading.Event()
    place.study(scheduling={"queueName": queue}, searchSpace=SPACE, budget={"maxTrials": 2, "maxFailedTrials": 0})
    with place.kubelet(lambda _spec, _attempt: Succeeds(throughput=throughput, gate=held)) as kubelet:
        place.wait_for_run("ModelLoading")
        assert holds_quota(place, "study")
        other_job(place, "urgent", **{"priority-class": URGENT})
        place.wait_until(lambda: holds_quota(place, "urgent"), what="the urgent Job admitted")
        place.wait_for_run("Queued")
        assert not holds_quota(place, "study")
        held.set()
        place.delete("job", "urgent")
        status = place.wait_for("Succeeded")
        assert [run.attempt for run in kubelet.runs] == [1, 2, 1]
    assert [row["state"] for row in status["trials"]] == ["Measured", "Measured"]
    (row,) = (row for row in status["trials"] if row["attempts"] > 1)
    assert row["attempts"] == 2


def told(status: Body) -> str:
    """Return the sentence that goes with the state."""
    message: str = find_condition(status, "Ready").get("message", "")
    return message
