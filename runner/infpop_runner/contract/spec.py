"""The spec of a run: `RunSpec`, written by the operator or the local driver, read once by the runner.

Everything that affects a measurement is explicit in the spec; the runner adds no defaults of its own.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

LONGEST_REPEAT_SECONDS = 3600.0
LONGEST_SCRAPE_GRACE_SECONDS = 600.0
MOST_ENGINE_ARGUMENTS = 32
MOST_TRIALS = 8  # of one run: their results share one termination message


class SpecModel(BaseModel):
    """Base class of the spec models: they refuse unknown keys, and are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(SpecModel):
    """The model to load. `load_format="dummy"` gives random weights of the right shape and needs no weight download."""

    name: str = Field(min_length=1, max_length=4096, description="hub id or local directory")
    revision: str | None = Field(default=None, max_length=128)
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    load_format: Literal["auto", "dummy"] = "auto"


class RecordedLandscape(SpecModel):
    """A landscape replayed from a CSV file of measured cells.

    Columns: gpu_model, engine, model, gpu_count, batch_size, outcome ("ok" or "infeasible"),
    throughput_tokens_per_second (empty unless ok). A cell that is not in the file is infeasible.
    """

    kind: Literal["recorded"] = "recorded"
    path: str = Field(min_length=1, max_length=4096)
    gpu_model: str = Field(min_length=1, max_length=128)
    engine: str = Field(min_length=1, max_length=128)
    model: str = Field(min_length=1, max_length=256)


class FormulaLandscape(SpecModel):
    """A smooth landscape with one known optimum and an out-of-memory edge.

    Throughput is `peak_tokens_per_second` at (`best_gpu_count`, `best_batch_size`) and falls by `falloff_ratio` for
    each doubling away from it in either direction. Batches above `largest_batch_per_gpu` x GPU count run out of memory.
    """

    kind: Literal["formula"] = "formula"
    peak_tokens_per_second: PositiveFloat = 1000.0
    best_gpu_count: PositiveInt = 4
    best_batch_size: PositiveInt = 64
    falloff_ratio: float = Field(default=0.25, gt=0, lt=1)
    largest_batch_per_gpu: PositiveInt = 64


class SimulationSpec(SpecModel):
    """The behaviour of the simulated engine. Its numbers are replayed, never measured, and every result says so."""

    landscape: Annotated[RecordedLandscape | FormulaLandscape, Field(discriminator="kind")] = FormulaLandscape()
    noise_ratio: float = Field(default=0.0, ge=0, le=0.5, description="relative standard deviation of a repeat")
    load_seconds: float = Field(default=0.0, ge=0, le=3600)
    repeat_seconds: float = Field(default=0.0, ge=0, le=3600)


class EngineSpec(SpecModel):
    """The engine and its limits. `args` holds engine arguments by their Python name, passed as data."""

    name: Literal["vllm", "hf-pipeline", "simulated"]
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    max_num_batched_tokens: PositiveInt = 8192
    enforce_eager: bool = False
    args: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=MOST_ENGINE_ARGUMENTS)
    simulation: SimulationSpec | None = None

    @model_validator(mode="after")
    def _simulation_belongs_to_simulated(self) -> Self:
        if (self.name == "simulated") != (self.simulation is not None):
            raise ValueError("simulation must be set for the engine 'simulated', and only for it")
        return self


class BuiltinSource(SpecModel):
    """A prompt set that ships with the runner, with the same text on every machine."""

    kind: Literal["builtin"] = "builtin"
    name: Literal["code-infilling-v1"] = "code-infilling-v1"


class FileSource(SpecModel):
    """A JSONL or JSONL.gz file; `field` is the key that holds the prompt."""

    kind: Literal["file"] = "file"
    path: str = Field(min_length=1, max_length=4096)
    field: str = Field(default="prompt", min_length=1, max_length=128)


class HuggingFaceSource(SpecModel):
    """A dataset of the Hugging Face hub (or a local directory that `datasets.load_dataset` reads)."""

    kind: Literal["huggingface"] = "huggingface"
    dataset: str = Field(min_length=1, max_length=512)
    config: str | None = Field(default=None, max_length=128)
    split: str = Field(default="test", min_length=1, max_length=128)
    field: str = Field(default="prompt", min_length=1, max_length=128)
    revision: str | None = Field(default=None, max_length=128)


class SyntheticSource(SpecModel):
    """Seeded random token ids; each prompt has exactly `prompt_tokens`."""

    kind: Literal["synthetic"] = "synthetic"
    prompt_tokens: int = Field(ge=1, le=1_000_000)


WorkloadSource = Annotated[
    BuiltinSource | FileSource | HuggingFaceSource | SyntheticSource, Field(discriminator="kind")
]


class WorkloadSpec(SpecModel):
    """The prompts, and the exact number of tokens to generate for each."""

    source: WorkloadSource
    samples: int = Field(ge=1, le=100_000, description="number of distinct prompts, taken from the start of the source")
    max_new_tokens: int = Field(ge=1, le=131_072)


class _Growing(SpecModel):
    """A part of the spec that has gained fields: one with its default is left out, because older runners refuse it."""

    newer_fields: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_newer_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        for name in self.newer_fields:
            if getattr(self, name) == type(self).model_fields[name].default:
                content.pop(name, None)
        return content


class TrialSpec(_Growing):
    """One configuration of the run; its GPU count and load-time parameters are in the run spec."""

    newer_fields = frozenset({"needs_tokens_per_second"})

    index: int = Field(ge=0)
    batch_size: int = Field(ge=1, le=65_536)
    needs_tokens_per_second: PositiveFloat | None = Field(
        default=None,
        description="measured only if an earlier trial of this run, raced out or not, reached it; None: always",
    )


class MeasurementSpec(_Growing):
    """How a trial is measured, and when the runner gives up on a phase.

    In the mode `full` each repeat is made of whole passes. In the mode `adaptive` a trial ends as soon as the 95 %
    interval of its throughput is at most `interval_ratio` of it to either side, or all of it is below
    `RunSpec.to_beat_tokens_per_second`; at most it takes about as long as `full`.
    """

    newer_fields = frozenset({"mode", "interval_ratio"})

    mode: Literal["adaptive", "full"] = "full"
    interval_ratio: float = Field(default=0.01, gt=0, lt=1)
    warmup_batches: int = Field(default=1, ge=1, le=100)
    repeats: int = Field(default=3, ge=3, le=100)
    min_repeat_seconds: float = Field(default=10.0, ge=0, le=LONGEST_REPEAT_SECONDS)
    max_spread_ratio: float = Field(default=0.25, gt=0)
    load_timeout_seconds: PositiveFloat = 1800.0
    measure_timeout_seconds: PositiveFloat = 1800.0


class RunSpec(_Growing):
    """One engine load, and the trials to measure with it in this order, whatever their batch sizes."""

    newer_fields = frozenset({"scrape_grace_seconds", "to_beat_tokens_per_second"})

    contract_version: Literal[1] = 1
    namespace: str = Field(default="", max_length=63, description="empty outside a cluster")
    study: str = Field(min_length=1, max_length=253)
    pool: str = Field(min_length=1, max_length=63)
    round: PositiveInt
    run: str = Field(min_length=1, max_length=63)
    model: ModelSpec
    engine: EngineSpec
    workload: WorkloadSpec
    device: Literal["cuda", "cpu"]
    gpu_count: int = Field(ge=1, le=1024)
    trials: tuple[TrialSpec, ...] = Field(min_length=1, max_length=MOST_TRIALS)
    measurement: MeasurementSpec
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    scrape_grace_seconds: float = Field(
        default=0,
        ge=0,
        le=LONGEST_SCRAPE_GRACE_SECONDS,
        description="how long the finished run waits for Prometheus to scrape its final values; 0: not at all",
    )
    to_beat_tokens_per_second: PositiveFloat | None = Field(
        default=None,
        description="an adaptive measurement ends once it is clear that the trial is slower than this; None: never",
    )

    @model_validator(mode="after")
    def _each_batch_once(self) -> Self:
        batches = [trial.batch_size for trial in self.trials]
        if len(set(batches)) < len(batches):
            raise ValueError(f"each batch size may be there only once, got {batches}")
        return self
