"""Every field of a Job, a Pod and a Node is read from its own place: all together, each with a distinct value."""

import dataclasses
from typing import Any

import pytest

from factories.kube_objects import at, stamp
from infpop_operator.adapters.kube.record_parsing import parse_job, parse_node, parse_pod
from infpop_operator.adapters.kube.records import ContainerRecord, JobEnd, JobRecord, NodeRecord, PodRecord

LABELS = {
    "infpop.io/study": "label-study",
    "infpop.io/run": "label-run",
    "infpop.io/pool": "label-pool",
    "kueue.x-k8s.io/queue-name": "label-queue",
    "infpop.io/gpu-count": "6",
}


def condition(kind: str, seconds: float, *, status: str = "True", **words: str) -> dict[str, str]:
    """Return a condition; its other times are decoys."""
    times = {"lastTransitionTime": stamp(seconds), "lastProbeTime": stamp(900), "lastUpdateTime": stamp(901)}
    return {"type": kind, "status": status, **times, **words}


def metadata(name: str, uid: str, created: float) -> dict[str, Any]:
    """Return the metadata of an object with two owners, the second of which is the controller."""
    return {
        "name": name,
        "namespace": f"{name}-namespace",
        "uid": uid,
        "resourceVersion": f"{uid}-version",
        "creationTimestamp": stamp(created),
        "deletionTimestamp": stamp(800),
        "labels": LABELS,
        "annotations": {"infpop.io/study-key": f"{name}-namespace/name/{uid}-study"},
        "finalizers": ["orphan", "foregroundDeletion"],
        "ownerReferences": [{"uid": "other-owner", "controller": False}, {"uid": f"{uid}-owner", "controller": True}],
    }


JOB = {
    "metadata": metadata("job", "job-uid", 1),
    "spec": {"suspend": True, "ttlSecondsAfterFinished": 61, "backoffLimit": 7},
    "status": {
        "startTime": stamp(2),
        "completionTime": stamp(700),
        "failed": 9,
        "active": 2,
        "terminating": 3,
        "ready": 8,
        "conditions": [
            condition("FailureTarget", 4, reason="ending-reason", message="ending-message"),
            condition("Failed", 5, reason="end-reason", message="end-message"),
        ],
    },
}
POD = {
    "metadata": metadata("pod", "pod-uid", 11),
    "spec": {
        "nodeName": "spec-node",
        "containers": [
            {"name": "sidecar", "ports": [{"name": "metrics", "containerPort": 1111}]},
            {
                "name": "runner",
                "ports": [{"name": "web", "containerPort": 2222}, {"name": "metrics", "containerPort": 3333}],
            },
        ],
    },
    "status": {
        "initContainerStatuses": [
            {"name": "prepare", "state": {"terminated": {"exitCode": 0}}},
            {"name": "native", "state": {"running": {"startedAt": stamp(18)}}},
            {"name": "later", "state": {"waiting": {"reason": "PodInitializing"}}},
        ],
        "phase": "Failed",
        "reason": "status-reason",
        "message": "status-message",
        "podIP": "10.1.2.3",
        "hostIP": "10.9.9.9",
        "startTime": stamp(600),
        "conditions": [
            condition("PodScheduled", 12),
            condition("PodScheduled", 13, status="False", message="scheduler-message"),
            condition("DisruptionTarget", 14, reason="disruption-reason", message="disruption-message"),
        ],
        "containerStatuses": [
            {"name": "sidecar", "state": {"terminated": {"exitCode": 99, "reason": "sidecar-reason"}}},
            {"name": "mesh", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
            {
                "name": "runner",
                "state": {
                    "waiting": {"reason": "waiting-reason", "message": "waiting-message"},
                    "terminated": {
                        "exitCode": 7,
                        "reason": "terminated-reason",
                        "message": "terminated-message",
                        "startedAt": stamp(15),
                        "finishedAt": stamp(16),
                    },
                    "running": {"startedAt": stamp(17)},
                },
                "lastState": {"terminated": {"exitCode": 55}},
            },
        ],
    },
}
NODE = {
    "metadata": {"name": "node", "uid": "node-uid", "resourceVersion": "node-version", "labels": {"label": "value"}},
    "spec": {"unschedulable": True},
    "status": {
        "conditions": [{"type": "Ready", "status": "Unknown", "reason": "ready-reason"}],
        "capacity": {"cpu": "100", "memory": "64Gi", "nvidia.com/gpu": "8", "amd.com/gpu": "4"},
        "allocatable": {"cpu": "31500m", "memory": "60Gi", "nvidia.com/gpu": "7", "example.org/device": "2"},
        "nodeInfo": {"architecture": "arm64", "osImage": "os"},
    },
}


def test_every_field_of_a_job_is_read_from_its_own_place() -> None:
    """No time, text or number of another field is used instead."""
    assert parse_job(JOB) == JobRecord(
        namespace="job-namespace",
        name="job",
        uid="job-uid",
        resource_version="job-uid-version",
        study="label-study",
        study_uid="job-uid-study",
        run="label-run",
        created_at=at(1),
        started_at=at(2),
        suspended=True,
        queue="label-queue",
        deleting=True,
        in_foreground=True,
        ending=JobEnd(complete=False, reason="ending-reason", message="ending-message", at=at(4)),
        end=JobEnd(complete=False, reason="end-reason", message="end-message", at=at(5)),
        ttl_seconds=61,
        pods=5,
    )


def test_every_field_of_a_pod_is_read_from_its_own_place() -> None:
    """The runner's container is found among others, and the metrics port among its ports."""
    assert parse_pod(POD) == PodRecord(
        namespace="pod-namespace",
        name="pod",
        uid="pod-uid",
        resource_version="pod-uid-version",
        job_uid="pod-uid-owner",
        study="label-study",
        run="label-run",
        created_at=at(11),
        phase="Failed",
        deleting=True,
        gone=False,
        node="spec-node",
        ip="10.1.2.3",
        metrics_port=3333,
        scheduled_at=at(12),
        unschedulable="scheduler-message",
        disrupted="disruption-reason: disruption-message",
        disrupted_at=at(14),
        failure="status-reason: status-message",
        evicted=None,
        container=ContainerRecord(
            waiting_reason="waiting-reason",
            waiting_message="waiting-message",
            started_at=at(15),
            exit_code=7,
            terminated_reason="terminated-reason",
            terminated_message="terminated-message",
            finished_at=at(16),
        ),
        others=("mesh", "native"),
        study_uid="pod-uid-study",
        pool="label-pool",
        gpu_count=6,
    )


def test_every_field_of_a_node_is_read_from_its_own_place() -> None:
    """Devices come from its capacity and its allocatable resources, CPUs from the latter."""
    assert parse_node(NODE) == NodeRecord(
        name="node",
        uid="node-uid",
        resource_version="node-version",
        labels={"label": "value"},
        schedulable=False,
        unready="not ready: ready-reason",
        capacity_gpus={"nvidia.com/gpu": 8, "amd.com/gpu": 4},
        allocatable_gpus={"nvidia.com/gpu": 7},
        cpus=31,
        arch="arm64",
    )


@pytest.mark.parametrize("record", [parse_job(JOB), parse_pod(POD), parse_node(NODE)])
def test_no_field_of_a_record_is_left_out_here(record: JobRecord | PodRecord | NodeRecord) -> None:
    """A new field must get a value here; fields that exclude others have their own tests."""
    unset = {
        field.name
        for field in dataclasses.fields(record)
        if field.default is not dataclasses.MISSING and getattr(record, field.name) == field.default
    }
    assert unset <= {"gone", "evicted", "altered", "obstacle"}


@pytest.mark.parametrize(
    ("kinds", "complete"), [(("Complete",), True), (("Failed",), False), (("Failed", "Complete"), True)]
)
def test_a_job_that_is_complete_is_complete(kinds: tuple[str, ...], complete: bool) -> None:  # noqa: FBT001
    """A condition without a reason uses its type as the reason, and has no message."""
    status = {"conditions": [condition(kind, 5) for kind in kinds]}
    end = parse_job({**JOB, "status": status}).end
    assert end == JobEnd(complete=complete, reason="Complete" if complete else "Failed", message="", at=at(5))


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({}, {}, (None, False, None)),
        ({"suspend": False}, {}, (None, False, None)),
        ({"ttlSecondsAfterFinished": 0}, {}, (None, False, 0)),
    ],
)
def test_what_a_job_does_not_say_is_absent(
    spec: dict[str, Any], status: dict[str, Any], expected: tuple[object, ...]
) -> None:
    """Null and missing are the same; a TTL of 0 is a value."""
    job = parse_job({**JOB, "spec": spec, "status": status})
    assert (job.started_at, job.suspended, job.ttl_seconds) == expected


@pytest.mark.parametrize(
    ("state", "started_at"),
    [({"running": {"startedAt": stamp(17)}}, at(17)), ({"terminated": {}}, None), ({"waiting": {"reason": "r"}}, None)],
)
def test_a_container_has_started_when_it_says_so(state: dict[str, Any], started_at: object) -> None:
    """A running container has a start time; a waiting one has none."""
    status = {"containerStatuses": [{"name": "runner", "state": state}]}
    container = parse_pod({**POD, "status": status}).container
    assert container is not None
    assert container.started_at == started_at
