"""Match a study's pools with the Nodes of a cluster: which GPUs they have, how many, and how a Pod selects them.

Pure. A pool is one kind of hardware, because measurements on different kinds are not comparable: Nodes of two kinds are
refused, and so are shared GPUs, unless the study asks for them by name. `node_gpus` reads the Nodes, `pool_problems`
writes the refusals, `scale_up` knows what autoscalers need.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.node_gpus import (
    GpuKind,
    divisions,
    driver_major,
    is_cloud_name,
    is_divided_product,
    is_invalid_mig,
    is_same_hardware,
    kinds_of,
    product_label,
    product_of,
)
from infpop_operator.adapters.kube.pool_problems import (
    UnmatchedPool,
    mixed,
    no_nodes,
    no_product,
    no_resource,
    no_room,
    shared_gpus,
)
from infpop_operator.adapters.kube.product_patterns import matching
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.adapters.kube.scale_up import NodeLabels, by_key, labels_to_scale_up, unwanted_labels
from infpop_operator.core.fingerprint import digest
from infpop_operator.core.model import Hardware

__all__ = [
    "MatchedPool",
    "Place",
    "PoolQuery",
    "RememberedMatches",
    "UnmatchedPool",
    "avoided_hosts",
    "is_autoscaled",
    "match_pool",
    "without_flapping",
]

_PRODUCT_LABELS = labels.GPU_PRODUCT_LABELS
_REMEMBERED = 1000  # different pools; at this number the cache is cleared


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolQuery:
    """What the study's spec says about a pool. `gpu_product` is a regular expression, None for any GPU.

    `gpus_per_node` is the number of GPUs of a Node that an autoscaler adds, None if none does. `added_product` is what
    their product label is or contains, None if the study does not say it.
    """

    name: str
    device: Literal["cuda", "cpu"]
    gpu_product: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    gpu_resource: str = "nvidia.com/gpu"
    gpus_per_node: int | None = None
    added_product: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A Node that starts Pods: its name, its hostname label, and the most devices that a run can have there."""

    node: str
    host: str
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedPool:
    """The Nodes that match a pool, all of one kind.

    `fingerprint` changes only with the kind of GPU: not with the number of Nodes, their names or their health, and not
    with the number of GPUs on a Node. Nodes with four and with eight GPUs are one pool, and its fingerprint must not
    change when the largest Node is drained. A user who doubts that two GPUs of four are as well connected as two of
    eight can select Nodes by label. `kind` is what the labels say of the GPUs, None for CPUs. `driver_majors` are the
    major versions of the Nodes' drivers, ascending; during an update there are two, and the fingerprint is of the newer
    one unless the pool is known with the older one (`without_flapping`).

    `device_count` is the most devices that one run can have, on the largest Node: cordoned or not, because a drain does
    not make a run impossible, but without broken devices while others work. It is 1 if a device is a part of a GPU,
    because a CUDA process sees one MIG partition, and NCCL refuses two ranks on the same GPU. `usable_device_count` is
    the most that one run can have now, and `total_device_count` all devices on the `nodes` Nodes that start Pods. Where
    an autoscaler adds Nodes, the first two are at least the devices of such a Node, and the last one is None.
    `node_labels` are those that a Pod requires, none if the pool's node selector suffices. `places` are the Nodes that
    start Pods; they do not count when two matches are compared.
    """

    name: str
    gpu_model: str | None
    fingerprint: str
    kind: GpuKind | None = None
    driver_majors: tuple[str, ...] = ()
    device_count: int
    usable_device_count: int
    total_device_count: int | None
    nodes: int
    node_labels: NodeLabels = field(default_factory=NodeLabels)
    places: tuple[Place, ...] = field(default=(), compare=False)


def match_pool(query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
    """Return the Nodes that match `query`, or why none do."""
    selected = [node for node in nodes if query.node_selector.items() <= node.labels.items()]
    if query.device == "cpu":
        return _match_cpus(query, selected)
    match = _match_gpus(query, selected)
    return match if query.gpus_per_node is None else _with_added_nodes(query, match, nodes, selected)


def _with_added_nodes(
    query: PoolQuery, match: MatchedPool | UnmatchedPool, nodes: Sequence[NodeRecord], selected: Sequence[NodeRecord]
) -> MatchedPool | UnmatchedPool:
    """Return the match of a pool to which an autoscaler adds Nodes."""
    offering = [node for node in selected if node.capacity_gpus.get(query.gpu_resource, 0) > 0]
    strangers = [node for node in offering if is_stranger(query, node) or _is_divided(node, query)]
    unwanted = by_key(label for node in strangers for label in unwanted_labels(wanted_product(query), node))
    required = labels_to_scale_up(query.added_product, query.node_selector, nodes, unwanted)
    if isinstance(match, UnmatchedPool):
        return replace(match, node_labels=required)
    if required.any_of:  # or an existing Node, which may not have the cloud's label
        required = replace(required, any_of=(*required.any_of, *match.node_labels.any_of))
    own = [node for node in offering if product_of(node) == (match.gpu_model or "")]
    added = 1 if any(divisions(node, query.gpu_resource) for node in own) else added_devices(query)
    return replace(
        match,
        device_count=max(match.device_count, added),
        usable_device_count=max(match.usable_device_count, added),
        total_device_count=None,
        node_labels=required,
    )


def wanted_product(query: PoolQuery) -> str:
    """Return the text by which the study names the GPUs of a pool, empty if it names none."""
    return " ".join(text for text in (query.gpu_product, query.added_product) if text is not None)


def added_devices(query: PoolQuery) -> int:
    """Return the most devices that one run can have on a Node that an autoscaler adds; 1 if a device is part of a GPU.

    Raises:
        ValueError: no autoscaler adds Nodes to the pool.
    """
    if query.gpus_per_node is None:
        raise ValueError(f"pool {query.name}: no autoscaler adds nodes")
    return 1 if query.added_product is not None and is_divided_product(query.added_product) else query.gpus_per_node


def is_stranger(query: PoolQuery, node: NodeRecord) -> bool:
    """Return whether a label of the Node names a product that is not the pool's."""
    if product_label(node) is None:
        return False
    found = _find(query, [node])
    return not isinstance(found, UnmatchedPool) and not found


class RememberedMatches:
    """A cache of `match_pool` for many studies: most ask for the same few pools, and Nodes rarely change."""

    def __init__(self) -> None:
        self._nodes: Sequence[NodeRecord] = ()
        self._known: dict[tuple[object, ...], MatchedPool | UnmatchedPool] = {}

    def __call__(self, query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
        """Return the result of `match_pool`; cached as long as `nodes` is the identical object."""
        if nodes is not self._nodes or len(self._known) >= _REMEMBERED:
            self._nodes, self._known = nodes, {}
        selector = tuple(sorted(query.node_selector.items()))
        added = (query.gpus_per_node, query.added_product)
        key = (query.name, query.device, query.gpu_product, selector, query.gpu_resource, added)
        if key not in self._known:
            self._known[key] = match_pool(query, nodes)
        return self._known[key]


def _match_cpus(query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
    places = tuple(_place(node, node.cpus) for node in nodes if node.starts_pods)
    usable = [place.devices for place in places]
    if not any(usable):
        message = f"no uncordoned node {_selected(query)}; correct nodePools[].nodeSelector or add a node"
        unready = [f"{node.name} ({node.unready})" for node in nodes if node.schedulable and node.unready is not None]
        if unready:
            message = f"no node {_selected(query)} and starts Pods: {', '.join(unready)}; repair or replace one"
        return UnmatchedPool(reason="NoMatchingNodes", message=message)
    arches = Counter(node.arch for node in nodes)
    if len(arches) > 1:
        return mixed(arches, "MixedCPUs")
    (arch,) = arches
    facts = {"device": "cpu", "arch": arch, "cpus": max(node.cpus for node in nodes)}
    return MatchedPool(
        name=query.name,
        gpu_model=None,
        fingerprint=digest(facts)[:16],
        device_count=max(node.cpus for node in nodes),
        usable_device_count=max(usable),
        total_device_count=sum(usable),
        nodes=len(usable),
        places=places,
    )


def _match_gpus(query: PoolQuery, selected: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
    found = _find(query, selected)
    if isinstance(found, UnmatchedPool):
        return found
    resource = query.gpu_resource
    offering = [node for node in found if node.capacity_gpus.get(resource, 0) > 0 and not is_invalid_mig(node)]
    if not offering:
        return _nothing(query, selected, found)
    key = _best_label(offering)
    named = [node for node in offering if product_label(node) == key]
    own = [node for node in named if not _is_divided(node, query)]
    divided = [node for node in named if _is_divided(node, query)]
    if not own or _are_indistinguishable(own, divided):
        return shared_gpus(resource, divided)
    kinds = kinds_of(own)
    if len(kinds) > 1:
        return mixed(kinds, "MixedGPUs")
    (kind,) = kinds
    return _matched(query, kind, key, own)


def _nothing(query: PoolQuery, selected: Sequence[NodeRecord], found: Sequence[NodeRecord]) -> UnmatchedPool:
    """Return why no Node offers a device: what is known of the Nodes of the wanted product comes first."""
    resource, where = query.gpu_resource, _selected(query)
    if not selected:
        return no_nodes(where, resource)
    others = [node for node in selected if node.capacity_gpus.get(resource, 0) > 0]
    if query.gpu_product is not None and others and not matching(query.gpu_product, selected):
        return no_product(query.gpu_product, resource, selected)
    if query.added_product is not None and others and not found:
        field = "nodePools[].scaleFromZero.gpuProduct"
        return no_product(re.escape(query.added_product), resource, selected, field)
    return no_resource(where, resource, found or selected)


def _matched(
    query: PoolQuery, kind: GpuKind, key: str | None, nodes: Sequence[NodeRecord]
) -> MatchedPool | UnmatchedPool:
    resource = query.gpu_resource
    usable = [node for node in nodes if node.starts_pods and node.allocatable(resource) > 0]
    if not usable:
        return no_room(str(kind.product or resource), resource, nodes)
    drivers = tuple(sorted({major for node in nodes if (major := driver_major(node)) is not None}, key=int))
    return MatchedPool(
        name=query.name,
        gpu_model=kind.product or None,
        fingerprint=kind.fingerprint(drivers[-1] if drivers else None),
        kind=kind,
        driver_majors=drivers,
        device_count=max(_devices_of_a_run(node, resource) for node in nodes),
        usable_device_count=max(_devices_of_a_run(node, resource) for node in usable),
        total_device_count=sum(node.allocatable(resource) for node in usable),
        nodes=len(usable),
        node_labels=NodeLabels() if key is None else NodeLabels(any_of=((key, (kind.product,)),)),
        places=tuple(_place(node, _devices_of_a_run(node, resource)) for node in usable),
    )


def avoided_hosts(places: Sequence[Place], nodes: Sequence[str], gpu_count: int) -> tuple[str, ...]:
    """Return the hostname labels of `nodes` that a run of `gpu_count` devices does not need.

    Args:
        places: the Nodes that start Pods of the pool.
        nodes: the Nodes to avoid, the one to avoid most first; if no other were left, the last ones are kept.
        gpu_count: the devices of the run.
    """
    able = {place.node: place.host for place in places if place.devices >= gpu_count}
    avoided = [able[node] for node in nodes if node in able]
    return tuple(sorted(avoided[: len(able) - 1])) if able else ()


def _place(node: NodeRecord, devices: int) -> Place:
    return Place(node=node.name, host=node.labels.get(labels.HOSTNAME, node.name), devices=devices)


def _devices_of_a_run(node: NodeRecord, resource: str) -> int:
    """Return the most devices that a run can have on the Node; if none works, the device plugin is being restarted."""
    devices = node.allocatable(resource) or node.capacity_gpus[resource]
    return min(devices, 1) if divisions(node, resource) else devices


def is_autoscaled(query: PoolQuery) -> bool:
    """Return whether the pool's selector names a group of Nodes that an autoscaler may enlarge from zero."""
    return any(key.startswith(labels.NODE_GROUP_LABELS) for key in query.node_selector)


def without_flapping(match: MatchedPool | UnmatchedPool, known: Sequence[Hardware]) -> MatchedPool | UnmatchedPool:
    """Return `match` with the known identity of the same hardware, or `NodesChanging` if it was more exact before.

    A new Node has its cloud's labels from the start and those of GPU feature discovery up to a minute later. If it is
    the only Node of its pool, the pool's fingerprint would differ for that minute, and the operator would measure
    everything again. So an inexact identity never replaces an exact one, while any identity replaces an inexact one.

    Args:
        match: the current match.
        known: the hardware of the pool's rounds, the newest round first. Hardware that comes back gets the identity
            that it had, even if the labels say more of it, or something slightly different, than then.
    """
    if isinstance(match, UnmatchedPool) or match.kind is None or not known:
        return match
    newest, *older = known
    if not (_is_known(match, newest) or match.kind.is_exact or is_cloud_name(newest)):
        return _changing(newest)
    same = next((hardware for hardware in (newest, *older) if _is_known(match, hardware)), None)
    return match if same is None else replace(match, fingerprint=same.fingerprint)


def _is_known(match: MatchedPool, known: Hardware) -> bool:
    return match.kind is not None and is_same_hardware(match.kind, match.driver_majors, known)


def _changing(known: Hardware) -> UnmatchedPool:
    message = (
        f"its nodes lack the labels that identified their GPUs exactly before ({known.gpu_model}): {labels.GPU_MEMORY} "
        f"and {labels.GPU_COMPUTE_MAJOR}. A node that has just joined gets them within a minute; if GPU feature "
        "discovery was removed, give the pool another name"
    )
    return UnmatchedPool(reason="NodesChanging", message=message)


def _best_label(nodes: Sequence[NodeRecord]) -> str | None:
    """Return the most exact product label key that any of the Nodes has.

    A Node without it has just joined and gets it within a minute. Names from two different label keys are not
    comparable.
    """
    present = {product_label(node) for node in nodes}
    return next((key for key in labels.GPU_PRODUCT_LABELS if key in present), None)


def _find(query: PoolQuery, nodes: Sequence[NodeRecord]) -> list[NodeRecord] | UnmatchedPool:
    """Return the Nodes whose product is the pool's."""
    found = matching(query.gpu_product, nodes)
    if isinstance(found, UnmatchedPool) or query.added_product is None:
        return found
    wanted = query.added_product.lower()
    return [node for node in found if any(wanted in node.labels.get(key, "").lower() for key in _PRODUCT_LABELS)]


def _is_divided(node: NodeRecord, query: PoolQuery) -> bool:
    """Return whether the Node's GPUs are shared or partitioned and the study did not ask for that by name."""
    pattern = (query.gpu_product or "").lower()
    return any(
        query.node_selector.keys().isdisjoint(division.keys) if division.keys else division.mark.lower() not in pattern
        for division in divisions(node, query.gpu_resource)
    )


def _are_indistinguishable(own: Sequence[NodeRecord], shared: Sequence[NodeRecord]) -> bool:
    """Return whether shared and unshared Nodes have the same product label, so that a Pod could land on either."""
    return not set(map(product_of, shared)).isdisjoint(map(product_of, own))


def _selected(query: PoolQuery) -> str:
    if not query.node_selector:
        return "exists"
    return "has the labels " + ", ".join(f"{key}={value}" for key, value in sorted(query.node_selector.items()))
