"""`ThroughputStudy` as its owner writes it: the same document for a cluster and for one machine.

Only shape and single-field rules live here and in the `spec_` modules. Rules between fields are in `api.rules`, and in
`api.cel` for the API server; all say which field, which value and what to write instead.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from infpop_operator.api.fields import ApiModel, ArgumentName, ArgumentValue, MetricName, Name
from infpop_operator.api.quantities import DecimalString, Duration
from infpop_operator.api.resource import ApiVersion, Kind
from infpop_operator.api.spec_engine import Engine, Model
from infpop_operator.api.spec_metrics import MOST_METRICS, ExtraMetric
from infpop_operator.api.spec_pool import DEFAULT_TTL_SECONDS, NodePool, Publish, Scheduling
from infpop_operator.api.spec_workload import Workload
from infpop_operator.core.model import AlgorithmName, Goal


class Extra(ApiModel):
    """A further load-time engine argument to search over."""

    name: ArgumentName = Field(description="Python name of the engine argument, such as max_num_batched_tokens")
    values: list[ArgumentValue] = Field(min_length=1, max_length=16, description="values to choose from, as texts")


class SearchSpace(ApiModel):
    """The configurations to choose from."""

    gpu_count: list[Annotated[int, Field(ge=1, le=1024)]] = Field(
        min_length=1, max_length=32, description="GPU counts to choose from"
    )
    batch_size: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(
        min_length=1, max_length=64, description="batch sizes (sequences at once) to choose from"
    )
    extra: list[Extra] = Field(
        default=[], max_length=4, description="further load-time engine arguments to search over"
    )


class Constraint(ApiModel):
    """A bound that the best configuration must keep; `max` or `min` or both."""

    metric: MetricName = Field(
        description="what is bounded: batchSecondsP50, batchSecondsP95, gpuMemoryPeakBytes, spread, throughputPerGPU "
        "or a name from spec.metrics; a configuration without the figure is never the best"
    )
    max: DecimalString | None = Field(default=None, description="largest value that is allowed")
    min: DecimalString | None = Field(default=None, description="smallest value that is allowed")


class Objective(ApiModel):
    """What to make as large (or, for cost, as small) as possible."""

    metric: MetricName = Field(
        default="throughput",
        description="throughput, throughputPerGPU, costPerMillionTokens (needs nodePools[].pricePerGPUHour and is made "
        "small), tokensPerJoule (needs exactly one of spec.metrics in watts) or a name from spec.metrics",
    )
    goal: Goal | None = Field(
        default=None, description="what to do with a metric from spec.metrics; the others have their own direction"
    )
    constraints: list[Constraint] = Field(
        default=[], max_length=8, description="bounds that the best configuration must keep"
    )


class Algorithm(ApiModel):
    """How to search."""

    name: AlgorithmName = Field(default="tpe", description="grid is the better choice up to some 24 configurations")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of the search and of warm-up prompts")
    trials_per_run: int = Field(
        default=1, ge=1, le=8, description="batch sizes that share one engine load; part of what is measured"
    )


class Plateau(ApiModel):
    """Stop a round early when its newest trials brought no improvement worth having."""

    trials: int = Field(ge=1, le=1000, description="ended trials in a row")
    improvement_percent: DecimalString = Field(default="1", description="an improvement of the best below this is none")


class Budget(ApiModel):
    """What the study may spend."""

    max_trials: int = Field(default=20, ge=1, le=10_000, description="trials per pool and round")
    parallel_trials: int = Field(default=1, ge=1, le=64, description="runs at the same time")
    max_concurrent_gpus: int = Field(
        default=8,
        ge=1,
        le=4096,
        alias="maxConcurrentGPUs",
        description="GPUs of all runs at the same time: three parallel runs of 8 GPUs need 24",
    )
    max_failed_trials: int = Field(
        default=5, ge=0, le=1000, description="broken runs that are tolerated in a round before the study stalls"
    )
    max_gpu_hours: DecimalString | None = Field(
        default=None, alias="maxGPUHours", description="GPU-hours of all runs; runs end when they are spent"
    )
    deadline: Duration | None = Field(
        default=None, description="time from the study's first start; runs end when it is over"
    )
    plateau: Plateau | None = Field(default=None, description="stop a round early when it brings nothing more")


class Timeouts(ApiModel):
    """How long a run may stay in a phase."""

    schedule: Duration = Field(default="10m", description="until a node is found for a run's Pod; cluster only")
    pull: Duration = Field(default="30m", description="until the container image is there; cluster only")
    load: Duration = Field(default="30m", description="until the engine is loaded, per run")
    measure: Duration = Field(default="30m", description="until a trial is measured, per trial")


class Measurement(ApiModel):
    """How a trial is measured."""

    warmup_batches: int = Field(default=1, ge=1, le=100, description="full batches of other prompts before each trial")
    repeats: int = Field(default=3, ge=3, le=100, description="timed passes of each trial; the median counts")
    min_duration: Duration = Field(default="10s", description="shortest time of each repeat, at most 20m")
    max_spread: DecimalString = Field(default="0.25", description="(max - min) / median that is still a number")
    timeouts: Timeouts = Field(default=Timeouts(), description="how long a run may stay in a phase")


class Baseline(ApiModel):
    """The configuration in use today; measured first, and what the best is compared with."""

    gpu_count: int = Field(ge=1, le=1024, description="GPUs in use today")
    batch_size: int = Field(ge=1, le=65_536, description="batch size in use today")


class StudySpec(ApiModel):
    """What the owner of a study wants."""

    model: Model = Field(description="the model to serve")
    engine: Engine = Field(description="the inference engine and its limits")
    workload: Workload = Field(default=Workload(), description="what is generated")
    search_space: SearchSpace = Field(description="the configurations to choose from")
    objective: Objective = Field(default=Objective(), description="what to make as large or as small as possible")
    algorithm: Algorithm = Field(default=Algorithm(), description="how to search")
    budget: Budget = Field(default=Budget(), description="what the study may spend")
    measurement: Measurement = Field(default=Measurement(), description="how a trial is measured")
    node_pools: list[NodePool] = Field(
        min_length=1, max_length=16, description="sets of like nodes; each is tuned on its own, then compared"
    )
    metrics: list[ExtraMetric] = Field(
        default=[],
        max_length=MOST_METRICS,
        description="what else is asked of each trial, and can be objective or constraint; part of what is measured; "
        "cluster only, with Prometheus",
    )
    baseline: Baseline | None = Field(
        default=None, description="the configuration in use today: measured first, and what the best is compared with"
    )
    publish: Publish | None = Field(default=None, description="where the best configuration is written; cluster only")
    scheduling: Scheduling | None = Field(default=None, description="how runs queue and who goes first; cluster only")
    suspend: bool = Field(
        default=False, description="true: no new runs, and those that live end now and free their GPUs; cluster only"
    )
    ttl_seconds_after_finished: int = Field(
        default=DEFAULT_TTL_SECONDS,
        ge=0,
        le=31_536_000,
        description="how long a run's Job is kept once its results are in the status; cluster only",
    )


class Metadata(ApiModel):
    """The part of Kubernetes object metadata that InfPop reads; the rest is Kubernetes' own and passes."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[Name, Field(max_length=52)] = Field(description="name of the study; its runs are named after it")
    namespace: Name | None = Field(default=None, description="namespace of the study")


class ThroughputStudy(ApiModel):
    """The whole document."""

    api_version: ApiVersion = Field(description="version of this form of the document")
    kind: Kind = Field(description="what this document is")
    metadata: Metadata = Field(description="the object's name and place")
    spec: StudySpec = Field(description="what the owner of the study wants")
