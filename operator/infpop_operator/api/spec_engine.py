"""The parts of a study that say what is loaded: the model, the engine, and what the simulated engine replays."""

from typing import Annotated, Literal

from pydantic import Field

from infpop_operator.api.fields import ApiModel, ArgumentName, ArgumentValue, DataKey, Image, Label, ObjectName, Text
from infpop_operator.api.quantities import DecimalString, Duration
from infpop_runner.contract import MOST_ENGINE_ARGUMENTS

MOST_BATCHED_TOKENS = 1_048_576


class SecretKeyRef(ApiModel):
    """A key of a Secret in the study's namespace."""

    name: ObjectName = Field(description="name of the Secret, in the study's namespace")
    key: DataKey = Field(description="key in the Secret")


class Model(ApiModel):
    """The model to serve."""

    name: Text = Field(description="hub id, or a directory (local tuning: relative to the study file)")
    revision: Label | None = Field(default=None, description="branch, tag or commit of a hub model")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="data type of the weights; auto: the one that the model names"
    )
    load_format: Literal["auto", "dummy"] = Field(default="auto", description="dummy: random weights, no download")
    token_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="hub token for gated models; only the runner's Pod reads it, the operator never does; cluster only",
    )
    cache_claim: ObjectName | None = Field(
        default=None,
        description="PersistentVolumeClaim that keeps downloads and compilations between runs; with runs on several "
        "nodes it needs the access mode ReadWriteMany; cluster only",
    )


class RecordedLandscape(ApiModel):
    """Measured cells from a CSV file, replayed."""

    path: Text = Field(description="CSV file of measured cells")
    gpu_model: Label = Field(description="value of the column gpu_model to replay")
    engine: Label = Field(description="value of the column engine to replay")
    model: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="value of the column model to replay"
    )


class FormulaLandscape(ApiModel):
    """A smooth landscape with a known optimum."""

    peak_throughput: DecimalString = Field(default="1000", description="tokens per second at the optimum")
    best_gpu_count: int = Field(default=4, ge=1, le=1024, description="GPU count of the optimum")
    best_batch_size: int = Field(default=64, ge=1, le=65_536, description="batch size of the optimum")
    falloff: DecimalString = Field(
        default="0.25", description="share of the throughput that each doubling away from the optimum loses"
    )
    largest_batch_per_gpu: int = Field(
        default=64, ge=1, le=65_536, alias="largestBatchPerGPU", description="larger batches run out of memory"
    )


class Simulation(ApiModel):
    """What the simulated engine replays; its numbers are always labelled as simulated."""

    recorded: RecordedLandscape | None = Field(default=None, description="measured cells from a CSV file")
    formula: FormulaLandscape | None = Field(default=None, description="a made-up landscape with a known optimum")
    noise: DecimalString = Field(default="0", description="standard deviation of a repeat, relative; at most 0.5")
    load_time: Duration = Field(default="0s", description="how long loading the engine pretends to take")
    repeat_time: Duration = Field(default="0s", description="how long a repeat pretends to take")


class PullSecret(ApiModel):
    """A Secret with which images are pulled."""

    name: ObjectName = Field(description="name of the Secret, in the study's namespace")


class Engine(ApiModel):
    """The inference engine and its limits."""

    name: Literal["vllm", "hf-pipeline", "simulated"] = Field(
        description="vllm, hf-pipeline (transformers), or simulated (replays numbers, always labelled as such)"
    )
    image: Image | None = Field(
        default=None,
        description="container image of the runner with this engine; empty: the operator's default; cluster only",
    )
    image_pull_secrets: list[PullSecret] = Field(
        default=[], max_length=8, description="Secrets with which the image is pulled; cluster only"
    )
    gpu_memory_utilization: DecimalString = Field(
        default="0.85", description="share of GPU memory that vLLM takes, above 0 and at most 1"
    )
    max_num_seqs: Literal["MatchBatch"] = Field(
        default="MatchBatch", description="the engine's limit of sequences at once is the trial's batch size"
    )
    max_num_batched_tokens: int = Field(
        default=8192,
        ge=1,
        le=MOST_BATCHED_TOKENS,
        description="tokens in one vLLM step; raised to the batch size where that is larger",
    )
    enforce_eager: bool = Field(default=False, description="true: no CUDA graphs and no compilation")
    args: dict[ArgumentName, ArgumentValue] = Field(
        default={},
        max_length=MOST_ENGINE_ARGUMENTS,
        description="further engine arguments by their Python name; the texts true, 8 and 0.5 mean what they say",
    )
    simulation: Simulation | None = Field(
        default=None, description="what the engine simulated replays; for no other engine"
    )
