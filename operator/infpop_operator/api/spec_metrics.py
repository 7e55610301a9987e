"""The part of a study that defines its extra metrics: what other exporters measure of each trial's Pod."""

from typing import Annotated

from pydantic import Field

from infpop_operator.api.fields import ApiModel, MetricName
from infpop_operator.core.extra_metrics import Preset, Unit

MOST_METRICS = 6

Query = Annotated[str, Field(min_length=1, max_length=1024)]


class ExtraMetric(ApiModel):
    """An extra metric of each trial that Prometheus has from other exporters: a query or a preset."""

    name: MetricName = Field(description="name in objective, constraints and status, in camelCase")
    query: Query | None = Field(
        default=None,
        description="PromQL that returns one number for the time in which a trial was measured; $namespace, $pod and "
        '$window stand for the run\'s Pod and that time, as in avg_over_time(power{pod="$pod"}[$window])',
    )
    preset: Preset | None = Field(
        default=None,
        description="a built-in query: gpuUtilization (percent), gpuPower (watts, all GPUs together) and "
        "gpuMemory (bytes, the fullest GPU) of NVIDIA's dcgm-exporter, cpuUsage (cores) of cAdvisor",
    )
    unit: Unit | None = Field(
        default=None,
        description="unit of the query's value; a value outside the unit's range is discarded; a preset has its own",
    )
