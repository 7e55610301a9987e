"""A pool is one kind of hardware, found by its Nodes' labels; otherwise a message says what to change."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kube.pool_matching import matched, query, refused
from factories.kube_objects import A100, make_node
from infpop_operator.adapters.kube.labels import GPU_PRODUCT_LABELS
from infpop_operator.adapters.kube.node_pools import (
    MatchedPool,
    PoolQuery,
    RememberedMatches,
    UnmatchedPool,
    match_pool,
    without_flapping,
)
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.adapters.kube.scale_up import NodeLabels
from infpop_operator.core.model import Hardware

V100 = "Tesla-V100-SXM2-32GB"
GFD = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}
ANY = PoolQuery(name="gpu", device="cuda")
CPU = PoolQuery(name="cpu", device="cpu", gpu_resource="cpu")
GKE = "cloud.google.com/gke-accelerator"


def test_a_pool_is_counted() -> None:
    """The largest Node limits one run, all Nodes limit parallel runs; other kinds do not count."""
    nodes = (make_node("n1", gpus=8), make_node("n2", gpus=4), make_node("n3", product=V100))
    pool = matched(query(), *nodes)
    assert (pool.gpu_model, pool.device_count, pool.total_device_count, pool.nodes) == (A100, 8, 12, 2)
    assert pool.node_labels.any_of == (("nvidia.com/gpu.product", (A100,)),)


@pytest.mark.parametrize(
    "pattern", ["A100", "a100", "^NVIDIA-A100-(SXM4|PCIE)-(40|80)GB$", ".*A100.*", "(?i)a100", r"\-"]
)
@pytest.mark.parametrize("label", GPU_PRODUCT_LABELS)
def test_a_pattern_is_looked_for_anywhere_in_any_case(pattern: str, label: str) -> None:
    """Clouds write a100 where the driver writes A100, and each has its own label."""
    assert matched(query(pattern), make_node(label=label)).node_labels.any_of == ((label, (A100,)),)


def test_the_most_exact_label_names_the_product() -> None:
    """A Node with the cloud's label and that of feature discovery is found by the latter."""
    node = make_node(labels={GKE: "nvidia-tesla-a100"})
    assert matched(query("A100-SXM4"), node).gpu_model == A100


def test_a_node_that_has_just_joined_is_not_compared() -> None:
    """It gets its cloud's label immediately and the others within a minute: until then the pool stays unchanged."""
    new = make_node("n2", label=GKE, product="nvidia-tesla-a100")
    pool = matched(query(), make_node("n1"), new)
    assert pool == matched(query(), make_node("n1"))
    assert matched(query(), new).node_labels.any_of == ((GKE, ("nvidia-tesla-a100",)),)


def test_without_a_pattern_the_selector_decides() -> None:
    """Any GPU Node with the selector's labels matches; without a product label there is no affinity."""
    node = make_node(product="", labels={"pool": "gpu"})
    pool = matched(query(None, pool="gpu"), node, make_node("n2", product=V100))
    assert (pool.gpu_model, pool.node_labels, pool.nodes) == (None, NodeLabels(), 1)
    assert matched(query(None), make_node()).node_labels.any_of == (("nvidia.com/gpu.product", (A100,)),)


def test_a_cordoned_node_does_not_count_and_changes_no_identity() -> None:
    """A drain for maintenance reduces the devices and opens no round."""
    nodes = (make_node("n1", gpus=8), make_node("n2", gpus=4))
    cordoned = (replace(nodes[0], schedulable=False), nodes[1])
    before, after = matched(query(), *nodes), matched(query(), *cordoned)
    assert (before.device_count, before.total_device_count, before.nodes) == (8, 12, 2)
    assert (after.device_count, after.total_device_count, after.nodes) == (8, 4, 1)
    assert after.fingerprint == before.fingerprint
    reason = refused(query(), cordoned[0])
    assert reason.reason == "NoMatchingNodes"
    assert "cordoned (1); uncordon one: kubectl uncordon" in reason.message


@pytest.mark.parametrize(
    "node",
    [
        make_node("other"),
        make_node(labels={**GFD, "nvidia.com/gfd.timestamp": "1"}, resource_version="2", uid="x"),
        make_node(labels={**GFD, "kubernetes.io/hostname": "x"}, cpus=1),
    ],
    ids=["without details", "another timestamp", "another name"],
)
def test_what_changes_by_itself_changes_no_identity(node: NodeRecord) -> None:
    """Times, names and the number of Nodes are not hardware, and health is not read at all."""
    bare = not node.labels.keys() & GFD.keys()
    same = matched(query(), make_node(labels={} if bare else GFD))
    pool = matched(query(), node, replace(node, name="n9"))
    assert pool.fingerprint == same.fingerprint
    assert (pool.device_count, pool.nodes) == (8, 2)


def test_other_hardware_is_another_identity() -> None:
    """Product, memory and compute capability each open a new round."""
    nodes = [
        make_node(),
        make_node(labels=GFD),
        make_node(labels={**GFD, "nvidia.com/gpu.memory": "81920"}),
        make_node(labels={**GFD, "nvidia.com/gpu.compute.minor": "6"}),
        make_node(product="NVIDIA-A100-PCIE-40GB"),
    ]
    fingerprints = {matched(query(), node).fingerprint for node in nodes}
    assert len(fingerprints) == len(nodes)
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in fingerprints)


def test_the_largest_node_may_leave() -> None:
    """The GPUs of the remaining Nodes are the same; a run just gets fewer of them."""
    large, small = make_node("n1", gpus=8), make_node("n2", gpus=4)
    before, after = matched(query(), large, small), matched(query(), small)
    assert after.fingerprint == before.fingerprint
    assert (before.device_count, after.device_count) == (8, 4)


NEW = make_node("new", label=GKE, product="nvidia-tesla-a100")
KNOWN = make_node("known", labels=GFD)


def followed(before: NodeRecord, after: NodeRecord) -> MatchedPool | UnmatchedPool:
    """Return the pool after a new Node replaced its only one."""
    known = matched(query(), before)
    return without_flapping(
        matched(query(), after), [Hardware(fingerprint=known.fingerprint, gpu_model=known.gpu_model)]
    )


def test_a_pool_keeps_its_identity_until_a_new_node_has_its_labels() -> None:
    """After the only Node is replaced, there is nothing to compare with for a minute."""
    reason = followed(KNOWN, NEW)
    assert isinstance(reason, UnmatchedPool)
    assert reason.reason == "NodesChanging"
    assert all(part in reason.message for part in (A100, "nvidia.com/gpu.memory", "within a minute", "another name"))
    unlabelled = matched(query(None), make_node("new", product=""))
    known = matched(query(), KNOWN)
    refused = without_flapping(unlabelled, [Hardware(fingerprint=known.fingerprint, gpu_model=known.gpu_model)])
    assert isinstance(refused, UnmatchedPool)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (KNOWN, make_node("same", labels={**GFD, GKE: "nvidia-tesla-a100"})),
        (KNOWN, make_node("other", labels={**GFD, "nvidia.com/gpu.memory": "81920"})),
        (NEW, KNOWN),
        (NEW, NEW),
        (NEW, make_node("other", label=GKE, product="nvidia-a100-80gb")),
        (make_node(), make_node(product="NVIDIA-A100-PCIE-40GB")),
    ],
    ids=["the same", "other exact labels", "labels that came", "none ever", "another of the cloud's", "names alone"],
)
def test_what_is_as_well_known_as_before_counts(before: NodeRecord, after: NodeRecord) -> None:
    """Other hardware is recognised immediately, with the labels of feature discovery or without any."""
    assert followed(before, after) == matched(query(), after)


def test_a_pool_that_was_never_known_is_what_its_nodes_say() -> None:
    """On a cluster without feature discovery the cloud's name is all there is."""
    match = matched(query(), NEW)
    assert without_flapping(match, ()) == match
    assert match.kind is not None
    assert not match.kind.is_exact


def test_two_kinds_are_no_pool() -> None:
    """The message lists each kind with its Nodes, and says what to narrow."""
    nodes = (make_node("n1", labels=GFD), make_node("n2", labels=GFD), make_node("n3", product="NVIDIA-A100-PCIE-80GB"))
    reason = refused(query(), *nodes)
    assert reason.reason == "MixedGPUs"
    for part in (
        "2 kinds",
        f"{A100} (40960 MB, compute 8.0) on 2 nodes",
        "NVIDIA-A100-PCIE-80GB on 1 node",
        "nodePools[].gpuProduct",
    ):
        assert part in reason.message


def test_a_long_list_of_kinds_is_cut() -> None:
    """The message must stay readable."""
    nodes = [make_node(f"n{index}", product=f"NVIDIA-A100-{index:02}") for index in range(20)]
    message = refused(query(), *nodes).message
    assert "NVIDIA-A100-07" in message
    assert "NVIDIA-A100-08" not in message
    assert "and 12 more" in message


@pytest.mark.parametrize(
    ("asked", "nodes", "parts"),
    [
        (query("H100"), [make_node(), make_node(product=V100)], ("'H100'", f"{A100} on 1 node", V100, "gpuProduct")),
        (query("A100"), [make_node(product="")], ("'A100'", "no product label on 1 node", "nodeSelector")),
        (query("A100", zone="b"), [make_node()], ("no node with nvidia.com/gpu has the labels zone=b", "nodeSelector")),
        (query("A100"), [], ("no node with nvidia.com/gpu exists", "device plugin")),
        (query("A100"), [make_node(product="", gpus=0)], ("no node with nvidia.com/gpu exists",)),
        (query("A100"), [make_node(gpus=0)], ("labels of node n1 name a GPU", A100, "device plugin is not there yet")),
        (query("A100"), [make_node(gpus=0), make_node("n2", product=V100)], ("labels of node n1 name a GPU",)),
        (CPU, [], ("no uncordoned node exists",)),
        (replace(CPU, node_selector={"a": "b"}), [make_node()], ("has the labels a=b", "nodeSelector")),
        (CPU, [make_node(schedulable=False)], ("no uncordoned node",)),
    ],
)
def test_a_pool_without_nodes_says_what_there_is(
    asked: PoolQuery, nodes: list[NodeRecord], parts: tuple[str, ...]
) -> None:
    """The message says what the pool asked for, what the cluster has, and what to change."""
    reason = refused(asked, *nodes)
    assert reason.reason == "NoMatchingNodes"
    assert all(part in reason.message for part in parts), reason.message


MIG = "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"
SHARED = "NVIDIA-A100-SXM4-40GB-SHARED"
SLICED = {"nvidia.com/gpu.sharing-strategy": "time-slicing"}
GKE_SHARED = {"cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"}
GKE_PART = {"cloud.google.com/gke-gpu-partition-size": "1g.5gb"}


@pytest.mark.parametrize(
    ("product", "labels"), [(MIG, {}), (SHARED, {}), (SHARED, SLICED), (A100, GKE_SHARED), (A100, GKE_PART)]
)
@pytest.mark.parametrize("pattern", ["A100", None])
def test_shared_gpus_are_refused(pattern: str | None, product: str, labels: dict[str, str]) -> None:
    """Other workloads on the GPU would be measured too."""
    reason = refused(query(pattern), make_node(product=product, labels=labels))
    assert reason.reason == "SharedGPUs"
    assert product in reason.message
    assert "name MIG or SHARED in gpuProduct" in reason.message


@pytest.mark.parametrize(
    ("asked", "node"),
    [
        (query("A100.*MIG-1g"), make_node(product=MIG)),
        (query("a100.*-shared"), make_node(product=SHARED, labels=SLICED)),
        (query("A100", **GKE_SHARED), make_node(labels=GKE_SHARED)),
        (query("A100", **GKE_PART), make_node(labels=GKE_PART)),
        (query("A100"), make_node(labels={"nvidia.com/gpu.sharing-strategy": "none"})),
    ],
)
def test_shared_gpus_may_be_asked_for(asked: PoolQuery, node: NodeRecord) -> None:
    """The study names the product, or the label that says how they are shared."""
    assert matched(asked, node).nodes == 1


def test_whole_gpus_are_chosen_next_to_shared_ones() -> None:
    """A cluster that shares some of its GPUs still has a pool of whole ones."""
    assert matched(query(), make_node("n1"), make_node("n2", product=MIG)).nodes == 1


def test_shared_gpus_that_look_like_whole_ones_are_refused() -> None:
    """A Pod could land on either: only other labels distinguish them."""
    whole, shared = make_node("n1"), make_node("n2", labels=GKE_SHARED)
    reason = refused(query(), whole, shared)
    assert reason.reason == "SharedGPUs"
    assert f"{A100} on 1 node (cloud.google.com/gke-gpu-sharing-strategy=time-sharing);" in reason.message
    nodes = [replace(whole, labels={**whole.labels, "pool": "whole"}), shared]
    assert matched(query("A100", pool="whole"), *nodes).nodes == 1


def test_a_cpu_pool_is_its_cores() -> None:
    """A run has at most the cores of the largest Node; the identity is the architecture and those cores."""
    small, large = make_node("n1", cpus=4), make_node("n2", cpus=16)
    pool = matched(CPU, small, large)
    assert (pool.gpu_model, pool.device_count, pool.total_device_count, pool.nodes) == (None, 16, 20, 2)
    assert pool.node_labels == NodeLabels()
    assert pool.fingerprint == matched(CPU, large).fingerprint != matched(CPU, small).fingerprint
    assert pool.fingerprint != matched(CPU, replace(large, arch="arm64")).fingerprint
    assert pool.fingerprint == matched(CPU, small, replace(large, schedulable=False)).fingerprint


def test_two_architectures_are_no_cpu_pool() -> None:
    """Their numbers cannot be compared."""
    reason = refused(CPU, make_node("n1"), make_node("n2", arch="arm64"))
    assert reason.reason == "MixedCPUs"
    assert "amd64 on 1 node; arm64 on 1 node" in reason.message


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*b", "(?:a|b){2}", ".*.*.*x", "a?" * 13, "|".join("a" * 14), "(?=a)", r"(a)\1*?+", "(?x)(a+) +"],
)
def test_a_pattern_that_could_take_forever_is_refused(pattern: str) -> None:
    """One study must not block the operator for all others."""
    reason = refused(query(pattern), make_node())
    assert reason.reason == "PatternRefused"
    assert repr(pattern) in reason.message
    assert "remove .*" in reason.message


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{99999999999}"])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    """The study's own validation already refuses it; this check covers a study that bypassed validation."""
    reason = refused(query(pattern), make_node())
    assert reason.reason == "PatternRefused"
    assert "is not a regular expression" in reason.message


@given(st.text("aA.*+?|()[]{},^$\\1:i-", max_size=24))
def test_matching_is_quick_whatever_the_pattern(pattern: str) -> None:
    """Refused or matched: a label value of 63 characters takes no noticeable time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_args, **_kwargs: None)  # warnings such as "possible nested set"
        start = time.process_time()
        match_pool(query(pattern), [make_node(product="a" * 63)])
        assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("pattern", "is_bounded"),
    [
        ("a*b*", True),
        ("a*b*c?", False),
        ("a+b{2}", True),
        ("a*b+c{2}", False),
        ("|".join("a" * 13), True),
        ("|".join("a" * 14), False),
        ("a*" + "b?" * 6, True),
        ("a*" + "b?" * 7, False),
        (r"\*\+\?\|\{" * 9, True),
        (r"\\*\\*", True),
        (r"\\*\\*\\*", False),
        ("(?:A100)", True),
        ("(?i)a100", True),
        ("(?=A100)", False),
        ("(?P<name>A100)", False),
        ("(A)*", False),
        ("(A)+", False),
        ("(A)?", False),
        ("(A){2}", False),
        (r"(A\))", True),
    ],
)
def test_a_pattern_has_so_many_choices_and_no_more(pattern: str, is_bounded: bool) -> None:  # noqa: FBT001
    """A repeat counts as six alternatives; twelve in total match quickly, one more is refused."""
    found = match_pool(query(pattern), [make_node()])
    assert ("could take too long" in (found.message if isinstance(found, UnmatchedPool) else "")) is not is_bounded


def test_what_was_matched_is_remembered_as_long_as_the_nodes_are_the_same() -> None:
    """Each part of a pool's query is part of the cache key; other Nodes are matched again."""
    match, nodes = RememberedMatches(), (make_node(labels={"a": "b"}),)
    known = match(query("A100"), nodes)
    assert match(query("A100"), nodes) is known
    others = [
        query("H100"),
        query("A100", a="b"),
        replace(query("A100"), name="other"),
        replace(query("A100"), device="cpu"),
        replace(query("A100"), gpu_resource="amd.com/gpu"),
    ]
    for other in others:
        assert match(other, nodes) is not known
        assert match(other, nodes) == match_pool(other, nodes)
    again = (make_node(gpus=4),)
    assert match(query("A100"), again) == match_pool(query("A100"), again) != known
