"""Pods that make an autoscaler add a Node: the labels that they require, on each cloud, and what autoscalers say."""

from typing import Any

import pytest

from adapters.kube.pool_matching import matched, query, refused
from controlplane.nodes import gpu_node
from factories.kube_objects import A100, make_node
from infpop_operator.adapters.kube.node_pools import PoolQuery, added_devices, is_stranger
from infpop_operator.adapters.kube.record_parsing import parse_node
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.adapters.kube.scale_up import AutoscalerAnswer, NodeLabels, read_answer

GKE, AWS, EKS = (
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
)
AZURE, GFD = "karpenter.azure.com/sku-gpu-name", "nvidia.com/gpu.product"
# Labels of a Node without GPUs that show the cloud.
ON_GKE = {"cloud.google.com/gke-nodepool": "default"}
ON_KARPENTER = {"karpenter.sh/nodepool": "cpu", "karpenter.k8s.aws/instance-family": "m5"}
ON_AUTO_MODE = {"eks.amazonaws.com/compute-type": "auto"}
ON_AKS = {"kubernetes.azure.com/agentpool": "system"}
ON_NAP = {"karpenter.azure.com/sku-family": "D", **ON_AKS}
ON_EKS_GROUPS = {"eks.amazonaws.com/nodegroup": "cpu"}


def pool(product: str | None = None, pattern: str | None = None, gpus: int = 8, **selector: str) -> PoolQuery:
    """Return the query of a pool to which an autoscaler adds Nodes."""
    return PoolQuery(
        name="a100",
        device="cuda",
        gpu_product=pattern,
        node_selector=selector,
        gpus_per_node=gpus,
        added_product=product,
    )


def cpu_node(**labels: str) -> NodeRecord:
    """Return a Node without GPUs."""
    return make_node("cpu", product="", gpus=0, labels=labels)


def as_on(cloud: str, product: str, name: str = "n1") -> NodeRecord:
    """Return a Node with GPUs, labelled as the cloud labels it."""
    body = gpu_node(name, product=product, labels=cloud)  # type: ignore[arg-type]
    body["metadata"] |= {"uid": name}
    return parse_node(body)


@pytest.mark.parametrize(
    ("cloud", "product", "required"),
    [
        (ON_GKE, "NVIDIA-A100-SXM4-40GB", ((GKE, ("nvidia-tesla-a100",)),)),
        (ON_GKE, "NVIDIA-A100-SXM4-80GB", ((GKE, ("nvidia-a100-80gb",)),)),
        (ON_GKE, "A100", ((GKE, ("nvidia-a100-80gb", "nvidia-tesla-a100")),)),
        (ON_GKE, "nvidia-h100-mega-80gb", ((GKE, ("nvidia-h100-mega-80gb",)),)),
        (ON_GKE, "Tesla-V100-SXM2-16GB", ((GKE, ("nvidia-tesla-v100",)),)),
        (ON_GKE, "NVIDIA-L40S", ()),
        (ON_KARPENTER, "NVIDIA-A100-SXM4-40GB", ((AWS, ("a100",)),)),
        (ON_KARPENTER, "NVIDIA-A10G", ((AWS, ("a10g",)),)),
        (ON_KARPENTER, "NVIDIA-GeForce-RTX-4090", ()),
        (ON_KARPENTER, None, ()),
        (ON_AUTO_MODE, "NVIDIA-H100-80GB-HBM3", ((EKS, ("h100",)),)),
        (ON_EKS_GROUPS, "NVIDIA-H100-80GB-HBM3", ()),
        (ON_NAP, "NVIDIA-A100-80GB-PCIe", ((AZURE, ("A100",)),)),
        (ON_AKS, "NVIDIA-A100-80GB-PCIe", ()),
        ({}, "NVIDIA-A100-SXM4-40GB", ()),
    ],
)
def test_a_pod_requires_the_name_that_the_cloud_gives_the_gpu(
    cloud: dict[str, str], product: str | None, required: tuple[tuple[str, tuple[str, ...]], ...]
) -> None:
    """No autoscaler knows the label of GPU feature discovery before a Node has joined: it is never required."""
    found = refused(pool(product), cpu_node(**cloud))
    assert found.node_labels == NodeLabels(any_of=required)
    assert found.lacks_nodes


def test_the_users_own_choice_is_kept() -> None:
    """A node selector with the cloud's label shows the cloud as well, and is not repeated."""
    selected = refused(pool(A100, **{GKE: "nvidia-tesla-a100"}), cpu_node(**ON_GKE))
    assert selected.node_labels == NodeLabels()
    shown = refused(pool(A100, **{"karpenter.k8s.aws/instance-family": "p4d"}))
    assert shown.node_labels.any_of == ((AWS, ("a100",)),)


def test_a_pod_may_use_an_existing_node_as_well() -> None:
    """One that the cloud did not label, because it is not the autoscaler's own."""
    found = matched(pool(A100), make_node(), cpu_node(**ON_KARPENTER))
    assert found.node_labels.any_of == ((AWS, ("a100",)), (GFD, (A100,)))
    assert matched(pool(A100), make_node()).node_labels == NodeLabels()


@pytest.mark.parametrize("cloud", ["gfd", "gke", "eks"])
def test_nodes_with_other_gpus_are_excluded(cloud: str) -> None:
    """A Pod that requires no product must not land on them; `NotIn` keeps no autoscaler from adding a Node."""
    other = as_on(cloud, "Tesla-V100-SXM2-32GB")
    found = refused(pool("A100"), other)
    key, value = {"gfd": (GFD, "Tesla-V100-SXM2-32GB"), "gke": (GKE, "nvidia-tesla-v100"), "eks": (AWS, "v100")}[cloud]
    assert found.node_labels.none_of == ((key, (value,)),)
    assert is_stranger(pool("A100"), other)
    assert not is_stranger(pool("A100"), as_on(cloud, A100))
    both = matched(pool(None, "A100"), as_on(cloud, A100, "n2"), other)
    assert both.node_labels.none_of == ((key, (value,)),)


def test_the_clouds_name_excludes_more_nodes_of_that_kind_if_it_is_another_model() -> None:
    """Karpenter then adds another machine; its name for both A100s must not exclude the one that is wanted."""
    t4 = make_node("t4", product="Tesla-T4", labels={AWS: "t4"})
    small = make_node("small", product=A100, labels={AWS: "a100"})
    wanted = pool(None, "A100.*80GB")
    assert refused(wanted, t4, small).node_labels.none_of == ((AWS, ("t4",)), (GFD, (A100, "Tesla-T4")))
    assert refused(pool(None, "GeForce"), t4).node_labels.none_of == ((GFD, ("Tesla-T4",)),)


def test_shared_gpus_are_excluded() -> None:
    """Their product has the wanted name as a part."""
    shared = make_node("shared", product=f"{A100}-SHARED")
    assert matched(pool(None, "A100"), make_node(), shared).node_labels.none_of == ((GFD, (f"{A100}-SHARED",)),)


def test_nodes_with_less_room_limit_no_run() -> None:
    """The autoscaler adds a Node for a run that does not fit on those that are there, and as many as are needed."""
    found = matched(pool(gpus=8), make_node(gpus=2))
    assert (found.device_count, found.usable_device_count, found.total_device_count) == (8, 8, None)
    larger = matched(pool(gpus=4), make_node(gpus=8))
    assert (larger.device_count, larger.usable_device_count) == (8, 8)
    assert matched(query(None), make_node(gpus=2)).total_device_count == 2


def test_a_run_has_one_part_of_a_gpu_on_an_added_node_too() -> None:
    """A product that names partitions says so before there is a Node."""
    mig = f"{A100}-MIG-1g.5gb"
    assert added_devices(pool(mig, gpus=7)) == 1
    assert added_devices(pool(A100, gpus=7)) == 7
    assert matched(pool(None, "MIG", gpus=7), make_node(product=mig)).device_count == 1
    with pytest.raises(ValueError, match="no autoscaler adds nodes"):
        added_devices(query())


@pytest.mark.parametrize(
    ("node", "lacks"),
    [
        (None, True),
        (make_node(schedulable=False), True),
        (make_node(unready="not ready: NodeStatusUnknown"), True),
        (make_node(product="Tesla-T4"), True),
        (make_node(gpus=0), True),
        (make_node(product="", gpus=8), True),
        (make_node(product=f"{A100}-MIG-INVALID"), False),
        (make_node(product=f"{A100}-SHARED"), False),
        (make_node(gpus=0, capacity_gpus={"amd.com/gpu": 8}), False),
    ],
    ids=["none", "cordoned", "dead", "other product", "no plugin yet", "no label yet", "MIG", "shared", "AMD"],
)
def test_a_pool_lacks_nodes_unless_its_own_are_wrong(node: NodeRecord | None, lacks: bool) -> None:  # noqa: FBT001 - both
    """Another Node of the same group would be as wrong."""
    assert refused(pool(None, "A100"), *([] if node is None else [node])).lacks_nodes is lacks


def test_another_product_than_expected_is_named_with_its_field() -> None:
    """Where the pattern admits it, only the expectation is wrong."""
    message = refused(pool("NVIDIA-H100"), make_node()).message
    assert f"nodes have: {A100}" in message
    assert "correct nodePools[].scaleFromZero.gpuProduct" in message
    assert "correct nodePools[].gpuProduct" in refused(pool("NVIDIA-H100", "H100"), make_node()).message


def event(reason: str, message: str, reporter: str, second: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an Event as it is stored."""
    return {
        "reason": reason,
        "message": message,
        "source": {"component": reporter},
        "lastTimestamp": f"2026-01-01T00:00:{second:02}Z",
    } | changes


FAILED = event("FailedScheduling", "0/3 nodes are available", "default-scheduler", 30)
TRIGGERED = event("TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 4)}]", "cluster-autoscaler", 10)
NOT_TRIGGERED = event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max size", "cluster-autoscaler", 20)
NOMINATED = event("Nominated", "Pod should schedule on: nodeclaim/gpu-x", "karpenter", 15)
UNHELPED = event("FailedScheduling", "Failed to schedule pod, no instance type", "karpenter", 25)
AUTO_MODE = event("Nominated", "Pod should schedule on: nodeclaim/y", "", 5, reportingComponent="eks-auto-mode/compute")


@pytest.mark.parametrize(
    ("events", "adds", "words"),
    [
        ([TRIGGERED, FAILED], True, "cluster-autoscaler: pod triggered scale-up: [{gpu 0->1 (max: 4)}]"),
        ([NOT_TRIGGERED, TRIGGERED], False, "cluster-autoscaler: pod didn't trigger scale-up: 1 max size"),
        ([NOMINATED], True, "karpenter: Pod should schedule on: nodeclaim/gpu-x"),
        ([UNHELPED, NOMINATED], False, "karpenter: Failed to schedule pod, no instance type"),
        ([AUTO_MODE], True, "eks-auto-mode/compute: Pod should schedule on: nodeclaim/y"),
    ],
)
def test_the_newest_word_of_an_autoscaler_counts(events: list[dict[str, Any]], adds: bool, words: str) -> None:  # noqa: FBT001 - both
    """It is quoted with the name of the autoscaler."""
    assert read_answer(events) == AutoscalerAnswer(adds_node=adds, words=words)


def test_what_others_say_is_no_answer() -> None:
    """The scheduler has the same reason for its own Event, and any controller may write any reason."""
    assert read_answer([]) is None
    assert (
        read_answer([FAILED, event("TriggeredScaleUp", "", "somebody", 1), event("Scaled", "", "karpenter", 2)]) is None
    )
