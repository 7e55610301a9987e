"""Make an autoscaler add a Node with a pool's GPUs, and read what it says of a Pod that waits for one.

Pure. An autoscaler adds a Node when it sees a Pod that no Node can take, and chooses the Node by a template: the labels
and resources that the Node will have when it joins. Labels that something writes later, as GPU feature discovery does,
are in no template. A Pod that requires one of them by `In` is therefore never helped:

* Karpenter (AWS, Azure, Google; EKS Auto Mode): "label ... does not have known values" for every key that is neither
  well known to it nor in its NodePool; `NotIn` is compatible with a key that is not there. It considers the first term
  of a node affinity, and the next ones only if that fails. Source: kubernetes-sigs/karpenter, `Requirements.Compatible`
  in pkg/scheduling/requirements.go, and issue 1219 about labels of the NVIDIA operator.
* cluster-autoscaler (AKS, EKS node groups, others) runs the scheduler's own checks on the template. Labels of its node
  groups are in it where the cloud or a tag says so, `k8s.io/cluster-autoscaler/node-template/label/KEY` on AWS.
  Source: kubernetes/autoscaler, FAQ "How can I scale a node group to 0?", and cloudprovider/aws/README.md.
* GKE adds a node pool for the node affinity and the node selector of the Pod, and needs the accelerator's name if it is
  to choose one. Source: GKE, "About node auto-provisioning".

So a Pod of such a pool requires only labels that are in templates: those of the user's node selector, and the name that
the cloud gives the GPU, if the study names the product and the cluster shows which cloud that is. Products that Nodes
of the cluster have, and that the pool does not want, are excluded by `NotIn`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infpop_operator.adapters.kube.node_gpus import product_label
from infpop_operator.adapters.kube.records import NodeRecord

_Labels = tuple[tuple[str, tuple[str, ...]], ...]

_MODEL = re.compile(
    r"(?<![a-z0-9])(a100|a10g|a10|b200|b300|gb200|h100|h200|l40s|l40|l4|m60|k80|p100|p4|t4g|t4|v100)(?![a-z0-9])",
    re.IGNORECASE,
)
_MEMORY = re.compile(r"(40|80)GB", re.IGNORECASE)
# GKE, "About GPUs in GKE": the names of accelerators. Some models have several.
_GKE_NAMES: Mapping[str, tuple[str, ...]] = {
    "a100": ("nvidia-a100-80gb", "nvidia-tesla-a100"),
    "b200": ("nvidia-b200",),
    "h100": ("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
    "h200": ("nvidia-h200-141gb",),
    "l4": ("nvidia-l4",),
    "p100": ("nvidia-tesla-p100",),
    "p4": ("nvidia-tesla-p4",),
    "t4": ("nvidia-tesla-t4",),
    "v100": ("nvidia-tesla-v100",),
}
_GKE_A100 = {"40": ("nvidia-tesla-a100",), "80": ("nvidia-a100-80gb",)}  # by memory, in GB
_KARPENTER = ("karpenter", "eks-auto-mode")  # starts of the names under which Karpenter writes Events
_CLUSTER_AUTOSCALER = "cluster-autoscaler"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLabels:
    """The labels that a Pod requires of its Node, in addition to its node selector.

    `any_of` holds alternatives: a Node matches if it has one of the values of any one key. `none_of`: a Node that has
    one of the values of a key does not match; one without the key does.
    """

    any_of: _Labels = ()
    none_of: _Labels = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerAnswer:
    """What an autoscaler says of a Pod without a Node: whether it adds one, and its own words with its name."""

    adds_node: bool
    words: str


def _to_gke_names(product: str) -> tuple[str, ...]:
    if any(product.lower() in names for names in _GKE_NAMES.values()):
        return (product.lower(),)
    model, memory = _to_model(product), _MEMORY.search(product)
    if model == "a100" and memory is not None:
        return _GKE_A100[memory[1]]
    return _GKE_NAMES.get(model, ())


def _to_model(product: str) -> str:
    found = _MODEL.search(product)
    return "" if found is None else found[1].lower()


def _to_lower_names(product: str) -> tuple[str, ...]:
    return (model,) if (model := _to_model(product)) else ()


def _to_upper_names(product: str) -> tuple[str, ...]:
    return tuple(name.upper() for name in _to_lower_names(product))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cloud:
    """A label with which an autoscaler chooses a GPU, and the starts of label keys that show that the cluster has it.

    `to_names` returns the label's values for a product, none if there is no such name.
    """

    key: str
    shown_by: tuple[str, ...]
    to_names: Callable[[str], tuple[str, ...]]


# Sources: GKE, "About node auto-provisioning"; Karpenter, "Scheduling, well-known labels"; EKS, "Create a node pool for
# EKS Auto Mode"; AKS, "Node auto-provisioning, node pool configuration"; cloudpilot-ai/karpenter-provider-gcp.
# AKS without node auto-provisioning has no such label: kubernetes.azure.com/accelerator names the maker only.
_CLOUDS = (
    _Cloud(key="cloud.google.com/gke-accelerator", shown_by=("cloud.google.com/gke-nodepool",), to_names=_to_gke_names),
    _Cloud(key="karpenter.k8s.gcp/instance-gpu-name", shown_by=("karpenter.k8s.gcp/",), to_names=_to_gke_names),
    _Cloud(key="karpenter.k8s.aws/instance-gpu-name", shown_by=("karpenter.k8s.aws/",), to_names=_to_lower_names),
    _Cloud(
        key="eks.amazonaws.com/instance-gpu-name",
        shown_by=("eks.amazonaws.com/compute-type", "eks.amazonaws.com/instance-"),
        to_names=_to_lower_names,
    ),
    _Cloud(key="karpenter.azure.com/sku-gpu-name", shown_by=("karpenter.azure.com/",), to_names=_to_upper_names),
)


def labels_to_scale_up(
    product: str | None, node_selector: Mapping[str, str], nodes: Sequence[NodeRecord], unwanted: _Labels
) -> NodeLabels:
    """Return the labels that a Pod requires so that an autoscaler adds a Node for it, and no other Node takes it.

    Args:
        product: the product that the autoscaler is to add, None if the study names none.
        node_selector: of the study's pool; a key that it has is the user's choice.
        nodes: all known Nodes, with or without GPUs: their labels show the cloud.
        unwanted: products of Nodes that the pool does not want, by their label key.
    """
    shown = {key for node in nodes for key in node.labels} | node_selector.keys()
    clouds = [cloud for cloud in _CLOUDS if any(key.startswith(cloud.shown_by) for key in shown)]
    named = [(cloud.key, cloud.to_names(product)) for cloud in clouds if product is not None]
    return NodeLabels(
        any_of=tuple((key, names) for key, names in named if names and key not in node_selector), none_of=unwanted
    )


def unwanted_labels(wanted: str, node: NodeRecord) -> Iterator[tuple[str, str]]:
    """Yield the labels by which a Pod excludes a Node with GPUs that its pool does not want.

    The name that a cloud gives the GPU excludes further Nodes of that kind before an autoscaler adds one, but it may
    stand for several products. It is used only if it names another model than the study.

    Args:
        wanted: the text by which the study names the GPUs of the pool.
        node: the Node.
    """
    key = product_label(node)
    if key is not None:
        yield (key, node.labels[key])
    models = {model.lower() for model in _MODEL.findall(wanted)}
    for cloud in _CLOUDS:
        name = node.labels.get(cloud.key, "")
        if cloud.key != key and models and _to_model(name) and _to_model(name) not in models:
            yield (cloud.key, name)


def by_key(labels: Iterable[tuple[str, str]]) -> _Labels:
    """Return labels grouped by key, keys and values in order."""
    found: dict[str, set[str]] = defaultdict(set)
    for key, value in labels:
        found[key].add(value)
    return tuple((key, tuple(sorted(values))) for key, values in sorted(found.items()))


def read_answer(events: Sequence[Mapping[str, Any]]) -> AutoscalerAnswer | None:
    """Return what the newest Event of an autoscaler about a Pod says, None if there is none.

    The scheduler's own `FailedScheduling` is not one: the Pod's condition has its message.
    """
    answers = [(event, _adds_node(event)) for event in sorted(events, key=event_time)]
    newest = next(((event, adds) for event, adds in reversed(answers) if adds is not None), None)
    if newest is None:
        return None
    event, adds = newest
    return AutoscalerAnswer(adds_node=adds, words=f"{_reporter(event)}: {event.get('message', '')}")


def _adds_node(event: Mapping[str, Any]) -> bool | None:
    """Return whether the Event says that a Node is added or that none is, None if it is about something else."""
    reason, reporter = event.get("reason"), _reporter(event)
    if reporter.startswith(_CLUSTER_AUTOSCALER):
        return {"TriggeredScaleUp": True, "NotTriggerScaleUp": False}.get(str(reason))
    if reporter.startswith(_KARPENTER):
        return {"Nominated": True, "FailedScheduling": False}.get(str(reason))
    return None


def _reporter(event: Mapping[str, Any]) -> str:
    source = event.get("source") or {}
    return str(event.get("reportingComponent") or source.get("component") or "")


def event_time(event: Mapping[str, Any]) -> str:
    """Return when an Event was last observed, as text; timestamps of one format sort in time order."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")
