"""Records of Jobs, Pods and Nodes: small values, with all that the operator reads of the objects of the API server.

A field that a stored object may lack is `None` or a default; metadata that every stored object has is required.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.identity import Alteration

Body = Mapping[str, Any]  # an object of the API server, or a part of one, as JSON
ENDED_PHASES = ("Succeeded", "Failed")


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
