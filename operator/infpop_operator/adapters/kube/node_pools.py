"""Match a study's pools with the nodes that a cluster has: which GPUs they are, how many, and how to get onto them.

Pure. A pool is one kind of hardware, or its measurements could not be compared: nodes of two kinds are refused, and so
are shared GPUs, unless the study asks for them by name. Patterns are the users' own: matching one takes milliseconds at
most.
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
# repeat may stop at 64 places, which is 6 bits of choice, an alternative adds at most one. 12 bits are a few thousand
# paths. A repeated group is beyond any bound.
_MOST_CHOICE_BITS = 12
_REPEAT_BITS = 6
_SHOWN = 8  # products in a message
_REMEMBERED = 1000  # different pools; then all are forgotten
_SHARED_PRODUCT = re.compile(r"-MIG-|-SHARED\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolQuery:
    """What a study says of a pool. `gpu_product` is a regular expression, None for any GPU."""

    name: str
    device: Literal["cuda", "cpu"]
    gpu_product: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    gpu_resource: str = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedPool:
    """Nodes of one kind.

    `fingerprint` changes with the kind of GPU alone: not with the number of nodes, their names or their health, and not
    with how many GPUs a node has. Nodes of four and of eight are one pool, and it must not become another one whenever
    the largest is drained; whoever doubts that two GPUs of four are as well connected as two of eight selects nodes by
    label. It is `is_exact` where feature discovery said what the GPUs are, not just a cloud's name for them.

    `device_count` is what the largest node has, cordoned or not: what a run could have is not impossible because of a
    drain. `total_device_count` is what those nodes have together that are not cordoned; `nodes` counts them.
    `node_labels` are alternatives that a Pod's affinity has to name, empty where the pool's node selector says it all.
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
    """Why a pool has no nodes to measure on: a reason in one word, and a message with the remedy."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Kind:
    """What makes two nodes comparable; empty texts where no label says it."""

    product: str
    memory: str
    compute: str

    def __str__(self) -> str:
        """Return it for a message."""
        more = [f"{self.memory} MB" if self.memory else "", f"compute {self.compute}" if self.compute else ""]
        known = ", ".join(part for part in more if part)
        return (self.product or "no product label") + (f" ({known})" if known else "")


def match_pool(query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
    """Return the nodes that `query` means, or why it means none."""
    selected = [node for node in nodes if query.node_selector.items() <= node.labels.items()]
    if query.device == "cpu":
        return _match_cpus(query, selected)
    return _match_gpus(query, [node for node in selected if node.capacity_gpus.get(query.gpu_resource, 0) > 0])


class RememberedMatches:
    """`match_pool` for many studies: most ask for the same few pools, and nodes change seldom."""

    def __init__(self) -> None:
        self._nodes: Sequence[NodeRecord] = ()
        self._known: dict[tuple[object, ...], MatchedPool | UnmatchedPool] = {}

    def __call__(self, query: PoolQuery, nodes: Sequence[NodeRecord]) -> MatchedPool | UnmatchedPool:
        """Return what `match_pool` returns; remembered as long as `nodes` is the very same sequence."""
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
        message = f"no node that is not cordoned {_selected(query)}; correct nodePools[].nodeSelector or add a node"
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
    if not own or _cannot_be_told_apart(own, [node for node in named if node.name in shared]):
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
        message = f"all nodes with {kind.product} are cordoned ({len(nodes)}); kubectl uncordon one"
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
    """Return `match`, or that the pool's nodes are changing where its GPUs were known more exactly before.

    A node has its cloud's labels from birth and those of feature discovery up to a minute later. Where it is the only
    one of its pool, the pool would be another one for that minute, and everything that runs would be measured anew. So
    an exact identity is never followed by an inexact one, while an inexact one is followed by whatever comes.

    Args:
        match: what the nodes say now.
        fingerprint: of the pool as it was known last, None if it never was.
        gpu_model: of the pool as it was known last.
    """
    inexact = _fingerprint(_Kind(product=gpu_model or "", memory="", compute=""))
    if isinstance(match, UnmatchedPool) or match.is_exact or fingerprint in {None, inexact, match.fingerprint}:
        return match
    message = (
        f"its nodes lack the labels that said more exactly what their GPUs are ({gpu_model}): {labels.GPU_MEMORY} and "
        f"{labels.GPU_COMPUTE_MAJOR}. A node that has just joined gets them within a minute; without GPU feature "
        "discovery for good, give the pool another name"
    )
    return UnmatchedPool(reason="NodesChanging", message=message)


def _fingerprint(kind: _Kind) -> str:
    facts = {"device": "cuda", "product": kind.product, "memory": kind.memory, "compute": kind.compute}
    return digest(facts)[:16]


def _is_exact(kind: _Kind) -> bool:
    return bool(kind.memory and kind.compute)


def product_label(node: NodeRecord) -> str | None:
    """Return the first label key that names the node's GPU product, None where there is none."""
    return next((key for key in labels.GPU_PRODUCT_LABELS if node.labels.get(key)), None)


def _best_label(nodes: Sequence[NodeRecord]) -> str | None:
    """Return the most exact label key that any of the nodes has.

    A node that lacks it has just joined and gets it within a minute: names of two label keys cannot be compared.
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
    """Return the nodes whose product the pattern finds, in any case: clouds write a100 for A100."""
    if pattern is None:
        return list(nodes)
    if not _is_bounded(pattern):
        message = (
            f"gpuProduct {pattern!r} could take too long to match; it is looked for anywhere in the product's name, so "
            "leave out .* at both ends, repeated groups and most alternatives"
        )
        return UnmatchedPool(reason="PatternRefused", message=message)
    try:
        search = re.compile(pattern, re.IGNORECASE).search
    except (re.error, OverflowError, RecursionError) as error:
        message = f"gpuProduct {pattern!r} is no regular expression: {error}"
        return UnmatchedPool(reason="PatternRefused", message=message)
    fits = {product: product != "" and search(product) is not None for product in {_product(node) for node in nodes}}
    return [node for node in nodes if fits[_product(node)]]


def _is_bounded(pattern: str) -> bool:
    """Say whether matching tries a few thousand paths at most, whatever the text.

    Counts generously: characters inside of a class count as if they were operators.
    """
    bits, before = 0, ""
    skip = False
    for character in pattern:
        if skip:
            skip, character = False, "\\"  # noqa: PLW2901 - an escaped character is none of the operators
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
    """Say whether the node's GPUs are shared or parts, and the study did not ask for that by name."""
    mark = _SHARED_PRODUCT.search(_product(node))
    if mark is not None:
        return query.gpu_product is None or mark[0].strip("-").lower() not in query.gpu_product.lower()
    keys = (*labels.GPU_SHARING_LABELS, *labels.GPU_PARTITION_LABELS)
    shared = (key for key in keys if node.labels.get(key, "") not in labels.NOT_SHARED)
    return any(key not in query.node_selector for key in shared)


def _cannot_be_told_apart(own: Sequence[NodeRecord], shared: Sequence[NodeRecord]) -> bool:
    """Say whether nodes with shared GPUs have the same product label as others: a Pod could land on either."""
    return not {_product(node) for node in shared}.isdisjoint(_product(node) for node in own)


def _selected(query: PoolQuery) -> str:
    if not query.node_selector:
        return "is there"
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
            "nodePools[].gpuProduct, or leave it out and choose nodes by nodeSelector"
        )
    return UnmatchedPool(reason="NoMatchingNodes", message=message)


def _mixed(query: PoolQuery, kinds: Counter[_Kind] | Counter[str]) -> UnmatchedPool:
    message = (
        f"the pool's nodes are of {len(kinds)} kinds: {_listed(kinds)}; narrow nodePools[].gpuProduct or nodeSelector "
        "until one is left, or make them pools of their own"
    )
    return UnmatchedPool(reason="MixedGPUs" if query.device == "cuda" else "MixedCPUs", message=message)


def _shared(query: PoolQuery, nodes: Sequence[NodeRecord]) -> UnmatchedPool:
    kinds = Counter(_kind(node) for node in nodes if _is_shared(node, query))
    message = (
        f"these nodes share their GPUs or cut them up: {_listed(kinds)}; a measurement needs whole ones. Choose others "
        "by nodePools[].nodeSelector, or name MIG or SHARED in gpuProduct"
    )
    return UnmatchedPool(reason="SharedGPUs", message=message)


def _listed(kinds: Counter[_Kind] | Counter[str]) -> str:
    known = sorted(kinds.items(), key=lambda item: str(item[0]))
    shown = [f"{kind} on {count} node{'s' if count > 1 else ''}" for kind, count in known[:_SHOWN]]
    return "; ".join(shown + ([f"and {len(known) - _SHOWN} more"] if len(known) > _SHOWN else []))
