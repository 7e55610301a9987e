"""Studies on a control plane as kubectl applies and reads them."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from infpop_operator.api.resource import SHORT_NAME


def apply_documents(cluster: ControlPlane, *documents: Mapping[str, Any]) -> None:
    """`kubectl apply` them."""
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(documents))


def read_objects(cluster: ControlPlane, namespace: str, kind: str, *names: str) -> Any:  # noqa: ANN401 - JSON
    """Return an object, or without names the objects of a kind."""
    answer = json.loads(cluster.kubectl("get", kind, *names, "--namespace", namespace, "--output=json"))
    return answer if names else answer["items"]


def read_status(cluster: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    """Return the status of a study, empty while there is none."""
    found: dict[str, Any] = read_objects(cluster, namespace, SHORT_NAME, name).get("status", {})
    return found


def find_condition(status: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition of a status, empty while there is none."""
    return next((each for each in status.get("conditions", []) if each["type"] == kind), {})


def wait_for_condition(
    cluster: ControlPlane, namespace: str, name: str, kind: str, value: str = "True", *, seconds: float = 60
) -> dict[str, Any]:
    """Return the status as soon as the condition has the value."""

    def reached() -> dict[str, Any] | None:
        status = read_status(cluster, namespace, name)
        return status if find_condition(status, kind).get("status") == value else None

    return wait_for(reached, seconds=seconds, what=f"{kind}={value} of {name}")
