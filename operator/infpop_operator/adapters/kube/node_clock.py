"""How far the clock of a Pod's node is from the cluster's.

The kubelet writes when a container began and ended by the clock of its node; everything else about a Pod and its Job is
written by the clocks of the control plane. A duration between the two would contain the difference of the clocks.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

_ZERO = timedelta(0)
_AGREE = timedelta(seconds=5)  # times are cut to the second, and a kubelet reports within a second or two
_KUBELET = "kubelet"


def node_lead(body: Mapping[str, Any], scheduled_at: datetime | None) -> timedelta:
    """Return by how much the node's clock is ahead, negative if it is behind; zero as far as the Pod does not show it.

    It is behind if the kubelet acknowledged the Pod before the scheduler bound it. It is ahead if the kubelet reported
    a time that was still to come when the API server stored the report. Source: the kubelet sets `status.startTime`
    when it first sees a Pod, and the API server dates each manager's entry in `managedFields` itself.

    Args:
        body: a Pod as the API server returns it.
        scheduled_at: when the Pod was bound to its node, None if it was not.
    """
    status = body.get("status") or {}
    acknowledged_at = _parsed(status.get("startTime"))
    if acknowledged_at is not None and scheduled_at is not None and acknowledged_at < scheduled_at - _AGREE:
        return acknowledged_at - scheduled_at
    reported_at = _reported_at(body["metadata"])
    newest = max((each for each in (acknowledged_at, *_container_times(status)) if each is not None), default=None)
    if reported_at is not None and newest is not None and newest > reported_at + _AGREE:
        return newest - reported_at
    return _ZERO


def _reported_at(metadata: Mapping[str, Any]) -> datetime | None:
    """Return when the API server last stored a status of the kubelet, None if it does not say."""
    stored = (
        _parsed(entry.get("time"))
        for entry in metadata.get("managedFields") or ()
        if entry.get("manager") == _KUBELET and entry.get("subresource") == "status"
    )
    return max((each for each in stored if each is not None), default=None)


def _container_times(status: Mapping[str, Any]) -> list[datetime | None]:
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    running, ended = ([state.get(kind) or {} for state in states] for kind in ("running", "terminated"))
    return [_parsed(each.get(key)) for each in (*running, *ended) for key in ("startedAt", "finishedAt")]


def _parsed(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
