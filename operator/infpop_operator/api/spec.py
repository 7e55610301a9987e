"""`ThroughputStudy` as its owner writes it: the same document for a cluster and for one machine.

Only shape and single-field rules live here. Rules between fields are in `api.rules`; both say which field, which value
and what to write instead.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infpop_operator.api.quantities import DecimalString, Duration
from infpop_operator.core.model import AlgorithmName, ConstraintMetric, Metric
from infpop_runner.contract import MOST_ENGINE_ARGUMENTS

MOST_BATCHED_TOKENS = 1_048_576

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Text = Annotated[str, Field(min_length=1, max_length=512)]
Label = Annotated[str, Field(min_length=1, max_length=128)]  # as long as the contract lets it be
ArgumentName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
ArgumentValue = Annotated[str, Field(max_length=512)]


class ApiModel(BaseModel):
    """Base of the API: camelCase keys, unknown keys are errors, no silent conversion of types, values do not change."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Model(ApiModel):
    """The model to serve."""

    name: Text = Field(description="hub id, or a local directory (relative to the study file)")
    revision: Label | None = Field(default=None, description="branch, tag or commit of a hub model")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    load_format: Literal["auto", "dummy"] = Field(default="auto", description="dummy: random weights, no download")


class RecordedLandscape(ApiModel):
    """Measured cells from a CSV file, replayed."""

    path: Text
    gpu_model: Label
    engine: Label
    model: Annotated[str, Field(min_length=1, max_length=256)]


class FormulaLandscape(ApiModel):
    """A smooth landscape with a known optimum."""

    peak_throughput: DecimalString = "1000"
    best_gpu_count: int = Field(default=4, ge=1, le=1024)
    best_batch_size: int = Field(default=64, ge=1, le=65536)
    falloff: DecimalString = "0.25"
    largest_batch_per_gpu: int = Field(default=64, ge=1, le=65536, alias="largestBatchPerGPU")


class Simulation(ApiModel):
    """What the simulated engine replays; its numbers are always labelled as simulated."""

    recorded: RecordedLandscape | None = None
    formula: FormulaLandscape | None = None
    noise: DecimalString = Field(default="0", description="standard deviation of a repeat, relative")
    load_time: Duration = "0s"
    repeat_time: Duration = "0s"


class Engine(ApiModel):
    """The inference engine and its limits."""

    name: Literal["vllm", "hf-pipeline", "simulated"]
    gpu_memory_utilization: DecimalString = "0.85"
    max_num_seqs: Literal["MatchBatch"] = Field(
        default="MatchBatch", description="the engine's limit of sequences at once is the trial's batch size"
    )
    max_num_batched_tokens: int = Field(default=8192, ge=1, le=MOST_BATCHED_TOKENS)
    enforce_eager: bool = False
    args: dict[ArgumentName, ArgumentValue] = Field(default_factory=dict, max_length=MOST_ENGINE_ARGUMENTS)
    simulation: Simulation | None = None


class FileSource(ApiModel):
    """A JSONL or JSONL.gz file."""

    path: Text
    field: Label = "prompt"


class HuggingFaceSource(ApiModel):
    """A dataset of the Hugging Face hub; a preset fills in the rest."""

    preset: Literal["humaneval-infilling-single-line"] | None = None
    dataset: Text | None = None
    config: Label | None = None
    split: Label = "test"
    field: Label = "prompt"
    revision: Label | None = None


class SyntheticSource(ApiModel):
    """Seeded random token ids of one exact length."""

    prompt_tokens: int = Field(ge=1, le=1_000_000)


class Source(ApiModel):
    """Where prompts come from: exactly one key."""

    builtin: Literal["code-infilling-v1"] | None = None
    file: FileSource | None = None
    hugging_face: HuggingFaceSource | None = None
    synthetic: SyntheticSource | None = None


class Workload(ApiModel):
    """What is generated: prompts and the exact number of new tokens for each."""

    source: Source = Source(builtin="code-infilling-v1")
    samples: int = Field(default=1033, ge=1, le=100_000)
    max_new_tokens: int = Field(default=128, ge=1, le=131_072)


class Extra(ApiModel):
    """A further load-time engine argument to search over."""

    name: ArgumentName
    values: list[ArgumentValue] = Field(min_length=1, max_length=16)


class SearchSpace(ApiModel):
    """The configurations to choose from."""

    gpu_count: list[Annotated[int, Field(ge=1, le=1024)]] = Field(min_length=1, max_length=32)
    batch_size: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(min_length=1, max_length=64)
    extra: list[Extra] = Field(default_factory=list, max_length=4)


class Constraint(ApiModel):
    """A bound that the best configuration must keep; `max` or `min` or both."""

    metric: ConstraintMetric
    max: DecimalString | None = None
    min: DecimalString | None = None


class Objective(ApiModel):
    """What to make as large (or, for cost, as small) as possible."""

    metric: Metric = "throughput"
    constraints: list[Constraint] = Field(default_factory=list, max_length=8)


class Algorithm(ApiModel):
    """How to search."""

    name: AlgorithmName = "tpe"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    trials_per_run: int = Field(default=1, ge=1, le=8)


class Plateau(ApiModel):
    """Stop a round early when its newest trials brought no improvement worth having."""

    trials: int = Field(ge=1, le=1000)
    improvement_percent: DecimalString = "1"


class Budget(ApiModel):
    """What the study may spend."""

    max_trials: int = Field(default=20, ge=1, le=10_000, description="per pool and round")
    parallel_trials: int = Field(default=1, ge=1, le=64, description="runs at the same time")
    max_concurrent_gpus: int = Field(default=8, ge=1, le=4096, alias="maxConcurrentGPUs")
    max_failed_trials: int = Field(default=5, ge=0, le=1000, description="broken runs that are tolerated")
    max_gpu_hours: DecimalString | None = Field(default=None, alias="maxGPUHours")
    deadline: Duration | None = Field(default=None, description="from the study's first start")
    plateau: Plateau | None = None


class Timeouts(ApiModel):
    """How long a run may stay in a phase."""

    load: Duration = "30m"
    measure: Duration = "30m"


class Measurement(ApiModel):
    """How a trial is measured."""

    warmup_batches: int = Field(default=1, ge=1, le=100)
    repeats: int = Field(default=3, ge=3, le=100)
    min_duration: Duration = Field(default="10s", description="of each repeat")
    max_spread: DecimalString = Field(default="0.25", description="(max - min) / median that is still a number")
    timeouts: Timeouts = Timeouts()


class NodePool(ApiModel):
    """A set of like nodes, or this machine."""

    name: Name
    gpu_product: Text | None = Field(default=None, description="regular expression on the GPU's product name")
    gpu_resource: Literal["nvidia.com/gpu", "cpu"] = "nvidia.com/gpu"
    price_per_gpu_hour: DecimalString | None = Field(default=None, alias="pricePerGPUHour")


class Baseline(ApiModel):
    """The configuration in use today; measured first, and what the best is compared with."""

    gpu_count: int = Field(ge=1, le=1024)
    batch_size: int = Field(ge=1, le=65_536)


class StudySpec(ApiModel):
    """What the owner of a study wants."""

    model: Model
    engine: Engine
    workload: Workload = Workload()
    search_space: SearchSpace
    objective: Objective = Objective()
    algorithm: Algorithm = Algorithm()
    budget: Budget = Budget()
    measurement: Measurement = Measurement()
    node_pools: list[NodePool] = Field(min_length=1, max_length=16)
    baseline: Baseline | None = None


class Metadata(ApiModel):
    """The part of Kubernetes object metadata that InfPop reads; the rest is Kubernetes' own and passes."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=52, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    namespace: Name | None = None


class ThroughputStudy(ApiModel):
    """The whole document."""

    api_version: Literal["infpop.io/v1alpha1"]
    kind: Literal["ThroughputStudy"]
    metadata: Metadata
    spec: StudySpec
