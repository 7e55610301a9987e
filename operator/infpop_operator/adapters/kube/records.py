"""Records of Jobs, Pods and Nodes: small values, parsed once from the objects of the API server.

No raw dictionary goes beyond this module. A field that a stored object may lack is `None` or a default; metadata that
every stored object has is required.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import floor
from typing import Any

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.identity import (
    Alteration,
    altered_labels,
    altered_owner,
    controller_of,
    identify_job,
    identify_pod,
)
from infpop_operator.adapters.kube.node_clock import node_lead

Body = Mapping[str, Any]  # an object of the API server, or a part of one, as JSON
ENDED_PHASES = ("Succeeded", "Failed")
_EVICTED = "Evicted"  # from the kubelet, on a Pod that it ends for lack of a resource or refuses
_REJECTED = ("Pod was rejected", "The node had condition")  # starts of its message when it refuses a Pod
_FOREGROUND = "foregroundDeletion"  # the finalizer of a Job that stays until its Pods are gone
_BY_KUBELET = "TerminationByKubelet"
_EXCLUDING = ("NoSchedule", "NoExecute")  # effects of taints
_CORDON = "node.kubernetes.io/unschedulable"  # the taint of a cordoned Node
LOW = "The node was low on resource: "  # start of the kubelet's message when it evicts; the resource follows
_SUFFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}  # of counts and cores


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How a Job ended: `complete` or failed, with the Job controller's reason."""

    complete: bool
    reason: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A Job. `study_uid` is the uid of the study that it was created for.

    `queue` is the queue of Kueue that its label names. `started_at` is None while it is suspended.

    It is `suspended` from the request to suspend it until the Job controller has resumed it. `ending` is how it will
    end once its Pods are gone. `end` is how it has ended; then it has no live Pod. `pods` is the number of its Pods
    that have not ended, as the Job controller counts them. `altered` is what another client changed of the metadata by
    which the operator finds the Job: the watches may no longer report it.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    study: str | None
    study_uid: str | None
    run: str | None
    created_at: datetime
    started_at: datetime | None = None
    suspended: bool = False
    queue: str | None = None
    deleting: bool = False
    in_foreground: bool = False
    ending: JobEnd | None = None
    end: JobEnd | None = None
    ttl_seconds: int | None = None
    pods: int = 0
    altered: tuple[Alteration, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the operator has nothing left to do with it: it has ended, and the cluster will delete it."""
        return self.end is not None and self.ttl_seconds is not None


CREATING = frozenset({None, "", "ContainerCreating", "PodInitializing"})  # waiting reasons that give no more detail


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """A container, by default the runner's: waiting, running (`started_at` alone) or terminated (`exit_code`)."""

    waiting_reason: str | None = None
    waiting_message: str | None = None
    started_at: datetime | None = None
    exit_code: int | None = None
    terminated_reason: str | None = None
    terminated_message: str | None = None
    finished_at: datetime | None = None
    name: str = labels.RUNNER_CONTAINER


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """A Pod of a run.

    `unschedulable` is the scheduler's message. `disrupted` says who takes the Pod away ("reason: message"), and
    `disrupted_at` when. `failure` is why the kubelet failed the Pod as a whole ("reason: message"). `evicted` is the
    kubelet's message if it ended the Pod for lack of memory, disk or process ids. `scheduled_at` is None while the Pod
    has no Node. `deleting` comes from the Pod itself, `gone` from another source, because the object no longer exists.
    `obstacle` is an init container that cannot start or has failed, without which the runner's does not start.
    `others` are the names of containers beside the runner's that have not ended, as an injected sidecar. `altered` is
    as in `JobRecord`.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    job_uid: str | None
    study: str | None
    run: str | None
    created_at: datetime
    phase: str = "Pending"
    deleting: bool = False
    gone: bool = False
    node: str | None = None
    ip: str | None = None
    metrics_port: int | None = None
    scheduled_at: datetime | None = None
    unschedulable: str | None = None
    disrupted: str | None = None
    disrupted_at: datetime | None = None
    failure: str | None = None
    evicted: str | None = None
    container: ContainerRecord | None = None
    obstacle: ContainerRecord | None = None
    others: tuple[str, ...] = ()
    study_uid: str | None = None
    pool: str | None = None
    gpu_count: int = 0
    altered: tuple[Alteration, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the operator has nothing left to wait for, as for `has_ended`."""
        return self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether it has released its devices for good: it is in a terminal phase."""
        return self.phase in ENDED_PHASES

    @property
    def has_exited(self) -> bool:
        """Whether the runner's container has exited, or the whole Pod has ended."""
        return self.has_ended or (self.container is not None and self.container.exit_code is not None)

    @property
    def holds_devices(self) -> bool:
        """Whether it is on a Node and any of its containers has not ended: the Node frees the devices of whole Pods."""
        return self.node is not None and not self.has_ended and not (self.has_exited and not self.others)

    @property
    def failure_reason(self) -> str | None:
        """Return the reason in `failure`, None if it has only a message."""
        reason = (self.failure or "").partition(":")[0]
        return reason if reason and " " not in reason else None

    @property
    def withdrawn(self) -> bool:
        """Whether the Pod is deleted or being deleted."""
        return self.deleting or self.gone


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A Node. `schedulable` is False while it is cordoned; `unready` says why it starts no Pods, None if it does.

    `capacity_gpus` is the number of devices on the Node by resource name, healthy or not; `allocatable_gpus` is how
    many of them Pods may use, where that differs. The record contains nothing that changes every few seconds.
    """

    name: str
    uid: str
    resource_version: str
    labels: Mapping[str, str]
    schedulable: bool = True
    unready: str | None = None
    capacity_gpus: Mapping[str, int]
    allocatable_gpus: Mapping[str, int] = field(default_factory=dict)
    cpus: int = 0
    arch: str = ""

    @property
    def starts_pods(self) -> bool:
        """Return whether the Node starts new Pods."""
        return self.schedulable and self.unready is None

    def allocatable(self, resource: str) -> int:
        """Return how many devices of this name Pods may use."""
        return self.allocatable_gpus.get(resource, self.capacity_gpus.get(resource, 0))


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
