"""Parsing API server JSON into records, with every optional field absent or present."""

from typing import Any

import pytest

from factories.kube_objects import JOB_UID, OWNER, at, job_body, make_planned_run, pod_body, stamp
from infpop_operator.adapters.kube.job_manifest import PodSettings
from infpop_operator.adapters.kube.record_parsing import parse_count, parse_job, parse_node, parse_pod
from infpop_operator.adapters.kube.records import ContainerRecord, JobEnd, JobRecord, NodeRecord, PodRecord

NAME = make_planned_run().name
NEW_JOB = JobRecord(
    namespace="serving",
    name=NAME,
    uid=JOB_UID,
    resource_version="7",
    study="study",
    study_uid=OWNER.uid,
    run=NAME,
    created_at=at(0),
)
NEW_POD = PodRecord(
    namespace="serving",
    name=f"{NAME}-abcde",
    uid="pod-uid",
    resource_version="9",
    job_uid=JOB_UID,
    study="study",
    run=NAME,
    created_at=at(1),
    metrics_port=9400,
    study_uid="study-uid",
    pool="a100",
    gpu_count=2,
)
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "low", "containerStatuses": [{"name": "runner"}]}
FAILED = {"phase": "Failed", "failure": "Evicted: low"}
LOW = {"message": "The node was low on resource: memory. "}


def condition(kind: str, status: str = "True", **more: str) -> dict[str, str]:
    """Return a condition of an object's status."""
    return {"type": kind, "status": status, "lastTransitionTime": stamp(5), **more}


def test_a_job_that_we_made_is_read_back() -> None:
    """Labels, owner and times are read; fields that the Job controller has not written yet are absent."""
    assert parse_job(job_body()) == NEW_JOB


def test_everything_of_a_job_is_read() -> None:
    """Start, suspension, deletion, TTL and number of Pods are read."""
    body = job_body(settings=PodSettings(image="i", queue_name="gpus"), startTime=stamp(3))
    body["metadata"]["deletionTimestamp"] = stamp(9)
    body["spec"]["ttlSecondsAfterFinished"] = 60
    job = parse_job(body)
    assert (job.suspended, job.started_at, job.deleting, job.ttl_seconds) == (True, at(3), True, 60)


def test_a_job_counts_as_suspended_until_its_controller_continues_with_it() -> None:
    """When a queue admits a Job, its spec changes first; only then follows the start time."""
    assert parse_job(job_body(conditions=[condition("Suspended")])).suspended
    assert not parse_job(job_body(conditions=[condition("Suspended", "False")])).suspended


@pytest.mark.parametrize(
    ("conditions", "ending", "end"),
    [
        ([condition("Suspended")], None, None),
        ([condition("Complete", "False")], None, None),
        ([condition("Complete")], None, JobEnd(complete=True, reason="Complete", message="", at=at(5))),
        (
            [condition("FailureTarget", reason="DeadlineExceeded", message="too long")],
            JobEnd(complete=False, reason="DeadlineExceeded", message="too long", at=at(5)),
            None,
        ),
        (
            [condition("Failed", reason="BackoffLimitExceeded", message="m")],
            None,
            JobEnd(complete=False, reason="BackoffLimitExceeded", message="m", at=at(5)),
        ),
    ],
)
def test_a_job_that_ends_is_distinguished_from_one_that_has_ended(
    conditions: list[dict[str, str]], ending: JobEnd | None, end: JobEnd | None
) -> None:
    """While Pods of a failed Job are still terminating, their last messages may arrive."""
    job = parse_job(job_body(conditions=conditions))
    assert (job.ending, job.end) == (ending, end)


def test_a_new_pod_is_read_back() -> None:
    """Its Job, study and metrics port are read; it has no Node and no container yet."""
    assert parse_pod(pod_body(job_body())) == NEW_POD


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"conditions": [condition("PodScheduled", "False", message="0/3 nodes")]}, {"unschedulable": "0/3 nodes"}),
        ({"conditions": [condition("PodScheduled", "False")]}, {"unschedulable": ""}),
        (
            {"conditions": [condition("DisruptionTarget", reason="PreemptionByScheduler", message="by x")]},
            {"disrupted": "PreemptionByScheduler: by x", "disrupted_at": at(5)},
        ),
        ({"conditions": None, "containerStatuses": None}, {}),
        ({"phase": "Pending", "reason": "NodeLost", "message": "gone"}, {}),
        (
            {"phase": "Failed", "reason": "OutOfcpu", "message": "no"},
            {"phase": "Failed", "failure": "OutOfcpu: no"},
        ),
        ({**EVICTED, "containerStatuses": None}, FAILED),  # a Pod that the kubelet refuses
        ({**EVICTED, "reason": "Terminated"}, FAILED | {"failure": "Terminated: low", "container": ContainerRecord()}),
        (EVICTED, FAILED | {"evicted": "low", "container": ContainerRecord()}),  # exceeds its own limit
        (
            EVICTED | {"conditions": [condition("DisruptionTarget", reason="TerminationByKubelet", message="low")]},
            FAILED
            | {"evicted": "low", "container": ContainerRecord()}
            | {"disrupted": "TerminationByKubelet: low", "disrupted_at": at(5)},
        ),
        (
            {"phase": "Succeeded", "conditions": [condition("DisruptionTarget", reason="TerminationByKubelet", **LOW)]},
            {"phase": "Succeeded", "evicted": LOW["message"], "disrupted_at": at(5)}
            | {"disrupted": f"TerminationByKubelet: {LOW['message']}"},
        ),
        (
            {"phase": "Running", "conditions": [condition("DisruptionTarget", reason="DeletionByPodGC", **LOW)]},
            {"phase": "Running", "disrupted": f"DeletionByPodGC: {LOW['message']}", "disrupted_at": at(5)},
        ),
        (
            {"conditions": [condition("DisruptionTarget", reason="TerminationByKubelet", message="node shutdown")]},
            {"disrupted": "TerminationByKubelet: node shutdown", "disrupted_at": at(5)},
        ),
        (
            EVICTED | {"conditions": [condition("DisruptionTarget", reason="EvictionByEvictionAPI", message="drain")]},
            FAILED
            | {"container": ContainerRecord()}
            | {"disrupted": "EvictionByEvictionAPI: drain", "disrupted_at": at(5)},
        ),
        ({"phase": "Running", "podIP": "10.0.0.1"}, {"phase": "Running", "ip": "10.0.0.1"}),
        ({"containerStatuses": [{"name": "istio-proxy", "state": {"running": {}}}]}, {}),
        ({"containerStatuses": [{"name": "runner"}]}, {"container": ContainerRecord()}),
        (
            {
                "containerStatuses": [
                    {"name": "runner", "state": {"waiting": {"reason": "ErrImagePull", "message": "m"}}}
                ]
            },
            {"container": ContainerRecord(waiting_reason="ErrImagePull", waiting_message="m")},
        ),
        (
            {"containerStatuses": [{"name": "runner", "state": {"running": {"startedAt": stamp(8)}}}]},
            {"container": ContainerRecord(started_at=at(8))},
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "runner",
                        "state": {
                            "terminated": {
                                "exitCode": 0,
                                "reason": "Completed",
                                "message": "{}",
                                "startedAt": stamp(8),
                                "finishedAt": stamp(9),
                            }
                        },
                    }
                ]
            },
            {
                "container": ContainerRecord(
                    started_at=at(8),
                    exit_code=0,
                    terminated_reason="Completed",
                    terminated_message="{}",
                    finished_at=at(9),
                )
            },
        ),
    ],
)
def test_every_state_of_a_pod_is_read(status: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each statement of a kubelet, a scheduler or an evicting controller has its own field."""
    unknown = object()
    pod = parse_pod(pod_body(job_body(), **status))
    assert {name: getattr(pod, name, unknown) for name in expected} == expected
    every = {"unschedulable", "disrupted", "disrupted_at", "failure", "evicted", "container", "ip"}
    untouched = every - expected.keys()
    assert {getattr(pod, name) for name in untouched} <= {None}


@pytest.mark.parametrize(
    ("conditions", "scheduled_at"), [([condition("PodScheduled")], at(5)), ([], at(1))], ids=["said", "not said"]
)
def test_a_pod_on_a_node_has_been_scheduled(conditions: list[dict[str, str]], scheduled_at: object) -> None:
    """It then holds its devices, at the latest from its creation if no time is given."""
    body = pod_body(job_body(), conditions=conditions)
    body["spec"]["nodeName"] = "n1"
    body["metadata"]["deletionTimestamp"] = stamp(9)
    pod = parse_pod(body)
    assert (pod.node, pod.scheduled_at, pod.deleting) == ("n1", scheduled_at, True)


def test_a_pod_of_another_owner_has_no_job_and_no_port() -> None:
    """InfPop's label on a foreign Pod makes it neither InfPop's nor an error."""
    bare = {"metadata": {"name": "p", "namespace": "n", "uid": "u", "creationTimestamp": stamp(0)}}
    pod = parse_pod(bare | {"spec": {"containers": [{"name": "web"}]}})
    assert (pod.job_uid, pod.run, pod.metrics_port, pod.phase, pod.resource_version) == (
        None,
        None,
        None,
        "Pending",
        "",
    )
    assert parse_pod(bare | {"spec": {"containers": [{"name": "runner"}]}}).metrics_port is None


def test_only_the_controller_owns() -> None:
    """An additional owner reference, which any client may add, is not the Job."""
    body = pod_body(job_body())
    body["metadata"]["ownerReferences"].insert(0, {"kind": "ConfigMap", "name": "x", "uid": "other"})
    assert parse_pod(body).job_uid == JOB_UID


def test_a_node_is_read_with_its_devices() -> None:
    """Devices are resources with a domain; a broken one stays in the capacity, and is not allocatable."""
    body = {
        "metadata": {"name": "n1", "uid": "u", "resourceVersion": "5", "labels": {"a": "b"}},
        "spec": {"unschedulable": True},
        "status": {
            "capacity": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"},
            "allocatable": {"cpu": "7910m", "memory": "60Gi", "nvidia.com/gpu": "7"},
            "conditions": [condition("Ready")],
            "nodeInfo": {"architecture": "arm64"},
        },
    }
    assert parse_node(body) == NodeRecord(
        name="n1",
        uid="u",
        resource_version="5",
        labels={"a": "b"},
        schedulable=False,
        capacity_gpus={"nvidia.com/gpu": 8},
        allocatable_gpus={"nvidia.com/gpu": 7},
        cpus=7,
        arch="arm64",
    )


def test_a_node_without_anything_has_nothing() -> None:
    """A new Node is not an error; its label may give what its kubelet has not reported."""
    node = parse_node({"metadata": {"name": "n", "uid": "u", "labels": {"kubernetes.io/arch": "amd64"}}})
    assert (node.schedulable, node.cpus, node.arch, node.capacity_gpus) == (True, 0, "amd64", {})


@pytest.mark.parametrize(
    ("spec", "conditions", "unready"),
    [
        ({}, [condition("Ready")], None),
        ({}, [], None),
        ({}, [condition("MemoryPressure")], None),
        ({}, [condition("Ready") | {"status": "Unknown", "reason": "NodeStatusUnknown"}], "NodeStatusUnknown"),
        ({}, [condition("Ready") | {"status": "False", "reason": "KubeletNotReady"}], "KubeletNotReady"),
        ({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}, [], "unreachable"),
        ({"taints": [{"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}]}, [], "shutdown"),
        ({"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}, [], "ToBeDeleted"),
        ({"taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]}, [], "disrupted"),
        ({"taints": [{"key": "virtual-kubelet.io/provider", "value": "x", "effect": "NoSchedule"}]}, [], "virtual"),
        ({"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}, [], None),
        ({"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}, [], None),
        ({"taints": [{"key": "node.kubernetes.io/x", "effect": "PreferNoSchedule"}]}, [], None),
    ],
)
def test_a_node_that_starts_no_pods_says_why(
    spec: dict[str, Any], conditions: list[dict[str, str]], unready: str | None
) -> None:
    """Its Ready condition and the cluster's own taints count; a cordon and the taints of GPU Nodes do not."""
    node = parse_node({"metadata": {"name": "n", "uid": "u"}, "spec": spec, "status": {"conditions": conditions}})
    assert (node.unready is None) is (unready is None)
    assert unready is None or unready in str(node.unready)
    assert node.starts_pods is (unready is None)


def test_a_node_that_is_being_deleted_starts_no_pods() -> None:
    """A finalizer keeps it until its autoscaler has drained it; it is Ready all that time."""
    stamped = {"name": "n", "uid": "u", "deletionTimestamp": stamp(0)}
    node = parse_node({"metadata": stamped, "status": {"conditions": [condition("Ready")]}})
    assert (node.starts_pods, node.unready) == (False, "being deleted")


@pytest.mark.parametrize(
    ("quantity", "count"),
    [("8", 8), (8, 8), ("7910m", 7), ("1000m", 1), ("1k", 1000), ("0", 0), ("-3", 0), ("", 0), ("x", 0), ("inf", 0)],
)
def test_quantities_are_whole_devices(quantity: object, count: int) -> None:
    """A fraction of a core or a device counts as zero."""
    assert parse_count(quantity) == count
