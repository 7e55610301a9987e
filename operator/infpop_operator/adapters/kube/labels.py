"""The label and annotation keys that InfPop writes or reads, and the labels of a run.

`node_pools` decides how the keys classify a Node.
"""

from infpop_operator.api.resource import GROUP

MANAGED_BY = "app.kubernetes.io/managed-by"
APP_NAME = "app.kubernetes.io/name"
MANAGER = "infpop"  # value of MANAGED_BY
RUNNER_APP = "infpop-runner"  # value of APP_NAME
STUDY = f"{GROUP}/study"
RUN = f"{GROUP}/run"
POOL = f"{GROUP}/pool"
GPU_COUNT = f"{GROUP}/gpu-count"
ROUND = f"{GROUP}/round"
CONTENT = f"{GROUP}/content"  # what a ConfigMap of InfPop holds

PUBLICATION = f"{GROUP}/publication"  # annotation of a published ConfigMap: what the operator wrote last
TRIALS = f"{GROUP}/trials"  # annotation: JSON list of index, batchSize, extra
ATTEMPT = f"{GROUP}/attempt"  # annotation
STUDY_KEY = f"{GROUP}/study-key"  # annotation: namespace/name/uid

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
JOB_UID = "kueue.x-k8s.io/job-uid"  # on Kueue's Workload: the uid of its Job
ISTIO_INJECT = "sidecar.istio.io/inject"  # a sidecar would keep the Job alive forever
LINKERD_INJECT = "linkerd.io/inject"  # annotation, same reason
# Annotations that ask the autoscalers not to remove the Pod's Node: an evicted measurement is lost.
UNDISTURBED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}

RUNNER_CONTAINER = "runner"
RUN_SPEC = "INFPOP_RUN_SPEC"  # the environment variable of that container that holds the run spec
METRICS_PORT_NAME = "metrics"
METRICS_PORT = 9400
# The scrape configs of most Prometheus charts find Pods by these annotations; a PodMonitor does not need them.
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(METRICS_PORT),
    "prometheus.io/path": "/metrics",
}

# Pod condition: preempted, drained, or its Node is gone; also evicted by its own kubelet, which `records` separates.
DISRUPTED = "DisruptionTarget"

# Node labels that name a GPU product, the most exact first: GPU feature discovery gives the name from NVML, clouds name
# a kind ("nvidia-tesla-a100", "a100"). Sources: NVIDIA GPU feature discovery README; GKE "Run GPUs in Standard node
# pools"; Karpenter "Scheduling, well-known labels"; EKS Auto Mode "Create a node pool"; cluster-autoscaler README for
# AWS (set by hand, a convention only); AKS "Use labels" (names the maker, "nvidia", not the product).
# Not verified on a real Node: the two `instance-gpu-name` labels and the AKS label.
GPU_PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
    "k8s.amazonaws.com/accelerator",
    "kubernetes.azure.com/accelerator",
)
GPU_PARTITION = "cloud.google.com/gke-gpu-partition-size"  # the MIG profile of each device of a GKE node
# Labels of GPU feature discovery and GKE for a GPU that several containers share, and of GKE and NVIDIA's vGPU for a
# part of a GPU.
GPU_SHARING_LABELS = ("nvidia.com/gpu.sharing-strategy", "cloud.google.com/gke-gpu-sharing-strategy")
GPU_PARTITION_LABELS = (GPU_PARTITION, "nvidia.com/vgpu.present")
NOT_SHARED = frozenset({"", "none", "false"})
# Starts of the labels with which autoscalers create the Nodes of a group: a Pod that selects one makes them add a Node.
# Karpenter; EKS and eksctl; GKE; AKS; kOps; any cloud's machine type.
NODE_GROUP_LABELS = (
    "karpenter.sh/nodepool",
    "karpenter.sh/provisioner-name",
    "karpenter.k8s.",
    "karpenter.azure.com/",
    "eks.amazonaws.com/",
    "alpha.eksctl.io/nodegroup-name",
    "cloud.google.com/gke-nodepool",
    "cloud.google.com/gke-accelerator",
    "cloud.google.com/compute-class",
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "kops.k8s.io/instancegroup",
    "node.kubernetes.io/instance-type",
)
# Names of labels, in any domain, with the number of physical GPUs of a Node (GPU feature discovery, GKE, Karpenter for
# AWS and Google, Karpenter for Azure), and with the number of containers that may share one.
GPU_COUNT_NAMES = frozenset({"gpu.count", "gke-accelerator-count", "instance-gpu-count", "sku-gpu-count"})
GPU_CLIENTS_NAMES = frozenset({"gpu.replicas", "gke-max-shared-clients-per-gpu"})
# Taints of Nodes that start no Pod: those of the node lifecycle controller and the cloud controllers by prefix, and
# those of the autoscalers for a Node that they are about to remove. A virtual kubelet's Node stands for another system,
# which starts its Pods on machines that have none of the Node's labels.
NODE_TAINTS = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupt",
    "karpenter.sh/unregistered",
    "virtual-kubelet.io/",
)
GPU_MEMORY = "nvidia.com/gpu.memory"  # MiB, of one device
# The same in the labels of Karpenter for AWS and of EKS Auto Mode, from the start of a node.
GPU_MEMORY_LABELS = (GPU_MEMORY, "karpenter.k8s.aws/instance-gpu-memory", "eks.amazonaws.com/instance-gpu-memory")
GPU_COMPUTE_MAJOR = "nvidia.com/gpu.compute.major"
GPU_COMPUTE_MINOR = "nvidia.com/gpu.compute.minor"
# GPU feature discovery: the first key since its version 0.15, the second in all versions.
GPU_DRIVER_MAJOR_LABELS = ("nvidia.com/cuda.driver-version.major", "nvidia.com/cuda.driver.major")
ARCH = "kubernetes.io/arch"
HOSTNAME = "kubernetes.io/hostname"


def run_labels(*, study: str, run: str, pool: str, gpu_count: str, round_number: str) -> dict[str, str]:
    """Return the labels of a run's Job and Pod: what the operator writes, and what it restores."""
    return {
        MANAGED_BY: MANAGER,
        APP_NAME: RUNNER_APP,
        STUDY: study,
        RUN: run,
        POOL: pool,
        GPU_COUNT: gpu_count,
        ROUND: round_number,
    }
