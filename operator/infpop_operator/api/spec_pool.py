"""The parts of a study that say where runs may go: node pools, queue and priority."""

from typing import Literal

from pydantic import Field

from infpop_operator.api.fields import ApiModel, Image, LabelKey, LabelValue, Name, ObjectName, ProductPattern
from infpop_operator.api.quantities import CpuQuantity, DecimalString, MemoryQuantity

DEFAULT_TTL_SECONDS = 86_400
LEAST_MEMORY, MOST_MEMORY = "256Mi", "64Ti"  # of a run: no engine loads in less, and no machine has more


class Toleration(ApiModel):
    """A taint that runs of a pool tolerate, as in a Pod."""

    key: LabelKey | None = Field(default=None, description="key of the taint; without one, with Exists: every taint")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Exists: any value of the taint")
    value: LabelValue | None = Field(default=None, description="value of the taint, for Equal; left out: empty")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="effect of the taint; left out: every effect"
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=86_400, description="how long NoExecute is tolerated; left out: for ever"
    )


class Resources(ApiModel):
    """What a run is given of its node besides devices, whatever the number of its GPUs."""

    cpu: CpuQuantity | None = Field(
        default=None,
        description='CPUs that each run requests, such as 8 or "500m"; there is no limit, and no place for it with '
        "gpuResource cpu; part of what is measured",
    )
    memory: MemoryQuantity | None = Field(
        default=None,
        description="memory that each run requests, such as 64Gi, and its limit; what lies in /dev/shm counts; "
        "part of what is measured with gpuResource cpu alone",
    )


class NodePool(ApiModel):
    """A set of like nodes, or this machine."""

    name: Name = Field(description="name of the pool, in this study")
    gpu_product: ProductPattern | None = Field(
        default=None,
        description="regular expression on the GPU's product name, such as A100; on a cluster it is looked for in the "
        "product labels of the nodes, which write a dash where the product has a space; at most 4 of * + ? {, and none "
        "behind a group, so that no pattern takes for ever",
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=16, description="labels that the nodes of the pool have; cluster only"
    )
    tolerations: list[Toleration] = Field(
        default=[], max_length=16, description="taints that runs of the pool tolerate; cluster only"
    )
    gpu_resource: Literal["nvidia.com/gpu", "cpu"] = Field(
        default="nvidia.com/gpu",
        description="resource that is counted as a GPU; cpu: a GPU count is a number of tensor-parallel CPU ranks",
    )
    image: Image | None = Field(
        default=None,
        description="container image of the runner for this pool, where it needs another than engine.image; "
        "cluster only",
    )
    resources: Resources | None = Field(
        default=None,
        description="CPUs and memory for each run of the pool, not for each GPU; left out: what the namespace's "
        "LimitRange says, or nothing; cluster only",
    )
    price_per_gpu_hour: DecimalString | None = Field(
        default=None, alias="pricePerGPUHour", description="what one GPU costs an hour, in any one currency"
    )


class Scheduling(ApiModel):
    """How runs queue and who goes first; cluster only."""

    queue_name: Name | None = Field(
        default=None, description="Kueue LocalQueue in the study's namespace: runs wait there for their quota"
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the runs' Pods")


class Publish(ApiModel):
    """Where the best configuration is written for others to use; cluster only."""

    config_map: ObjectName = Field(
        description="ConfigMap in the study's namespace that gets the best configuration's engine arguments; "
        "it must not exist already, or be the study's own"
    )
