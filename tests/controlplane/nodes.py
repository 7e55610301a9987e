"""Nodes with GPUs that are only API objects, labelled as GPU Feature Discovery or a cloud labels them.

The scheduler places Pods on them by their capacity; no kubelet runs there. The labels of the clouds come from their
documentation and are not verified here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from controlplane.cluster import ControlPlane

Manifest = dict[str, Any]
LabelStyle = Literal["gfd", "gke", "eks", "aks"]
_NODES = "/api/v1/nodes"
_HEARTBEAT = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """The names of a GPU outside GPU Feature Discovery, and the machine type that has it."""

    family: str
    compute: tuple[str, str]
    gke: str
    karpenter: str
    eks_machine: str
    aks_machine: str


_A100 = _Names(
    family="ampere",
    compute=("8", "0"),
    gke="nvidia-tesla-a100",
    karpenter="a100",
    eks_machine="p4d.24xlarge",
    aks_machine="Standard_ND96asr_v4",
)
_A100_80 = _Names(
    family="ampere",
    compute=("8", "0"),
    gke="nvidia-a100-80gb",
    karpenter="a100",
    eks_machine="p4de.24xlarge",
    aks_machine="Standard_ND96amsr_A100_v4",
)
_V100 = _Names(
    family="volta",
    compute=("7", "0"),
    gke="nvidia-tesla-v100",
    karpenter="v100",
    eks_machine="p3.16xlarge",
    aks_machine="Standard_ND40rs_v2",
)
_H100 = _Names(
    family="hopper",
    compute=("9", "0"),
    gke="nvidia-h100-80gb",
    karpenter="h100",
    eks_machine="p5.48xlarge",
    aks_machine="Standard_ND96isr_H100_v5",
)


def gpu_node(
    name: str,
    *,
    product: str = "NVIDIA-A100-SXM4-40GB",
    gpus: int = 8,
    memory_mb: int = 40960,
    labels: LabelStyle = "gfd",
    extra_labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] | None = None,
    gpu_resource: str = "nvidia.com/gpu",
) -> Manifest:
    """Return the manifest of a Ready node.

    Args:
        name: the name of the Node.
        product: the name that GPU Feature Discovery uses; the clouds' names are derived from it.
        gpus: the number of GPUs.
        memory_mb: the memory of one GPU.
        labels: the label scheme.
        extra_labels: extra labels, for example of a test's own pool.
        taints: replace those that the cloud usually sets.
        gpu_resource: the name of the extended resource.

    Raises:
        ValueError: the product's names are not known here.
    """
    amounts = {"cpu": "96", "memory": "1152Gi", "pods": "250", "ephemeral-storage": "1Ti", gpu_resource: str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                **_labels(labels, product, gpus, memory_mb),
                **(extra_labels or {}),
            },
        },
        "spec": {"taints": [dict(taint) for taint in (_taints(labels) if taints is None else taints)]},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "simulated",
                    "lastHeartbeatTime": _HEARTBEAT,
                    "lastTransitionTime": _HEARTBEAT,
                }
            ],
        },
    }


def create_nodes(cluster: ControlPlane, nodes: Sequence[Manifest]) -> None:
    """Create the Nodes. The scheduler uses them after the not-ready taint is removed, within about a second."""
    for node in nodes:
        cluster.admin.create(_NODES, node)


def delete_nodes(cluster: ControlPlane, names: Sequence[str]) -> None:
    """Delete the Nodes; missing ones are ignored. Pods on them stay until the garbage collector removes them."""
    for name in names:
        cluster.admin.delete(f"{_NODES}/{name}")


@contextmanager
def added_nodes(cluster: ControlPlane, *nodes: Manifest) -> Iterator[tuple[str, ...]]:
    """Create the Nodes for the duration of the block, and yield their names."""
    names = tuple(node["metadata"]["name"] for node in nodes)
    create_nodes(cluster, nodes)
    try:
        yield names
    finally:
        delete_nodes(cluster, names)


def _labels(style: LabelStyle, product: str, gpus: int, memory_mb: int) -> dict[str, str]:
    known = _names(product)
    match style:
        case "gfd":
            return {
                "nvidia.com/gpu.present": "true",
                "nvidia.com/gpu.product": product,
                "nvidia.com/gpu.count": str(gpus),
                "nvidia.com/gpu.memory": str(memory_mb),
                "nvidia.com/gpu.family": known.family,
                "nvidia.com/gpu.compute.major": known.compute[0],
                "nvidia.com/gpu.compute.minor": known.compute[1],
                "nvidia.com/gpu.replicas": "1",
                "nvidia.com/cuda.driver.major": "570",
                "nvidia.com/mig.strategy": "single",
                "nvidia.com/gfd.timestamp": "1767225600",
            }
        case "gke":
            return {
                "cloud.google.com/gke-accelerator": known.gke,
                "cloud.google.com/gke-accelerator-count": str(gpus),
                "cloud.google.com/gke-nodepool": known.gke,
            }
        case "eks":
            return {
                "node.kubernetes.io/instance-type": known.eks_machine,
                "karpenter.k8s.aws/instance-gpu-name": known.karpenter,
                "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
                "karpenter.k8s.aws/instance-gpu-count": str(gpus),
                "karpenter.k8s.aws/instance-gpu-memory": str(memory_mb),
            }
        case "aks":
            return {
                "node.kubernetes.io/instance-type": known.aks_machine,
                "kubernetes.azure.com/accelerator": "nvidia",
                "kubernetes.azure.com/agentpool": known.karpenter,
            }


def _taints(style: LabelStyle) -> Sequence[Mapping[str, str]]:
    values = {"gke": "present", "eks": "true"}  # according to the other clouds' pages, GPU Nodes have no taint
    if style not in values:
        return ()
    return ({"key": "nvidia.com/gpu", "value": values[style], "effect": "NoSchedule"},)


def _names(product: str) -> _Names:
    for part, names in (("A100-SXM4-80GB", _A100_80), ("A100", _A100), ("V100", _V100), ("H100", _H100)):
        if part in product:
            return names
    raise ValueError(f"product: nothing is known of {product!r}; add it to {__name__}")
