"""The label and annotation keys that are written or read, in one place.

Only keys are here. Which node counts as what is decided in `node_pools`.
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
CONTENT = f"{GROUP}/content"  # what a ConfigMap of ours holds

TRIALS = f"{GROUP}/trials"  # annotation: JSON list of index, batchSize, extra
ATTEMPT = f"{GROUP}/attempt"  # annotation
STUDY_KEY = f"{GROUP}/study-key"  # annotation: namespace/name/uid

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
ISTIO_INJECT = "sidecar.istio.io/inject"  # a sidecar would keep the Job alive for ever
LINKERD_INJECT = "linkerd.io/inject"  # annotation, same reason
# Annotations by which a Pod asks the autoscalers to leave its node alone: a moved measurement is a lost one.
UNDISTURBED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}

RUNNER_CONTAINER = "runner"
METRICS_PORT_NAME = "metrics"
METRICS_PORT = 9400
# By these annotations the scrape configs of most charts of Prometheus find pods; a PodMonitor needs none of them.
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(METRICS_PORT),
    "prometheus.io/path": "/metrics",
}

# Pod condition: preempted, drained, its node is gone; and evicted by its own kubelet, which `records` tells apart.
DISRUPTED = "DisruptionTarget"

# Node labels that name a GPU product, the most exact first: GPU feature discovery says what NVML says, clouds name a
# kind ("nvidia-tesla-a100", "a100"). Sources: NVIDIA GPU feature discovery README; GKE "Run GPUs in Standard node
# pools"; Karpenter "Scheduling, well-known labels"; EKS Auto Mode "Create a node pool"; cluster-autoscaler README for
# AWS (set by hand, a convention only); AKS "Use labels" (says the maker, "nvidia", not the product).
# Not seen on a real node by us: the two `instance-gpu-name` ones and AKS's.
GPU_PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
    "k8s.amazonaws.com/accelerator",
    "kubernetes.azure.com/accelerator",
)
# GPU feature discovery's and GKE's word for a GPU that several containers share, and GKE's for a part of one.
GPU_SHARING_LABELS = ("nvidia.com/gpu.sharing-strategy", "cloud.google.com/gke-gpu-sharing-strategy")
GPU_PARTITION_LABELS = ("cloud.google.com/gke-gpu-partition-size",)
NOT_SHARED = frozenset({"", "none"})
GPU_MEMORY = "nvidia.com/gpu.memory"  # MB
GPU_COMPUTE_MAJOR = "nvidia.com/gpu.compute.major"
GPU_COMPUTE_MINOR = "nvidia.com/gpu.compute.minor"
ARCH = "kubernetes.io/arch"
