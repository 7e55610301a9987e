"""What the labels, resources and conditions of Nodes say of their GPUs, as drivers, clouds and plugins write them."""

from dataclasses import replace

import pytest

from adapters.kube.pool_matching import matched, query, refused
from factories.kube_objects import A100, make_node
from infpop_operator.adapters.kube.node_pools import (
    MatchedPool,
    Place,
    PoolQuery,
    avoided_hosts,
    without_flapping,
)
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.core.model import Hardware

GPU = "nvidia.com/gpu"
EXACT = {"nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}
MIG = "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"


def with_memory(memory: str, name: str = "n1") -> NodeRecord:
    """Return a Node whose GPUs have this memory label."""
    return make_node(name, labels={**EXACT, "nvidia.com/gpu.memory": memory})


@pytest.mark.parametrize(
    "labels",
    [
        {"nvidia.com/gpu.count": "1"},
        {"nvidia.com/gpu.replicas": "4"},
        {"cloud.google.com/gke-accelerator-count": "4"},
        {"cloud.google.com/gke-max-shared-clients-per-gpu": "2"},
        {"karpenter.k8s.aws/instance-gpu-count": "1"},
        {"karpenter.azure.com/sku-gpu-count": "2"},
        {"nvidia.com/vgpu.present": "true"},
    ],
)
def test_sharing_shows_in_the_numbers(labels: dict[str, str]) -> None:
    """Eight devices of fewer GPUs are shared, whether a label says so or not; the study may select that label."""
    reason = refused(query(), make_node(gpus=8, labels=labels))
    assert reason.reason == "SharedGPUs"
    ((key, value),) = labels.items()
    assert f"{key.rpartition('/')[2]}={value}" in reason.message
    pool = matched(query("A100", **labels), make_node(gpus=8, labels=labels))
    assert (pool.device_count, pool.total_device_count) == (1, 8)


@pytest.mark.parametrize("selected", ["nvidia.com/gpu.count", "nvidia.com/gpu.replicas"])
def test_one_of_the_numbers_is_enough_to_ask_for_shared_gpus(selected: str) -> None:
    """They say the same; a label of how GPUs are shared and one of how they are partitioned do not."""
    labels = {"nvidia.com/gpu.count": "1", "nvidia.com/gpu.replicas": "10"}
    node = make_node(gpus=10, labels=labels)
    message = refused(query(), node).message
    assert "10 devices on a node with gpu.count=1, nvidia.com/gpu.replicas=10" in message
    assert matched(query("A100", **{selected: labels[selected]}), node).device_count == 1
    both = {"nvidia.com/gpu.sharing-strategy": "mps", "cloud.google.com/gke-gpu-partition-size": "1g.5gb"}
    sharing, *_ = both
    assert refused(query("A100", **{sharing: both[sharing]}), make_node(labels=both)).reason == "SharedGPUs"


@pytest.mark.parametrize(
    "labels",
    [
        {"nvidia.com/gpu.count": "8", "nvidia.com/gpu.replicas": "1"},
        {"nvidia.com/gpu.count": "16"},
        {"nvidia.com/gpu.count": "many", "nvidia.com/gpu.replicas": ""},
        {"nvidia.com/vgpu.present": "false"},
        {"nvidia.com/gpu.count": "0"},
    ],
)
def test_whole_gpus_are_not_taken_for_shared_ones(labels: dict[str, str]) -> None:
    """As many devices as GPUs, fewer (the others are partitioned), or no number that can be read."""
    assert matched(query(), make_node(gpus=8, labels=labels)).device_count == 8


@pytest.mark.parametrize("product", [MIG, "Tesla-T4-SHARED"])
def test_a_run_has_one_part_of_a_gpu(product: str) -> None:
    """A CUDA process sees one MIG partition, and two ranks on one GPU are refused as duplicates by NCCL."""
    pool = matched(query("MIG|SHARED"), make_node("n1", product=product, gpus=7), make_node("n2", product=product))
    assert (pool.device_count, pool.usable_device_count, pool.total_device_count) == (1, 1, 15)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("81559", "81920"),
        ("81251", "81920"),
        ("15109", "15360"),
        ("40960", "42949672960"),
        ("81920", "80Gi"),
        ("81920", "83886080Ki"),
    ],
)
def test_nearly_equal_memory_is_one_kind(one: str, other: str) -> None:
    """The label of the same card depends on the driver, and may be in MiB or in bytes."""
    nodes = (with_memory(one, "n1"), with_memory(other, "n2"))
    assert matched(query(), *nodes).nodes == matched(query(), *reversed(nodes)).nodes == 2
    assert matched(query(), *nodes).fingerprint == matched(query(), nodes[0]).fingerprint


@pytest.mark.parametrize(("one", "other"), [("40960", "81920"), ("10240", "12288"), ("40960", "x"), ("", "40960")])
def test_another_size_of_memory_is_another_kind(one: str, other: str) -> None:
    """40 and 80 GB, or 10 and 12 GB, under one product name are not comparable."""
    assert refused(query(), with_memory(one, "n1"), with_memory(other, "n2")).reason == "MixedGPUs"


def test_a_driver_update_keeps_the_identity() -> None:
    """The identity of the same hardware stays when its memory label changes by a few percent."""
    known = matched(query(), with_memory("81559"))
    for memory, is_kept in (("81920", True), ("81251", True), ("40960", False)):
        after = matched(query(), with_memory(memory))
        assert after.fingerprint != known.fingerprint
        kept = without_flapping(after, [Hardware(fingerprint=known.fingerprint, gpu_model=A100)])
        assert isinstance(kept, MatchedPool)
        assert (kept.fingerprint == known.fingerprint) is is_kept


def test_a_broken_gpu_is_not_counted() -> None:
    """A run can have seven of eight while one is broken, and all of them again after the device plugin's restart."""
    broken = make_node("n1", gpus=8, allocatable_gpus={GPU: 7})
    pool = matched(query(), broken)
    assert (pool.device_count, pool.usable_device_count, pool.total_device_count) == (7, 7, 7)
    restarting = make_node("n2", gpus=8, allocatable_gpus={GPU: 0})
    pool = matched(query(), broken, restarting)
    assert (pool.device_count, pool.usable_device_count, pool.total_device_count, pool.nodes) == (8, 7, 7, 1)
    assert pool.fingerprint == matched(query(), make_node()).fingerprint


def test_what_one_run_can_have_now_is_on_one_node() -> None:
    """Two Nodes with four GPUs each start no run of eight while the Node with eight is cordoned."""
    nodes = (make_node("n1", gpus=8, schedulable=False), make_node("n2", gpus=4), make_node("n3", gpus=4))
    pool = matched(query(), *nodes)
    assert (pool.device_count, pool.usable_device_count, pool.total_device_count) == (8, 4, 8)


DEAD = {"unready": "not ready: NodeStatusUnknown"}
EMPTY = {"allocatable_gpus": {GPU: 0}}


@pytest.mark.parametrize("changes", [DEAD, EMPTY], ids=["not ready", "without devices"])
def test_a_node_that_starts_no_pods_is_not_counted(changes: dict[str, object]) -> None:
    """Its GPUs are lost for now; they change no identity, and make no run impossible for ever."""
    dead, well = make_node("n1", gpus=8, **changes), make_node("n2", gpus=4)
    pool = matched(query(), dead, well)
    assert (pool.device_count, pool.total_device_count, pool.nodes) == (8, 4, 1)
    assert pool.fingerprint == matched(query(), well).fingerprint
    cpu = PoolQuery(name="cpu", device="cpu", gpu_resource="cpu")
    if "unready" in changes:
        assert matched(cpu, dead, well).nodes == 1


def test_a_pool_of_dead_nodes_says_why_each_is_dead() -> None:
    """The message names each Node with its own cause."""
    nodes = (make_node("n1", **DEAD), make_node("n2", **EMPTY), make_node("n3", schedulable=False))
    reason = refused(query(), *nodes)
    assert reason.reason == "NoMatchingNodes"
    for part in ("n1 (not ready: NodeStatusUnknown)", "n2 (allocatable nvidia.com/gpu is 0", "n3 (cordoned)"):
        assert part in reason.message
    cpu = refused(PoolQuery(name="cpu", device="cpu", gpu_resource="cpu"), nodes[0])
    assert "n1 (not ready: NodeStatusUnknown)" in cpu.message


@pytest.mark.parametrize(
    ("resource", "reason", "word"),
    [
        ("amd.com/gpu", "UnsupportedGPUs", "does not support"),
        ("gpu.intel.com/i915", "UnsupportedGPUs", "does not support"),
        ("gpu.intel.com/xe", "UnsupportedGPUs", "does not support"),
        ("habana.ai/gaudi", "UnsupportedGPUs", "does not support"),
        ("aws.amazon.com/neuroncore", "UnsupportedGPUs", "does not support"),
        ("google.com/tpu", "UnsupportedGPUs", "does not support"),
        ("cloud-tpus.google.com/v3", "UnsupportedGPUs", "does not support"),
        ("huawei.com/Ascend910", "UnsupportedGPUs", "does not support"),
        ("example.com/npu", "UnsupportedGPUs", "does not support"),
        ("aliyun.com/gpu-mem", "UnsupportedGPUs", "does not support"),
        ("tencent.com/vcuda-core", "UnsupportedGPUs", "does not support"),
        ("nvidia.com/GA102GL_A10", "UnsupportedGPUs", "does not support"),
        ("nvidia.com/gpu.shared", "SharedGPUs", "whole GPUs"),
        ("nvidia.com/mig-1g.5gb", "SharedGPUs", "MIG partitions"),
        ("nvidia.com/mig-3g.20gb.shared", "SharedGPUs", "whole GPUs"),
    ],
)
def test_other_devices_are_named(resource: str, reason: str, word: str) -> None:
    """Nodes that have other devices than the pool asks for are no empty cluster: the message names the devices."""
    for pattern in (None, "A100"):
        found = refused(query(pattern), make_node(product="", capacity_gpus={GPU: 0, resource: 8}))
        assert found.reason == reason
        assert resource in found.message
        assert word in found.message


def test_devices_beside_gpus_are_named_when_no_product_matches() -> None:
    """The product that is looked for may be of another vendor."""
    amd = make_node("n2", product="", capacity_gpus={"amd.com/gpu": 8})
    assert "amd.com/gpu of some nodes is not supported" in refused(query("MI300"), make_node("n1"), amd).message
    assert "not supported" not in refused(query("MI300"), make_node("n1")).message


@pytest.mark.parametrize("resource", ["rdma/hca_shared", "vpc.amazonaws.com/pod-eni", "smarter-devices/fuse"])
def test_what_is_no_accelerator_is_not_named(resource: str) -> None:
    """Network cards and the like are not mistaken for GPUs."""
    found = refused(query(), make_node(product="", capacity_gpus={resource: 8}))
    assert found.reason == "NoMatchingNodes"
    assert resource not in found.message


def test_invalid_partitions_are_the_cause() -> None:
    """GPU feature discovery says that the device plugin cannot offer the GPUs; no run can be placed there."""
    product = "NVIDIA-A100-SXM4-80GB-MIG-INVALID"
    for gpus in (0, 8):
        reason = refused(query("A100.*MIG"), make_node(product=product, gpus=gpus))
        assert f"node n1 are in MIG mode, but not partitioned alike ({product})" in reason.message


def test_labels_that_name_a_gpu_elsewhere_are_offered() -> None:
    """A label that InfPop does not read, or the machine type, can select the Nodes; the wanted name comes first."""
    labels = {"karpenter.k8s.gcp/instance-gpu-name": "nvidia-l4", "node.kubernetes.io/instance-type": "g2-a100-x"}
    reason = refused(query(), make_node(product="", labels=labels))
    first = "labels that nodeSelector may use: node.kubernetes.io/instance-type=g2-a100-x, karpenter.k8s.gcp/instance-"
    assert first in reason.message


def test_products_are_listed_for_a_pattern_that_matches_none() -> None:
    """A message and a condition can name them."""
    reason = refused(query("A10O"), make_node("n1"), make_node("n2", product="Tesla-T4"), make_node("n3", product=""))
    assert reason.products == (A100, "Tesla-T4")
    assert refused(query("A100"), replace(make_node(), schedulable=False)).products == ()


PLACES = tuple(Place(node=f"n{number}", host=f"h{number}", devices=number) for number in (2, 4, 8))


@pytest.mark.parametrize(
    ("nodes", "gpu_count", "hosts"),
    [
        ((), 1, ()),
        (("n8",), 1, ("h8",)),
        (("n8", "n2"), 1, ("h2", "h8")),
        (("n8", "n2", "n4"), 1, ("h2", "h8")),
        (("n8",), 8, ()),
        (("n4", "n8"), 4, ("h4",)),
        (("n2", "n8"), 4, ("h8",)),
        (("gone",), 1, ()),
        (("n8",), 16, ()),
    ],
)
def test_a_run_avoids_nodes_while_it_has_others(nodes: tuple[str, ...], gpu_count: int, hosts: tuple[str, ...]) -> None:
    """Nodes are avoided by hostname label, those named first; one that can take the run always stays."""
    assert avoided_hosts(PLACES, nodes, gpu_count) == hosts


def test_the_places_of_a_pool_are_the_nodes_that_start_pods() -> None:
    """Their names change no match: a node that is replaced wakes no settled study."""
    labels = {"kubernetes.io/hostname": "ip-10-0-0-1"}
    one, dead = make_node("n1", labels=labels, gpus=4), make_node("n2", **DEAD)
    pool = matched(query(), one, dead)
    assert pool.places == (Place(node="n1", host="ip-10-0-0-1", devices=4),)
    assert pool == matched(query(), replace(one, name="n9"), dead)
