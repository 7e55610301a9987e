"""Parse the objects of the API server, Jobs, Pods and Nodes, into records.

Each is parsed once, and no raw dictionary goes beyond this module.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import floor

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.identity import (
    altered_labels,
    altered_owner,
    controller_of,
    identify_job,
    identify_pod,
)
from infpop_operator.adapters.kube.node_clock import node_lead
from infpop_operator.adapters.kube.records import (
    CREATING,
    Body,
    ContainerRecord,
    JobEnd,
    JobRecord,
    NodeRecord,
    PodRecord,
)

_EVICTED = "Evicted"  # from the kubelet, on a Pod that it ends for lack of a resource or refuses
_REJECTED = ("Pod was rejected", "The node had condition")  # starts of its message when it refuses a Pod
_FOREGROUND = "foregroundDeletion"  # the finalizer of a Job that stays until its Pods are gone
_BY_KUBELET = "TerminationByKubelet"
_EXCLUDING = ("NoSchedule", "NoExecute")  # effects of taints
_CORDON = "node.kubernetes.io/unschedulable"  # the taint of a cordoned Node
LOW = "The node was low on resource: "  # start of the kubelet's message when it evicts; the resource follows
_SUFFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}  # of counts and cores


def parse_job(body: Body) -> JobRecord:
    """Return the record of `body`, a Job as the API server returns it.

    Raises:
        KeyError: `body` lacks the metadata of a stored object.
    """
    metadata, spec, status = body["metadata"], _part(body, "spec"), _part(body, "status")
    identity, conditions = identify_job(body), _list(status, "conditions")
    return JobRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        study=identity.study,
        study_uid=identity.study_uid,
        run=identity.run,
        created_at=_required_time(metadata["creationTimestamp"]),
        started_at=_time(status.get("startTime")),
        # When the queue resumes a Job, the Job controller updates this condition together with startTime.
        suspended=bool(spec.get("suspend")) or _condition(conditions, "Suspended", "True") is not None,
        queue=_part(metadata, "labels").get(labels.KUEUE_QUEUE),
        deleting=metadata.get("deletionTimestamp") is not None,
        in_foreground=_FOREGROUND in (metadata.get("finalizers") or ()),
        ending=_job_end(conditions, "FailureTarget"),
        end=_job_end(conditions, "Complete") or _job_end(conditions, "Failed"),
        ttl_seconds=spec.get("ttlSecondsAfterFinished"),
        pods=(status.get("active") or 0) + (status.get("terminating") or 0),
        altered=(*altered_labels(metadata, identity), *altered_owner(metadata, identity)),
    )


def parse_pod(body: Body) -> PodRecord:
    """Return the record of `body`, a Pod as the API server returns it.

    Raises:
        KeyError: `body` lacks the metadata of a stored object.
    """
    metadata, spec, status = body["metadata"], _part(body, "spec"), _part(body, "status")
    identity, conditions = identify_pod(body), _list(status, "conditions")
    disruption = _condition(conditions, labels.DISRUPTED, "True")
    created_at = _required_time(metadata["creationTimestamp"])
    scheduled_at = _scheduled_at(spec, conditions, created_at)
    return PodRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        job_uid=controller_of(metadata),
        study=identity.study,
        run=identity.run,
        created_at=created_at,
        phase=status.get("phase") or "Pending",
        deleting=metadata.get("deletionTimestamp") is not None,
        node=spec.get("nodeName"),
        ip=status.get("podIP"),
        metrics_port=_metrics_port(spec),
        scheduled_at=scheduled_at,
        unschedulable=_message(_condition(conditions, "PodScheduled", "False")),
        disrupted=_message(disruption, "reason", "message"),
        disrupted_at=None if disruption is None else _time(disruption.get("lastTransitionTime")),
        failure=_message(status, "reason", "message") if status.get("phase") == "Failed" else None,
        evicted=_evicted(status, disruption),
        container=_container(_list(status, "containerStatuses"), node_lead(body, scheduled_at)),
        obstacle=_obstacle(_list(status, "initContainerStatuses")),
        others=_others(status),
        study_uid=identity.study_uid,
        pool=identity.pool,
        gpu_count=identity.gpu_count,
        altered=altered_labels(metadata, identity),
    )


def parse_node(body: Body) -> NodeRecord:
    """Return the record of `body`, a Node as the API server returns it.

    Raises:
        KeyError: `body` lacks the metadata of a stored object.
    """
    metadata, spec, status = body["metadata"], _part(body, "spec"), _part(body, "status")
    known = _part(metadata, "labels")
    capacity = _devices(_part(status, "capacity"))
    allocatable = _devices(_part(status, "allocatable"))
    return NodeRecord(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        labels=dict(known),
        schedulable=not spec.get("unschedulable"),
        unready=_leaving(metadata) or _unready(_list(status, "conditions"), _list(spec, "taints")),
        capacity_gpus=capacity,
        allocatable_gpus={
            name: allocatable[name] for name, count in capacity.items() if allocatable.get(name, count) != count
        },
        cpus=parse_count(_part(status, "allocatable").get("cpu", "0")),
        arch=_part(status, "nodeInfo").get("architecture") or known.get(labels.ARCH, ""),
    )


def parse_count(quantity: object) -> int:
    """Return a Kubernetes quantity of cores or devices as a whole number, rounded down; 0 for anything else."""
    text = str(quantity).strip()
    number, suffix = (text[:-1], text[-1:]) if text[-1:] in _SUFFIXES else (text, "")
    try:
        return max(0, floor(round(float(number) * _SUFFIXES[suffix], 9)))
    except (ValueError, OverflowError):
        return 0


def _part(body: Body, key: str) -> Body:
    """Return a nested object; an empty one if it is missing or null."""
    return body.get(key) or {}


def _list(body: Body, key: str) -> Sequence[Body]:
    return body.get(key) or ()


def _time(text: str | None) -> datetime | None:
    return None if text is None else _required_time(text)


def _required_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _condition(conditions: Sequence[Body], kind: str, status: str) -> Body | None:
    found = (each for each in conditions if each.get("type") == kind and each.get("status") == status)
    return next(found, None)


def _message(part: Body | None, *keys: str) -> str | None:
    """Return the texts under `keys` (default: the message) joined by colons; None if `part` is None."""
    if part is None:
        return None
    return ": ".join(part[key] for key in keys or ("message",) if part.get(key))


def _evicted(status: Body, disruption: Body | None) -> str | None:
    """Return the kubelet's message if the Pod's own kubelet ended it for lack of a resource, otherwise None.

    This excludes preemption, a Node shutdown, and a refused Pod, which has no containers. A Pod that exceeds its own
    limit (of an emptyDir, of ephemeral storage) has no condition; if its container exits with code 0 in time, the
    condition is the only trace.
    """
    source = None if disruption is None else disruption.get("reason")
    message = _message(disruption, "message") or ""
    if source == _BY_KUBELET and message.startswith(LOW):
        return message
    is_failed = (status.get("phase"), status.get("reason")) == ("Failed", _EVICTED)
    words = status.get("message") or ""
    was_admitted = bool(_list(status, "containerStatuses")) and not words.startswith(_REJECTED)
    if is_failed and source in {None, _BY_KUBELET} and was_admitted:
        return _message(status, "message")
    return None


def _job_end(conditions: Sequence[Body], kind: str) -> JobEnd | None:
    condition = _condition(conditions, kind, "True")
    if condition is None:
        return None
    return JobEnd(
        complete=kind == "Complete",
        reason=condition.get("reason") or kind,
        message=condition.get("message") or "",
        at=_required_time(condition["lastTransitionTime"]),
    )


def _scheduled_at(spec: Body, conditions: Sequence[Body], created_at: datetime) -> datetime | None:
    if not spec.get("nodeName"):
        return None
    condition = _condition(conditions, "PodScheduled", "True") or {}
    return _time(condition.get("lastTransitionTime")) or created_at


def _metrics_port(spec: Body) -> int | None:
    for container in _list(spec, "containers"):
        if container.get("name") == labels.RUNNER_CONTAINER:
            ports = (port for port in _list(container, "ports") if port.get("name") == labels.METRICS_PORT_NAME)
            return next((port.get("containerPort") for port in ports), None)
    return None


def _container(statuses: Sequence[Body], lead: timedelta) -> ContainerRecord | None:
    """Return the runner's container, with its times by the cluster's clock: the node's is ahead by `lead`."""
    for status in statuses:
        if status.get("name") == labels.RUNNER_CONTAINER:
            container = _container_state(_part(status, "state"))
            begun, ended = container.started_at, container.finished_at
            return replace(
                container,
                started_at=None if begun is None else begun - lead,
                finished_at=None if ended is None else ended - lead,
            )
    return None


def _obstacle(statuses: Sequence[Body]) -> ContainerRecord | None:
    """Return the first init container that cannot start or has failed; the runner starts only after all of them."""
    for status in statuses:
        container = replace(_container_state(_part(status, "state")), name=str(status.get("name")))
        if container.waiting_reason not in CREATING or container.exit_code not in {None, 0}:
            return container
    return None


def _others(status: Body) -> tuple[str, ...]:
    """Return the other containers that have not ended; of the init containers those that run, which are sidecars."""
    beside = [each for each in _list(status, "containerStatuses") if each.get("name") != labels.RUNNER_CONTAINER]
    left = [str(each.get("name")) for each in beside if "terminated" not in _part(each, "state")]
    sidecars = [each for each in _list(status, "initContainerStatuses") if "running" in _part(each, "state")]
    return (*left, *(str(each.get("name")) for each in sidecars))


def _container_state(state: Body) -> ContainerRecord:
    waiting, ended = _part(state, "waiting"), _part(state, "terminated")
    started = ended.get("startedAt") or _part(state, "running").get("startedAt")
    return ContainerRecord(
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message"),
        started_at=_time(started),
        exit_code=ended.get("exitCode"),
        terminated_reason=ended.get("reason"),
        terminated_message=ended.get("message"),
        finished_at=_time(ended.get("finishedAt")),
    )


def _leaving(metadata: Body) -> str | None:
    return None if metadata.get("deletionTimestamp") is None else "being deleted"


def _unready(conditions: Sequence[Body], taints: Sequence[Body]) -> str | None:
    """Return why a Node starts no Pods, None if it does; a cordon is not among the reasons."""
    ready = next((condition for condition in conditions if condition.get("type") == "Ready"), None)
    if ready is not None and ready.get("status") != "True":
        return f"not ready: {ready.get('reason') or ready.get('status')}"
    keys = (str(taint.get("key", "")) for taint in taints if taint.get("effect") in _EXCLUDING)
    return next((key for key in keys if key.startswith(labels.NODE_TAINTS) and key != _CORDON), None)


def _devices(resources: Body) -> dict[str, int]:
    """Return the extended resources: those whose name contains a domain, as names of devices do."""
    return {name: parse_count(amount) for name, amount in resources.items() if "/" in name}
