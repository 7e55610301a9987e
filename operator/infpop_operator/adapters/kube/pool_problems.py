"""Say why a pool has no Nodes to measure on, in words that name what the Nodes have and what to change. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from infpop_operator.adapters.kube.node_gpus import (
    GpuKind,
    divisions,
    is_invalid_mig,
    kinds_of,
    product_label,
    product_of,
)
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.adapters.kube.scale_up import NodeLabels

_SHOWN = 8  # products, signs or Nodes in a message
_SHOWN_LABELS = 3
# Extended resources that are accelerators of any vendor: by a word in the name, or by a domain that has no others.
_ACCELERATOR = re.compile(
    r"gpu|cuda|[ntximv]pu\b|\b[dgm][lc]u\b|neuron|gaudi|accelerator|ascend|qaic|/i915|/xe$"
    r"|^(amd\.com|habana\.ai|furiosa\.ai|rebellions\.ai|tenstorrent\.com|huawei\.com|cloud-tpus\.google\.com)/",
    re.IGNORECASE,
)
_NVIDIA = "nvidia.com/"
_SHARED_RESOURCE = ".shared"  # how NVIDIA's device plugin renames resources that it shares, if renameByDefault is set
_MIG_RESOURCE = f"{_NVIDIA}mig-"
_GPU_LABEL = re.compile(r"gpu-name$|gpu\.product|accelerator$|instance-type$|machine-family$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedPool:
    """Why a pool has no Nodes to measure on: a reason in one word, and a message with the remedy.

    `products` are the GPU products of the Nodes among which the pool was searched, for a product that none of them has.
    `may_pass`: Nodes of the pool may appear without a person's act. `lacks_nodes`: the pool would match if an
    autoscaler added a Node. `node_labels` are those that a Pod requires until then.
    """

    reason: str
    message: str
    products: tuple[str, ...] = field(default=())
    may_pass: bool = False
    lacks_nodes: bool = False
    node_labels: NodeLabels = field(default_factory=NodeLabels)


def no_nodes(where: str, resource: str) -> UnmatchedPool:
    """Return the problem of a pool whose selector no Node has; `where` says what was looked for."""
    message = (
        f"no node with {resource} {where}; add one, install the device plugin, or correct nodePools[].nodeSelector"
    )
    return UnmatchedPool(reason="NoMatchingNodes", message=message, may_pass=True, lacks_nodes=True)


def no_resource(where: str, resource: str, nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    """Return the problem of a pool whose selected Nodes have none of its devices; they may have others."""
    others = _other_devices(resource, nodes)
    mig = [name for name in others if name.startswith(_MIG_RESOURCE)]
    shared = [name for name in others if name.endswith(_SHARED_RESOURCE)]
    invalid = [node for node in nodes if is_invalid_mig(node)]
    named = [node for node in nodes if product_label(node) is not None]
    if invalid:
        return _invalid_mig(invalid)
    if shared:
        message = (
            f"these nodes offer shared GPUs ({_joined(shared)}); a measurement needs whole GPUs, which {resource} "
            "counts: switch time-slicing off for these nodes, or select others by nodePools[].nodeSelector"
        )
        return UnmatchedPool(reason="SharedGPUs", message=message)
    if mig:
        message = (
            f"these nodes offer MIG partitions under names of their own ({_joined(mig)}), which InfPop does not "
            f"support; a measurement needs whole GPUs. To measure partitions, give the device plugin the MIG strategy "
            f'"single", so that {resource} counts them, and name MIG in gpuProduct'
        )
        return UnmatchedPool(reason="SharedGPUs", message=message)
    if others:
        message = (
            f"these nodes have {_joined(others)}, which InfPop does not support: it measures NVIDIA GPUs that the "
            f"device plugin offers as {resource}, and CPUs (gpuResource: cpu)"
        )
        return UnmatchedPool(reason="UnsupportedGPUs", message=message)
    if named:
        return _without_plugin(resource, named)
    return no_nodes(where, resource)


def _other_devices(resource: str, nodes: Sequence[NodeRecord]) -> list[str]:
    """Return the names of the accelerators that the Nodes have under other names than `resource`."""
    found = {name for node in nodes for name, count in node.capacity_gpus.items() if count > 0 and name != resource}
    return sorted(name for name in found if name.startswith(_NVIDIA) or _ACCELERATOR.search(name))


def _invalid_mig(nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    message = (
        f"the GPUs of {_listed_nodes(nodes)} are in MIG mode, but not partitioned alike ({product_of(nodes[0])}), so "
        "the device plugin offers none: give all GPUs of a node the same partitions, or switch MIG off"
    )
    return UnmatchedPool(reason="NoMatchingNodes", message=message)


def _without_plugin(resource: str, nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    products = _joined(sorted({product_of(node) for node in nodes}))
    message = (
        f"the labels of {_listed_nodes(nodes)} name a GPU ({products}), but no {resource} is offered there: the device "
        "plugin is not there yet (it starts within minutes after a node joins), or is not installed; GPUs that only "
        "Dynamic Resource Allocation offers are not supported"
    )
    return UnmatchedPool(reason="NoMatchingNodes", message=message, may_pass=True, lacks_nodes=True)


def no_product(
    pattern: str, resource: str, selected: Sequence[NodeRecord], field: str = "nodePools[].gpuProduct"
) -> UnmatchedPool:
    """Return the problem of a pool whose product pattern matches none of the selected Nodes that have its devices.

    It may pass if one of them has no product label yet, as a Node that has just joined.
    """
    nodes = [node for node in selected if node.capacity_gpus.get(resource, 0) > 0]
    others = _other_devices(resource, selected)
    unsupported = f"; {_joined(others)} of some nodes is not supported" if others else ""
    message = (
        f"no GPU product matches {pattern!r}; nodes have: {listed(kinds_of(nodes))}{unsupported}; "
        f"{_labels_instead(pattern, nodes)}correct {field}, or leave it out and select nodes by nodeSelector"
    )
    found = {product_of(node) for node in nodes}
    return UnmatchedPool(
        reason="NoMatchingNodes",
        message=message,
        products=tuple(sorted(found - {""})),
        may_pass="" in found,
        lacks_nodes=True,
    )


def _labels_instead(pattern: str, nodes: Sequence[NodeRecord]) -> str:
    """Return a part of a sentence with labels that select the wanted GPUs although they name no product."""
    found = sorted(
        {
            f"{key}={value}"
            for node in nodes
            for key, value in node.labels.items()
            if _GPU_LABEL.search(key) and key != "nvidia.com/gpu.product"
        },
        key=lambda text: (re.search(pattern, text, re.IGNORECASE) is None, text),
    )
    return f"labels that nodeSelector may use: {_joined(found[:_SHOWN_LABELS])}; " if found else ""


def no_room(product: str, resource: str, nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    """Return the problem of a pool none of whose Nodes starts Pods, or has a device that a Pod can use."""
    cordoned = [node for node in nodes if not node.schedulable]
    if len(cordoned) == len(nodes):
        message = f"all nodes with {product} are cordoned ({len(nodes)}); uncordon one: kubectl uncordon NODE"
        return UnmatchedPool(reason="NoMatchingNodes", message=message, lacks_nodes=True)
    why = [f"{node.name} ({_why_unusable(node, resource)})" for node in nodes]
    message = (
        f"no node with {product} starts a Pod with {resource} now: {_joined(why)}; repair or replace these nodes, or "
        "wait until they are back"
    )
    return UnmatchedPool(reason="NoMatchingNodes", message=message, may_pass=True, lacks_nodes=True)


def _why_unusable(node: NodeRecord, resource: str) -> str:
    if not node.schedulable:
        return "cordoned"
    return node.unready or f"allocatable {resource} is 0: its GPUs are broken, or its device plugin does not run"


def mixed(kinds: Counter[GpuKind] | Counter[str], reason: str) -> UnmatchedPool:
    """Return the problem of a pool whose Nodes are of several kinds."""
    message = (
        f"the pool's nodes are of {len(kinds)} kinds: {listed(kinds)}; narrow nodePools[].gpuProduct or nodeSelector "
        "to one kind, or define one pool for each kind"
    )
    return UnmatchedPool(reason=reason, message=message)


def shared_gpus(resource: str, nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    """Return the problem of a pool whose Nodes share or partition their GPUs, which the study did not ask for."""
    signs = {division.sign for node in nodes for division in divisions(node, resource) if division.keys}
    shown = f" ({_joined(sorted(signs))})" if signs else ""
    message = (
        f"these nodes share or partition their GPUs: {listed(kinds_of(nodes))}{shown}; a measurement needs whole GPUs. "
        "Select other nodes by nodePools[].nodeSelector, or name MIG or SHARED in gpuProduct"
        f"{', or select the label that says how they are shared' if signs else ''}"
    )
    return UnmatchedPool(reason="SharedGPUs", message=message)


def listed(kinds: Counter[GpuKind] | Counter[str]) -> str:
    """Return the kinds with their number of Nodes, as text."""
    known = sorted(kinds.items(), key=lambda item: str(item[0]))
    shown = [f"{kind} on {count} node{'s' if count > 1 else ''}" for kind, count in known[:_SHOWN]]
    return "; ".join(shown + ([f"and {len(known) - _SHOWN} more"] if len(known) > _SHOWN else []))


def _listed_nodes(nodes: Sequence[NodeRecord]) -> str:
    return f"node{'s' if len(nodes) > 1 else ''} {_joined([node.name for node in nodes])}"


def _joined(texts: Iterable[str]) -> str:
    known = list(texts)
    return ", ".join(known[:_SHOWN] + ([f"and {len(known) - _SHOWN} more"] if len(known) > _SHOWN else []))
