"""The parts of a study that define where runs are placed: node pools, queue, priority, and the published result."""

from typing import Annotated, Literal

from pydantic import Field

from infpop_operator.api.fields import (
    ApiModel,
    Image,
    LabelKey,
    LabelledName,
    LabelValue,
    Name,
    ObjectName,
    ProductPattern,
)
from infpop_operator.api.quantities import CpuQuantity, DecimalString, MemoryQuantity
from infpop_operator.api.spec_pod_template import PodTemplate
from infpop_operator.core.object_names import LONGEST_SUBDOMAIN

DEFAULT_TTL_SECONDS = 86_400
VARIABLES_SUFFIX = "-vars"  # of the name of the published ConfigMap that has the flat keys alone
LEAST_MEMORY, MOST_MEMORY = "256Mi", "64Ti"  # limits for a run: no engine loads in less, and no machine has more


class Toleration(ApiModel):
    """A taint that runs of a pool tolerate, as in a Pod."""

    key: LabelKey | None = Field(default=None, description="key of the taint; omitted with Exists: every taint")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Exists: any value of the taint")
    value: LabelValue | None = Field(default=None, description="value of the taint, for Equal; omitted: empty")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="effect of the taint; omitted: every effect"
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=86_400, description="seconds that NoExecute is tolerated; omitted: forever"
    )


class Resources(ApiModel):
    """CPUs and memory that a run requests in addition to devices, independent of its number of GPUs."""

    cpu: CpuQuantity | None = Field(
        default=None,
        description='CPUs that each run requests, such as 8 or "500m", without a limit; not allowed with gpuResource '
        "cpu; a change starts a new round",
    )
    memory: MemoryQuantity | None = Field(
        default=None,
        description="memory that each run requests, such as 64Gi, and its limit; files in /dev/shm count; "
        "with gpuResource cpu a change starts a new round",
    )


class ScaleFromZero(ApiModel):
    """What an autoscaler adds to a pool that has no nodes now."""

    gpus_per_node: int = Field(ge=1, le=1024, description="GPUs of a node that the autoscaler adds")
    gpu_product: LabelValue | None = Field(
        default=None, description="product of its GPUs, as in the label of its nodes; omitted: whatever it adds"
    )


class NodePool(ApiModel):
    """A set of identical nodes, or this machine."""

    name: Name = Field(description="name of the pool, in this study")
    gpu_product: ProductPattern | None = Field(
        default=None,
        description="regular expression that matches the GPU's product name, such as A100; on a cluster it is matched "
        "against the product labels of the nodes, which have a dash where the product name has a space; at most 4 of "
        "* + ? {, and none after a group, so that matching always ends quickly",
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=16, description="labels of the pool's nodes; cluster only"
    )
    tolerations: list[Toleration] = Field(
        default=[], max_length=16, description="taints that runs of the pool tolerate; cluster only"
    )
    gpu_resource: Literal["nvidia.com/gpu", "cpu"] = Field(
        default="nvidia.com/gpu",
        description="resource that counts as a GPU; cpu: the GPU count is the number of tensor-parallel CPU ranks",
    )
    scale_from_zero: ScaleFromZero | None = Field(
        default=None,
        description="an autoscaler adds nodes to this pool when a Pod waits for them: runs start without a node; "
        "cluster only",
    )
    image: Image | None = Field(
        default=None,
        description="container image of the runner for this pool, if it differs from engine.image; cluster only",
    )
    resources: Resources | None = Field(
        default=None,
        description="CPUs and memory for each run of the pool, not for each GPU; omitted: the defaults of the "
        "namespace's LimitRange, if it has one; cluster only",
    )
    price_per_gpu_hour: DecimalString | None = Field(
        default=None,
        alias="pricePerGPUHour",
        description="price of one GPU for an hour, in the same currency for all pools",
    )
    pod_template: PodTemplate | None = Field(
        default=None, description="what else the Pods of the pool have, merged over engine.podTemplate; cluster only"
    )

    @property
    def device(self) -> Literal["cuda", "cpu"]:
        """The kind of device that the pool's GPU count counts."""
        return "cpu" if self.gpu_resource == "cpu" else "cuda"

    @property
    def price(self) -> float | None:
        """`price_per_gpu_hour` as a number."""
        return None if self.price_per_gpu_hour is None else float(self.price_per_gpu_hour)


class Scheduling(ApiModel):
    """Queue and priority of runs; cluster only."""

    queue_name: LabelledName | None = Field(
        default=None, description="Kueue LocalQueue in the study's namespace; runs wait there for quota"
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the runs' Pods")


class Publish(ApiModel):
    """Where the operator writes the best configuration for other programs to use; cluster only."""

    config_map: Annotated[ObjectName, Field(max_length=LONGEST_SUBDOMAIN - len(VARIABLES_SUFFIX))] = Field(
        description="ConfigMap in the study's namespace to which the operator writes the best configuration's engine "
        "arguments; a second one, with -vars after this name, has the flat keys alone; no other may have these names"
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=16, description="more labels of both ConfigMaps, such as reconcile.fluxcd.io/watch"
    )
    annotations: dict[LabelKey, Annotated[str, Field(max_length=1024)]] = Field(
        default={}, max_length=16, description="annotations of both ConfigMaps, such as a reloader's match"
    )
