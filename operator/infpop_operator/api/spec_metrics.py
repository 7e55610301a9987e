"""The part of a study that says what else is asked of each trial: figures that other exporters have of its pod."""

from typing import Annotated

from pydantic import Field

from infpop_operator.api.fields import ApiModel, MetricName
from infpop_operator.core.extra_metrics import Preset, Unit

MOST_METRICS = 6

Query = Annotated[str, Field(min_length=1, max_length=1024)]


class ExtraMetric(ApiModel):
    """A figure of each trial that Prometheus has from other exporters: a query of one's own, or a preset."""

    name: MetricName = Field(description="what objective, constraints and status call it, in camelCase")
    query: Query | None = Field(
        default=None,
        description="PromQL that gives one number for the time in which a trial was measured; $namespace, $pod and "
        '$window stand for the run\'s Pod and that time, as in avg_over_time(power{pod="$pod"}[$window])',
    )
    preset: Preset | None = Field(
        default=None,
        description="a query that is known: gpuUtilization (percent), gpuPower (watts, all GPUs together) and "
        "gpuMemory (bytes, the fullest GPU) of NVIDIA's dcgm-exporter, cpuUsage (cores) of cAdvisor",
    )
    unit: Unit | None = Field(
        default=None,
        description="unit of the query's number; one that the unit cannot have is no number. A preset has its own",
    )
