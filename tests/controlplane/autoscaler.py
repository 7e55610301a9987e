"""A played autoscaler: it adds a Node for a Pod that no Node can take, after a delay, and removes Nodes that are idle.

It decides as real ones do: by the template of the Node that it would add, which has the labels of the cloud and none of
those that GPU feature discovery writes later. It writes the Events of cluster-autoscaler.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from controlplane.admin import Admin
from controlplane.cluster import ControlPlane
from controlplane.nodes import LabelStyle, Manifest, gpu_node

_NODES = "/api/v1/nodes"
_POLL_SECONDS = 0.1
_AGAIN_SECONDS = 30.0  # until a Pod that still has no Node gets another one
_RESOURCE = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """The Nodes that the autoscaler adds, and how long it takes.

    `labels` is the cloud whose labels a Node has from the start. GPU feature discovery writes its own
    `label_seconds` later.
    """

    product: str
    gpus: int
    memory_mb: int = 81920
    labels: LabelStyle = "eks"
    extra_labels: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 1.0
    label_seconds: float = 0.0
    idle_seconds: float = 1.0

    def node(self, name: str) -> Manifest:
        """Return the Node when it joins."""
        return self._node(name, self.labels)

    def later_labels(self, name: str) -> Mapping[str, str]:
        """Return the labels that it gets later."""
        found: Mapping[str, str] = self._node(name, "gfd")["metadata"]["labels"]
        return found

    def _node(self, name: str, labels: LabelStyle) -> Manifest:
        return gpu_node(
            name,
            product=self.product,
            gpus=self.gpus,
            memory_mb=self.memory_mb,
            labels=labels,
            extra_labels=self.extra_labels,
        )


@dataclass(slots=True, kw_only=True)
class _Added:
    joined_at: float
    used_at: float
    has_all_labels: bool = False


class PlayedAutoscaler:
    """Plays an autoscaler for the Pods of a namespace inside a `with` block; at its end its Nodes are removed.

    Attributes:
        group: the Nodes that it adds; may be replaced at any time.
        added: the names of all Nodes that it has added.
        removed: the names of those that it has removed.
        refused: the names of the Pods that its Nodes cannot take.
    """

    def __init__(self, cluster: ControlPlane, namespace: str, group: NodeGroup) -> None:
        self.group = group
        self.added: list[str] = []
        self.removed: list[str] = []
        self.refused: list[str] = []
        self._admin = Admin(cluster.kubeconfig)
        self._namespace = namespace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._events = f"/api/v1/namespaces/{namespace}/events"
        self._due: dict[str, float] = {}  # by the uid of the Pod, when its Node joins
        self._helped: set[str] = set()
        self._nodes: dict[str, _Added] = {}
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._play, name="played-autoscaler", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and remove the Nodes; raise what went wrong meanwhile."""
        self._stopped.set()
        self._thread.join()
        for name in self._nodes:
            self._admin.delete(f"{_NODES}/{name}")
        self._admin.close()
        if self._failure is not None:
            raise self._failure from error

    def _play(self) -> None:
        try:
            while not self._stopped.wait(_POLL_SECONDS):
                with suppress(httpx.TransportError):  # a busy machine: the next step sees the same
                    self._step(time.monotonic())
        except BaseException as error:  # noqa: BLE001 - raised at the end of the block
            self._failure = error

    def _step(self, now: float) -> None:
        pods = self._admin.get(self._pods)["items"]
        for pod in pods:
            if _has_no_node(pod) and pod["metadata"]["uid"] not in self._helped:
                self._answer(pod, now)
        waiting = {pod["metadata"]["uid"] for pod in pods if _has_no_node(pod)}
        for uid in [uid for uid, due in self._due.items() if now >= due]:
            del self._due[uid]
            if uid in waiting:
                self._due[uid] = now + _AGAIN_SECONDS
                self._add(now)
        for name, node in list(self._nodes.items()):
            self._tend(name, node, now, pods)

    def _answer(self, pod: Manifest, now: float) -> None:
        self._helped.add(pod["metadata"]["uid"])
        why = _why_not(pod["spec"], self.group.node("template"))
        if why is None:
            self._due[pod["metadata"]["uid"]] = now + self.group.delay_seconds
            self._say(pod, "TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 4)}]")
        else:
            self.refused.append(pod["metadata"]["name"])
            self._say(pod, "NotTriggerScaleUp", f"pod didn't trigger scale-up: 1 {why}")

    def _say(self, pod: Manifest, reason: str, message: str) -> None:
        name, stamp = pod["metadata"]["name"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        about = {"kind": "Pod", "namespace": self._namespace, "name": name, "uid": pod["metadata"]["uid"]}
        event = {"metadata": {"name": f"{name}.{reason.lower()}"}, "involvedObject": about, "type": "Normal"}
        event |= {"reason": reason, "message": message, "source": {"component": "cluster-autoscaler"}}
        self._admin.create(self._events, {**event, "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1})

    def _add(self, now: float) -> None:
        name = f"{self._namespace}-auto-{len(self.added)}"
        node = self.group.node(name)
        if self.group.label_seconds == 0:
            node["metadata"]["labels"] |= self.group.later_labels(name)
        self._admin.create(_NODES, node)
        self.added.append(name)
        self._nodes[name] = _Added(joined_at=now, used_at=now)

    def _tend(self, name: str, node: _Added, now: float, pods: list[Manifest]) -> None:
        """Write the later labels of a Node, and remove it when it has been idle."""
        if not node.has_all_labels and now >= node.joined_at + self.group.label_seconds:
            self._admin.patch(f"{_NODES}/{name}", {"metadata": {"labels": self.group.later_labels(name)}})
            node.has_all_labels = True
        live = [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]
        if any(pod["spec"].get("nodeName") in (name, None) for pod in live):
            node.used_at = now
        if now >= node.used_at + self.group.idle_seconds:
            self._admin.delete(f"{_NODES}/{name}")
            self.removed.append(name)
            del self._nodes[name]


def _has_no_node(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", ())
    return not pod["spec"].get("nodeName") and any(
        each["type"] == "PodScheduled" and each["status"] == "False" for each in conditions
    )


def _why_not(spec: Manifest, node: Manifest) -> str | None:
    """Return why a Node like the template cannot take a Pod, in cluster-autoscaler's words; None if it can."""
    labels = node["metadata"]["labels"]
    wanted = int(spec["containers"][0]["resources"]["limits"].get(_RESOURCE, "0"))
    if wanted > int(node["status"]["allocatable"][_RESOURCE]):
        return f"Insufficient {_RESOURCE}"
    affinity = (
        spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    )
    terms = affinity.get("nodeSelectorTerms", [])
    selected = all(labels.get(key) == value for key, value in spec.get("nodeSelector", {}).items())
    if not selected or (terms and not any(_meets(term, labels) for term in terms)):
        return "node(s) didn't match Pod's node affinity/selector"
    return None


def _meets(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(
        (labels.get(each["key"]) in each["values"]) is (each["operator"] == "In") for each in term["matchExpressions"]
    )
