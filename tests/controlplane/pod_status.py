"""The status that a kubelet writes, as pure functions of the Pod and of what happened.

Field by field what kubelet 1.34 writes, without the volumes, resources and users of containers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Document = dict[str, Any]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]
HOST_IP = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The times at which the Pod was taken over, its containers started and they ended."""

    seen_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the containers end."""

    exit_code: int
    reason: str  # Completed, Error, OOMKilled
    message: str = ""
    pod_reason: str | None = None  # "Evicted" for a Pod that its kubelet fails; a Pod that exits with 0 succeeds
    pod_message: str | None = None
    disrupted: str | None = None  # the reason of the condition that the kubelet writes together with it


def waiting_status(pod: Document, times: Times, *, reason: str, message: str | None = None) -> Document:
    """Return the status of a Pod whose containers do not run yet."""
    state: Document = {"reason": reason} if message is None else {"reason": reason, "message": message}
    return {
        "phase": "Pending",
        "startTime": _stamp(times.seen_at),
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "conditions": _conditions(times.seen_at, ready=False, reason="ContainersNotReady"),
        "containerStatuses": [
            _container(container, state={"waiting": state}, started=False) for container in _containers(pod)
        ],
    }


def running_status(pod: Document, times: Times, *, pod_ip: str) -> Document:
    """Return the status of a Pod whose containers run and are ready."""
    assert times.started_at is not None
    state = {"running": {"startedAt": _stamp(times.started_at)}}
    return {
        "phase": "Running",
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "conditions": _conditions(times.started_at, ready=True),
        "containerStatuses": [
            _container(container, state=state, started=True, ready=True) for container in _containers(pod)
        ],
    }


def ended_status(pod: Document, times: Times, ending: Ending) -> Document:
    """Return the status of a Pod whose containers ended, or which failed before they ran."""
    assert times.ended_at is not None
    failed = times.started_at is None or ending.exit_code != 0
    terminated: Document = {
        "exitCode": ending.exit_code,
        "reason": ending.reason,
        "finishedAt": _stamp(times.ended_at),
        "startedAt": _stamp(times.started_at or times.ended_at),
        "containerID": _container_id(pod),
    }
    if ending.message:
        terminated["message"] = ending.message
    status: Document = {
        "phase": "Failed" if failed else "Succeeded",
        "conditions": _conditions(times.ended_at, ready=False, reason="PodFailed" if failed else "PodCompleted"),
        "containerStatuses": [
            _container(container, state={"terminated": terminated}, started=False) for container in _containers(pod)
        ],
    }
    if failed and ending.pod_reason is not None:
        status |= {"reason": ending.pod_reason, "message": ending.pod_message}
    if ending.disrupted is not None:
        status["conditions"] += disruption(ending.disrupted, ending.pod_message or "", times.ended_at)["conditions"]
    return status


def disruption(reason: str, message: str, now: datetime) -> Document:
    """Return the status of a Pod that will be disrupted, as the disrupting component writes it beforehand."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [{**condition, "lastTransitionTime": _stamp(now)}]}


def _conditions(now: datetime, *, ready: bool, reason: str | None = None) -> list[Document]:
    def condition(kind: str, holds: bool) -> Document:  # noqa: FBT001
        entry: Document = {"type": kind, "status": str(holds), "lastTransitionTime": _stamp(now)}
        if not holds and reason is not None:
            entry["reason"] = reason
        return entry

    # A Pod that has ended has no sandbox; one that waits for its image has.
    over = reason in ("PodFailed", "PodCompleted")
    return [
        condition("PodReadyToStartContainers", not over),
        condition("Initialized", holds=True),
        condition("Ready", ready),
        condition("ContainersReady", ready),
    ]


def _container(container: Document, *, state: Document, started: bool, ready: bool = False) -> Document:
    image = container["image"]
    ran = "waiting" not in state
    digest = hashlib.sha256(image.encode()).hexdigest()
    return {
        "name": container["name"],
        "image": image,
        "imageID": f"{_repository(image)}@sha256:{digest}" if ran else "",
        "ready": ready,
        "started": started,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }


def _repository(image: str) -> str:
    """Return the image without tag and digest; a colon before the last slash is a port."""
    host, slash, name = image.partition("@")[0].rpartition("/")
    return f"{host}{slash}{name.partition(':')[0]}"


def _containers(pod: Document) -> Sequence[Document]:
    containers: Sequence[Document] = pod["spec"]["containers"]
    return containers


def _container_id(pod: Document) -> str:
    return f"containerd://{hashlib.sha256(pod['metadata']['uid'].encode()).hexdigest()}"


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
