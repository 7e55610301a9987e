"""The `ThroughputStudy` document as the user writes it: the same for a cluster and for one machine.

This module and the `spec_` modules define the schema and the rules on single fields. Rules between fields are in
`api.rules`, and in `api.cel` for the API server. Every error names the field, the value and the remedy.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from infpop_operator.api.fields import ApiModel, ArgumentName, ArgumentValue, MetricName, Name
from infpop_operator.api.quantities import DecimalString, Duration, TrialsPerRun
from infpop_operator.api.resource import ApiVersion, Kind
from infpop_operator.api.spec_engine import Engine, Model
from infpop_operator.api.spec_metrics import MOST_METRICS, ExtraMetric
from infpop_operator.api.spec_pool import DEFAULT_TTL_SECONDS, NodePool, Publish, Scheduling
from infpop_operator.api.spec_workload import Workload
from infpop_operator.core.study import (
    ENGINE_DEFAULT,
    AlgorithmName,
    EngineDefault,
    Goal,
    RetunePolicy,
    ReusePolicy,
    SecondMetric,
)

MeasurementMode = Literal["Adaptive", "Full"]


class Extra(ApiModel):
    """An extra load-time engine argument to search over."""

    name: ArgumentName = Field(description="Python name of the engine argument, such as max_num_batched_tokens")
    values: list[ArgumentValue] = Field(min_length=1, max_length=16, description="values to choose from, as strings")


class SearchSpace(ApiModel):
    """The configurations to choose from."""

    gpu_count: list[Annotated[int, Field(ge=1, le=1024)]] = Field(
        min_length=1, max_length=32, description="GPU counts to choose from"
    )
    batch_size: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(
        min_length=1, max_length=64, description="batch sizes (concurrent sequences) to choose from"
    )
    extra: list[Extra] = Field(default=[], max_length=4, description="extra load-time engine arguments to search over")


class Constraint(ApiModel):
    """A bound that the best configuration must meet: `max`, `min` or both."""

    metric: MetricName = Field(
        description="what is bounded: batchSecondsP50, batchSecondsP95, gpuMemoryPeakBytes, "
        "secondsPerOutputToken (median time of a sequence in the batch / generated tokens), spread, throughputPerGPU "
        "or a name from spec.metrics; a configuration without a value of it is never the best"
    )
    max: DecimalString | None = Field(default=None, description="largest allowed value")
    min: DecimalString | None = Field(default=None, description="smallest allowed value")


class Objective(ApiModel):
    """What to maximise or, for cost, to minimise."""

    metric: MetricName = Field(
        default="throughput",
        description="throughput, throughputPerGPU, costPerMillionTokens (needs nodePools[].pricePerGPUHour; it is "
        "minimised), tokensPerJoule (needs exactly one of spec.metrics in watts) or a name from spec.metrics",
    )
    goal: Goal | None = Field(
        default=None, description="direction for a metric from spec.metrics; the built-in metrics have their own"
    )
    constraints: list[Constraint] = Field(
        default=[], max_length=8, description="bounds that the best configuration must meet"
    )
    second_metric: SecondMetric | None = Field(
        default=None,
        description="second metric: the status then has the configurations that no other one beats in both (the Pareto "
        "front), and the search looks for them; secondsPerOutputToken is the median time of a sequence in the batch / "
        "generated tokens; the others are those of metric, with what they need",
    )


class Algorithm(ApiModel):
    """How to search."""

    name: AlgorithmName = Field(
        default="landscape", description="search algorithm; grid measures all, for up to about 24 configurations"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of the search and of warm-up prompts")
    trials_per_run: TrialsPerRun = Field(
        default="auto",
        description="batch sizes that share one engine load, 1 to 8; auto: as many as are worth it (landscape), all "
        "that are left, up to 8 (grid), or 1. A change between 1 or auto and another number starts a new round",
    )


class Plateau(ApiModel):
    """Stop a round early: when its newest trials improved its best too little, or when the search is sure of it.

    It needs one of the two rules, and may have both.
    """

    trials: int | None = Field(
        default=None, ge=1, le=1000, description="number of consecutive ended trials that improved the best too little"
    )
    confidence: DecimalString | None = Field(
        default=None,
        description="probability, from 0.5 to 0.999, that the best is within 1 % of the optimum; algorithm landscape "
        "only",
    )
    improvement_percent: DecimalString = Field(
        default="1", description="with trials: smallest improvement of the best that counts, in percent"
    )


class Budget(ApiModel):
    """What the study may spend."""

    max_trials: int = Field(default=20, ge=1, le=10_000, description="maximum trials per pool and round")
    parallel_trials: int = Field(
        default=1, ge=1, le=64, description="maximum concurrent runs; lowering it stops none, and starts no more"
    )
    max_concurrent_gpus: int = Field(
        default=8,
        ge=1,
        le=4096,
        alias="maxConcurrentGPUs",
        description=(
            "maximum GPUs of all concurrent runs: three parallel runs of 8 GPUs need 24;"
            " lowering it stops the newest runs above it, and what they miss is measured later"
        ),
    )
    max_failed_trials: int = Field(
        default=5, ge=0, le=1000, description="broken runs that a round tolerates; with one more the study stalls"
    )
    max_gpu_hours: DecimalString | None = Field(
        default=None,
        alias="maxGPUHours",
        description="maximum GPU-hours of all runs; live runs are stopped when they are spent",
    )
    deadline: Duration | None = Field(
        default=None, description="maximum time from the study's first start; live runs are stopped when it has passed"
    )
    plateau: Plateau | None = Field(default=None, description="stop a round early when it no longer improves")
    confirm: bool = Field(
        default=True,
        description="true: measure the best configurations again, each on loads of its own, before one is recommended",
    )


# A Job's deadline is the sum of its phases, with each trial measured up to three times as long. Kubernetes computes it
# in nanoseconds, which hold 292 years.
LONGEST_TIMEOUT = "720h"
LARGEST_SPREAD = 10.0  # repeats that differ ten times say nothing; a larger number was meant in percent


SCHEDULE_TIMEOUT = "10m"
# Until an autoscaler has added a node with GPUs: cluster-autoscaler gives a new node 15 minutes to become ready
# (--max-node-provision-time), and the GPUs of a ready node may need as much until they are allocatable.
SCALE_UP_TIMEOUT = "30m"


class Timeouts(ApiModel):
    """How long a run may stay in a phase, at most 30 days each."""

    schedule: Duration | None = Field(
        default=None,
        description=f"until a run's Pod is scheduled; omitted: {SCHEDULE_TIMEOUT}, or {SCALE_UP_TIMEOUT} in a pool "
        "with scaleFromZero; cluster only",
    )
    pull: Duration = Field(default="30m", description="until the container image is pulled; cluster only")
    load: Duration = Field(default="30m", description="until the engine is loaded, per run")
    measure: Duration = Field(default="30m", description="until a trial is measured, per trial")


class Measurement(ApiModel):
    """How a trial is measured."""

    mode: MeasurementMode = Field(
        default="Adaptive",
        description="Adaptive: a trial ends when its number is precise enough, or when it is clear that another is "
        "better, and the best are measured in full at the end; Full: each trial is measured in full",
    )
    warmup_batches: int = Field(
        default=1, ge=1, le=100, description="full batches of other prompts before each trial, not timed"
    )
    repeats: int = Field(default=3, ge=3, le=100, description="timed repeats of each trial; the result is their median")
    min_duration: Duration = Field(default="10s", description="minimum duration of each repeat, at most 20m")
    max_spread: DecimalString = Field(
        default="0.25", description="maximum (max - min) / median of the repeats; above it the trial is invalid"
    )
    timeouts: Timeouts = Field(default=Timeouts(), description="how long a run may stay in a phase")


class Baseline(ApiModel):
    """The configuration in use today; it is measured first, and the best is compared with it."""

    source: EngineDefault | None = Field(
        default=None, description="EngineDefault: one GPU and the engine's own default batch size, on each pool"
    )
    gpu_count: int | None = Field(default=None, ge=1, le=1024, description="GPUs in use today")
    batch_size: int | None = Field(default=None, ge=1, le=65_536, description="batch size in use today")


class Retune(ApiModel):
    """When a study tunes a pool again."""

    policy: RetunePolicy = Field(
        default="OnPoolChange",
        description="OnPoolChange: a change of a pool's hardware, of the image or of what is measured starts a new "
        "round; Manual, Never: only a new value of the annotation infpop.io/retune does",
    )
    debounce: Duration = Field(
        default="10m", description="how long changed hardware must stay the same before a new round starts"
    )
    max_per_day: int = Field(
        default=2, ge=1, le=100, description="maximum rounds per pool that changed hardware starts within 24 hours"
    )


class StudySpec(ApiModel):
    """The desired state of a study."""

    model: Model = Field(description="the model to serve")
    engine: Engine = Field(description="the inference engine and its limits")
    workload: Workload = Field(default=Workload(), description="prompts and number of generated tokens")
    search_space: SearchSpace = Field(description="the configurations to choose from")
    objective: Objective = Field(default=Objective(), description="what to maximise or minimise")
    algorithm: Algorithm = Field(default=Algorithm(), description="how to search")
    budget: Budget = Field(default=Budget(), description="what the study may spend")
    measurement: Measurement = Field(default=Measurement(), description="how a trial is measured")
    node_pools: list[NodePool] = Field(
        min_length=1,
        max_length=16,
        description="sets of identical nodes; each is tuned separately, then they are compared",
    )
    metrics: list[ExtraMetric] = Field(
        default=[],
        max_length=MOST_METRICS,
        description="extra metrics of each trial, from Prometheus; each can be objective or constraint; a change "
        "starts a new round; cluster only",
    )
    baseline: Baseline | None = Field(
        default=None,
        description="the configuration in use today: it is measured first, and the best is compared with it",
    )
    retune: Retune = Field(default=Retune(), description="when a pool is tuned again")
    reuse: ReusePolicy = Field(
        default="Never",
        description="SameIdentity: take over what other studies of the namespace measured with the same measurement "
        "identity; cluster only",
    )
    publish: Publish | None = Field(
        default=None, description="where the operator writes the best configuration; cluster only"
    )
    scheduling: Scheduling | None = Field(default=None, description="queue and priority of runs; cluster only")
    suspend: bool = Field(
        default=False,
        description="true: no new runs start, and live runs are stopped and free their GPUs; cluster only",
    )
    ttl_seconds_after_finished: int = Field(
        default=DEFAULT_TTL_SECONDS,
        ge=0,
        le=31_536_000,
        description="seconds that a run's Job is kept after its results are in the status; cluster only",
    )

    def schedule_timeout(self, pool: NodePool | None) -> str:
        """Return how long a run of `pool` may wait for a node, as a `Duration`; None: a pool that left the study."""
        usual = SCHEDULE_TIMEOUT if pool is None or pool.scale_from_zero is None else SCALE_UP_TIMEOUT
        return self.measurement.timeouts.schedule or usual

    @field_validator("baseline", mode="before")
    @classmethod
    def _from_one_word(cls, value: object) -> object:
        """Accept the word alone in a file; a cluster's schema allows only one type, and this is the other."""
        return {"source": value} if value == ENGINE_DEFAULT else value


class Metadata(ApiModel):
    """The part of Kubernetes object metadata that InfPop reads; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[Name, Field(max_length=52)] = Field(description="name of the study; its runs are named after it")
    namespace: Name | None = Field(default=None, description="namespace of the study")


class ThroughputStudy(ApiModel):
    """The whole document."""

    api_version: ApiVersion = Field(description="API version of the document")
    kind: Kind = Field(description="kind of the document")
    metadata: Metadata = Field(description="name and namespace of the object")
    spec: StudySpec = Field(description="desired state of the study")
