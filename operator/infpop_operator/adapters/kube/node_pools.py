"""Match a study's pools with the Nodes of a cluster: which GPUs they have, how many, and how a Pod selects them.

Pure. A pool is one kind of hardware, because measurements on different kinds are not comparable: Nodes of two kinds are
refused, and so are shared GPUs, unless the study asks for them by name. Users write the patterns, so their complexity
is bounded: matching one takes milliseconds at most.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.core.fingerprint import digest

# Python's matcher tries alternatives one after the other, and a label value has up to 63 characters: an unbounded
# repeat may stop at 64 places, which is 6 bits of choice; an alternative adds at most one bit. 12 bits are a few
# thousand paths. A repeated group has no bound.
_MOST_CHOICE_BITS = 12
_REPEAT_BITS = 6
_SHOWN = 8  # products in a message
_REMEMBERED = 1000  # different pools; at this number the cache is cleared
_SHARED_PRODUCT = re.compile(r"-MIG-|-SHARED\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolQuery:
    """What the study's spec says about a pool. `gpu_product` is a regular expression, None for any GPU."""

    name: str
    device: Literal["cuda", "cpu"]
    gpu_product: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    gpu_resource: str = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedPool:
    """The Nodes that match a pool, all of one kind.

    `fingerprint` changes only with the kind of GPU: not with the number of Nodes, their names or their health, and not
    with the number of GPUs on a Node. Nodes with four and with eight GPUs are one pool, and its fingerprint must not
    change when the largest Node is drained. A user who doubts that two GPUs of four are as well connected as two of
    eight can select Nodes by label. `is_exact` is True if the labels of GPU feature discovery identify the GPUs, False
    if only a cloud's name for them is known.

    `device_count` is the number of devices on the largest Node, cordoned or not: a drain does not make a run
    impossible. `total_device_count` is the number of devices on all Nodes that are not cordoned; `nodes` is the number
    of these Nodes. `node_labels` are the alternatives for the Pod's node affinity, empty if the pool's node selector
    suffices.
    """

    name: str
    gpu_model: str | None
    fingerprint: str
    is_exact: bool = True
    device_count: int
    total_device_count: int
    nodes: int
    node_labels: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedPool:
    """Why a pool has no Nodes to measure on: a reason in one word, and a message with the remedy."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Kind:
    """The hardware kind of a Node; two Nodes of the same kind are comparable. A part is empty if no label gives it."""

    product: str
    memory: str
    compute: str

    def __str__(self) -> str:
        """Return the kind as text for a message."""
        more = [f"{self.memory} MB" if self.memory else "", f"compute {self.compute}" if self.compute else ""]
        known = ", ".join(part for part in more if part)
        return (self.product or "no product label") + (f" ({known})" if known else "")


def match_pool(query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
    """Return the Nodes that match `query`, or why none do."""
    selected = [node for node in nodes if query.node_selector.items() <= node.labels.items()]
    if query.device == "cpu":
        return _match_cpus(query, selected)
    return _match_gpus(query, [node for node in selected if node.capacity_gpus.get(query.gpu_resource, 0) > 0])


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
        key = (query.name, query.device, query.gpu_product, selector, query.gpu_resource)
        if key not in self._known:
            self._known[key] = match_pool(query, nodes)
        return self._known[key]


def _match_cpus(query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
    usable = [node.cpus for node in nodes if node.schedulable]
    if not any(usable):
        message = f"no uncordoned node {_selected(query)}; correct nodePools[].nodeSelector or add a node"
        return UnmatchedPool(reason="NoMatchingNodes", message=message)
    arches = Counter(node.arch for node in nodes)
    if len(arches) > 1:
        return _mixed(query, arches)
    (arch,) = arches
    facts = {"device": "cpu", "arch": arch, "cpus": max(node.cpus for node in nodes)}
    return MatchedPool(
        name=query.name,
        gpu_model=None,
        fingerprint=digest(facts)[:16],
        device_count=max(node.cpus for node in nodes),
        total_device_count=sum(usable),
        nodes=len(usable),
    )


def _match_gpus(query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
    found = _find(query.gpu_product, nodes)
    if isinstance(found, UnmatchedPool):
        return found
    if not found:
        return _nothing(query, nodes)
    key = _best_label(found)
    named = [node for node in found if product_label(node) == key]
    shared = {node.name for node in named if _is_shared(node, query)}
    own = [node for node in named if node.name not in shared]
    if not own or _are_indistinguishable(own, [node for node in named if node.name in shared]):
        return _shared(query, named)
    kinds = Counter(_kind(node) for node in own)
    if len(kinds) > 1:
        return _mixed(query, kinds)
    (kind,) = kinds
    return _matched(query, kind, key, own)


def _matched(
    query: PoolQuery, kind: _Kind, key: str | None, nodes: Sequence[NodeRecord]
) -> MatchedPool | UnmatchedPool:
    counts = [node.capacity_gpus[query.gpu_resource] for node in nodes]
    usable = [count for count, node in zip(counts, nodes, strict=True) if node.schedulable]
    if not usable:
        message = f"all nodes with {kind.product} are cordoned ({len(nodes)}); uncordon one: kubectl uncordon NODE"
        return UnmatchedPool(reason="NoMatchingNodes", message=message)
    return MatchedPool(
        name=query.name,
        gpu_model=kind.product or None,
        fingerprint=_fingerprint(kind),
        is_exact=_is_exact(kind),
        device_count=max(counts),
        total_device_count=sum(usable),
        nodes=len(usable),
        node_labels=() if key is None else ((key, (kind.product,)),),
    )


def without_flapping(
    match: MatchedPool | UnmatchedPool, *, fingerprint: str | None, gpu_model: str | None
) -> MatchedPool | UnmatchedPool:
    """Return `match`, or `NodesChanging` if the pool's GPUs were identified more exactly before.

    A new Node has its cloud's labels from the start and those of GPU feature discovery up to a minute later. If it is
    the only Node of its pool, the pool's fingerprint would differ for that minute, and the operator would measure
    everything again. So an inexact identity never replaces an exact one, while any identity replaces an inexact one.

    Args:
        match: the current match.
        fingerprint: of the last known match of the pool, None if there was none.
        gpu_model: of the last known match of the pool.
    """
    inexact = _fingerprint(_Kind(product=gpu_model or "", memory="", compute=""))
    if isinstance(match, UnmatchedPool) or match.is_exact or fingerprint in {None, inexact, match.fingerprint}:
        return match
    message = (
        f"its nodes lack the labels that identified their GPUs exactly before ({gpu_model}): {labels.GPU_MEMORY} and "
        f"{labels.GPU_COMPUTE_MAJOR}. A node that has just joined gets them within a minute; if GPU feature discovery "
        "was removed, give the pool another name"
    )
    return UnmatchedPool(reason="NodesChanging", message=message)


def _fingerprint(kind: _Kind) -> str:
    facts = {"device": "cuda", "product": kind.product, "memory": kind.memory, "compute": kind.compute}
    return digest(facts)[:16]


def _is_exact(kind: _Kind) -> bool:
    return bool(kind.memory and kind.compute)


def product_label(node: NodeRecord) -> str | None:
    """Return the first label key that names the Node's GPU product, None if there is none."""
    return next((key for key in labels.GPU_PRODUCT_LABELS if node.labels.get(key)), None)


def _best_label(nodes: Sequence[NodeRecord]) -> str | None:
    """Return the most exact product label key that any of the Nodes has.

    A Node without it has just joined and gets it within a minute. Names from two different label keys are not
    comparable.
    """
    present = {product_label(node) for node in nodes}
    return next((key for key in labels.GPU_PRODUCT_LABELS if key in present), None)


def _product(node: NodeRecord) -> str:
    key = product_label(node)
    return "" if key is None else node.labels[key]


def _kind(node: NodeRecord) -> _Kind:
    compute = (node.labels.get(labels.GPU_COMPUTE_MAJOR), node.labels.get(labels.GPU_COMPUTE_MINOR))
    return _Kind(
        product=_product(node),
        memory=node.labels.get(labels.GPU_MEMORY, ""),
        compute=".".join(part for part in compute if part is not None),
    )


def _find(pattern: str | None, nodes: Sequence[NodeRecord]) -> list[NodeRecord] | UnmatchedPool:
    """Return the Nodes whose product matches the pattern, ignoring case: clouds write a100 for A100."""
    if pattern is None:
        return list(nodes)
    if not _is_bounded(pattern):
        message = (
            f"gpuProduct {pattern!r} could take too long to match; it may match anywhere in the product's name, so "
            "remove .* at both ends, repeated groups and most alternatives"
        )
        return UnmatchedPool(reason="PatternRefused", message=message)
    try:
        search = re.compile(pattern, re.IGNORECASE).search
    except (re.error, OverflowError, RecursionError) as error:
        message = f"gpuProduct {pattern!r} is not a regular expression: {error}"
        return UnmatchedPool(reason="PatternRefused", message=message)
    matches = {product: product != "" and search(product) is not None for product in {_product(node) for node in nodes}}
    return [node for node in nodes if matches[_product(node)]]


def _is_bounded(pattern: str) -> bool:
    """Return whether matching tries at most a few thousand paths, for any text.

    The count is an upper bound: characters inside a class count as if they were operators.
    """
    bits, before = 0, ""
    skip = False
    for character in pattern:
        if skip:
            skip, character = False, "\\"  # noqa: PLW2901 - an escaped character is not an operator
        elif character == "\\":
            skip = True
        elif character in "*+{?" and before == ")":
            return False
        elif character == "?" and before == "(":
            pass
        elif character in "*+{":
            bits += _REPEAT_BITS
        elif character in "?|":
            bits += 1
        before = character
    return bits <= _MOST_CHOICE_BITS and not re.search(r"\(\?(?!:|i\))", pattern)


def _is_shared(node: NodeRecord, query: PoolQuery) -> bool:
    """Return whether the Node's GPUs are shared or partitioned and the study did not ask for that by name."""
    mark = _SHARED_PRODUCT.search(_product(node))
    if mark is not None:
        return query.gpu_product is None or mark[0].strip("-").lower() not in query.gpu_product.lower()
    keys = (*labels.GPU_SHARING_LABELS, *labels.GPU_PARTITION_LABELS)
    shared = (key for key in keys if node.labels.get(key, "") not in labels.NOT_SHARED)
    return any(key not in query.node_selector for key in shared)


def _are_indistinguishable(own: Sequence[NodeRecord], shared: Sequence[NodeRecord]) -> bool:
    """Return whether shared and unshared Nodes have the same product label, so that a Pod could land on either."""
    return not {_product(node) for node in shared}.isdisjoint(_product(node) for node in own)


def _selected(query: PoolQuery) -> str:
    if not query.node_selector:
        return "exists"
    return "has the labels " + ", ".join(f"{key}={value}" for key, value in sorted(query.node_selector.items()))


def _nothing(query: PoolQuery, nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    if not nodes:
        message = (
            f"no node with {query.gpu_resource} {_selected(query)}; add one, install the device plugin, or correct "
            "nodePools[].nodeSelector"
        )
    else:
        message = (
            f"no GPU product matches {query.gpu_product!r}; nodes have: {_listed(Counter(map(_kind, nodes)))}; correct "
            "nodePools[].gpuProduct, or leave it out and select nodes by nodeSelector"
        )
    return UnmatchedPool(reason="NoMatchingNodes", message=message)


def _mixed(query: PoolQuery, kinds: Counter[_Kind] | Counter[str]) -> UnmatchedPool:
    message = (
        f"the pool's nodes are of {len(kinds)} kinds: {_listed(kinds)}; narrow nodePools[].gpuProduct or nodeSelector "
        "to one kind, or define one pool for each kind"
    )
    return UnmatchedPool(reason="MixedGPUs" if query.device == "cuda" else "MixedCPUs", message=message)


def _shared(query: PoolQuery, nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    kinds = Counter(_kind(node) for node in nodes if _is_shared(node, query))
    message = (
        f"these nodes share or partition their GPUs: {_listed(kinds)}; a measurement needs whole GPUs. Select other "
        "nodes by nodePools[].nodeSelector, or name MIG or SHARED in gpuProduct"
    )
    return UnmatchedPool(reason="SharedGPUs", message=message)


def _listed(kinds: Counter[_Kind] | Counter[str]) -> str:
    known = sorted(kinds.items(), key=lambda item: str(item[0]))
    shown = [f"{kind} on {count} node{'s' if count > 1 else ''}" for kind, count in known[:_SHOWN]]
    return "; ".join(shown + ([f"and {len(known) - _SHOWN} more"] if len(known) > _SHOWN else []))
