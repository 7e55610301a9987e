"""The parts of a study that define what a run loads: the model, the engine, and the simulation if there is one."""

from typing import Annotated, Literal

from pydantic import Field

from infpop_operator.api.fields import ApiModel, ArgumentName, ArgumentValue, DataKey, Image, Label, ObjectName, Text
from infpop_operator.api.quantities import DecimalString, Duration
from infpop_operator.api.spec_pod_template import PodTemplate
from infpop_runner.contract import MOST_ENGINE_ARGUMENTS

MOST_BATCHED_TOKENS = 1_048_576


class SecretKeyRef(ApiModel):
    """A key of a Secret in the study's namespace."""

    name: ObjectName = Field(description="name of the Secret, in the study's namespace")
    key: DataKey = Field(description="key in the Secret")


class Model(ApiModel):
    """The model to serve."""

    name: Text = Field(description="Hugging Face Hub id, or a directory (local tuning: relative to the study file)")
    revision: Label | None = Field(default=None, description="branch, tag or commit of a Hub model")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="data type of the weights; auto: the one in the model's configuration"
    )
    load_format: Literal["auto", "dummy"] = Field(default="auto", description="dummy: random weights, no download")
    token_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Hub token for gated models; only the runner's Pod reads it, never the operator; cluster only",
    )
    cache_claim: ObjectName | None = Field(
        default=None,
        description="PersistentVolumeClaim that caches downloads and compilations between runs; if runs use several "
        "nodes it needs the access mode ReadWriteMany; cluster only",
    )


class RecordedLandscape(ApiModel):
    """A landscape of measured cells from a CSV file."""

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
        default="0.25", description="fraction of the throughput lost with each doubling away from the optimum"
    )
    largest_batch_per_gpu: int = Field(
        default=64,
        ge=1,
        le=65_536,
        alias="largestBatchPerGPU",
        description="largest batch that fits per GPU; larger ones run out of memory",
    )


class Simulation(ApiModel):
    """What the simulated engine replays; its results are always labelled as simulated."""

    recorded: RecordedLandscape | None = Field(default=None, description="measured cells from a CSV file")
    formula: FormulaLandscape | None = Field(default=None, description="a synthetic landscape with a known optimum")
    noise: DecimalString = Field(default="0", description="relative standard deviation of a repeat; at most 0.5")
    load_time: Duration = Field(default="0s", description="simulated duration of an engine load")
    repeat_time: Duration = Field(default="0s", description="simulated duration of a repeat")


class PullSecret(ApiModel):
    """A Secret for pulling images."""

    name: ObjectName = Field(description="name of the Secret, in the study's namespace")


class Engine(ApiModel):
    """The inference engine and its limits."""

    name: Literal["vllm", "hf-pipeline", "simulated"] = Field(
        description="vllm, hf-pipeline (transformers), or simulated (replays results, always labelled as such)"
    )
    image: Image | None = Field(
        default=None,
        description="container image of the runner with this engine; empty: the operator's default; cluster only",
    )
    image_pull_secrets: list[PullSecret] = Field(
        default=[], max_length=8, description="Secrets for pulling the image; cluster only"
    )
    gpu_memory_utilization: DecimalString = Field(
        default="0.85", description="fraction of GPU memory that vLLM uses, above 0 and at most 1"
    )
    max_num_seqs: Literal["MatchBatch"] = Field(
        default="MatchBatch", description="the engine's limit of concurrent sequences is the trial's batch size"
    )
    max_num_batched_tokens: int = Field(
        default=8192,
        ge=1,
        le=MOST_BATCHED_TOKENS,
        description="maximum tokens in one vLLM step; raised to the batch size if that is larger",
    )
    enforce_eager: bool = Field(default=False, description="true: no CUDA graphs and no compilation")
    args: dict[ArgumentName, ArgumentValue] = Field(
        default={},
        max_length=MOST_ENGINE_ARGUMENTS,
        description="extra engine arguments by Python name; the strings true, 8 and 0.5 become a boolean and numbers",
    )
    simulation: Simulation | None = Field(
        default=None, description="what the simulated engine replays; only for that engine"
    )
    pod_template: PodTemplate | None = Field(
        default=None,
        description="what else the Pods of all runs have, as a checked part of a PodTemplateSpec; cluster only",
    )
