"""The result of a run: `RunResult`, written by the runner after every trial, read by the operator or `infpop tune`.

Each trial ends in exactly one of five outcomes: `Measured`, `Infeasible`, `Invalid`, `RacedOut` or `Skipped`. If a
complete result lacks a trial, either its batch is larger than one that ran out of memory, or `RunResult.broken` says
why it was not reached.
Absence is `None` with a reason in `missing`: never 0.0, -1 or NaN.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from infpop_runner.contract.text import one_line, printable

PositiveFinite = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# What an engine or a machine says, cleaned wherever a result is written or read: it is shown in logs and Events.
Sentence = Annotated[str, AfterValidator(one_line)]
Name = Annotated[str, AfterValidator(printable)]
Ratio = Annotated[float, Field(ge=0, allow_inf_nan=False)]

ShortReason = Annotated[
    str, Field(pattern=r"^[A-Z][A-Za-z]{0,31}$")
]  # CamelCase, small: eight trials share 4,096 bytes

InfeasibleReason = Literal[
    "GpuOutOfMemory",  # weights, KV cache or activations do not fit
    "HeadsNotDivisible",  # the tensor-parallel size does not divide the attention heads
    "IncompatibleGPU",  # this build has no kernels for this device, or the device lacks the data type
    "RejectedArguments",  # the engine refused its arguments
    "UnsupportedGpuCount",  # this engine cannot use that many devices here
    "UnsupportedModel",  # this engine does not know the model, or is too old for it
    "NotRecorded",  # simulated only: the replayed landscape lacks the cell, or recorded it as failed
]
InvalidReason = Literal[
    "UnstableRepeats",  # the repeats lie too far apart
    "ShortOutput",  # a sequence has fewer ids than requested
    "BatchExceeded",  # more sequences ran at once than the batch size allows
    "Preempted",  # the engine evicted sequences and computed them twice
    "PrefixCacheHit",  # prompt tokens came from a cache instead of being computed
    "CpuThrottled",  # a CPU limit stopped the processes that drive the GPUs
    "SourcesDisagree",  # set by the operator only: the runner's metrics differ from its result
]
BrokenReason = Literal[
    "EngineCrash",  # the engine or one of its processes died
    "LoadTimeout",
    "MeasureTimeout",
    "GpuMissing",  # no driver, one that does not fit, or fewer visible devices than the run needs
    "GpuNotClean",  # another process holds GPU memory
    "GpuFaulty",  # the device itself reports a fault
    "HostOutOfMemory",
    "WorkloadUnavailable",
    "ModelUnavailable",
    "StorageUnavailable",  # a volume is full, over its quota, read-only, or does not answer
    "Stopped",  # requested (SIGTERM)
    "RunnerError",  # a defect of the runner or of its installation
]
Retry = Literal[
    "later",  # after a pause: the cause goes away by itself
    "never",  # the cause stays until a person removes it
]


# Names of numbers as a result has them that would not fit into its message otherwise; both are understood.
SHORT_NAMES: Mapping[str, str] = {
    "throughput_tokens_per_second": "throughput",
    "interval_tokens_per_second": "interval",
    "generated_tokens": "tokens",
    "measured_seconds": "seconds",
    "batch_seconds_p50": "p50",
    "batch_seconds_p95": "p95",
    "concurrency_peak": "peak",
}
_LONG_NAMES = {short: name for name, short in SHORT_NAMES.items()}


class ResultModel(BaseModel):
    """Base class of the result models: they ignore unknown keys of a newer writer, and are immutable."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Measured(ResultModel):
    """The trial ran, and its numbers are comparable with others of the same measurement identity."""

    outcome: Literal["measured"] = "measured"
    index: int = Field(ge=0)
    batch_size: PositiveInt
    throughput_tokens_per_second: PositiveFinite = Field(
        description="generated ids / elapsed: full, the median of the repeats; adaptive, of a whole pass, as estimated"
    )
    spread_ratio: Ratio = Field(description="(max - min) / median over the repeats")
    repeats: PositiveInt = Field(description="adaptive: equal parts of what was measured, one after another")
    generated_tokens: PositiveInt = Field(description="over all repeats")
    measured_seconds: PositiveFinite = Field(description="over all repeats")
    batch_seconds_p50: PositiveFinite | None = Field(default=None, description="time of a sequence in the batch")
    batch_seconds_p95: PositiveFinite | None = None
    gpu_memory_peak_bytes: PositiveInt | None = Field(
        default=None, description="largest device, at any time so far; None after a larger batch whose peak hides it"
    )
    pad_ratio: Ratio | None = Field(default=None, description="padding / all input positions; hf-pipeline only")
    concurrency_peak: PositiveInt | None = Field(
        default=None, description="most sequences that ran at once, all repeats"
    )
    missing: dict[str, ShortReason] = Field(default_factory=dict, description="for each field that is None: its reason")
    window_seconds: tuple[NonNegativeFloat, NonNegativeFloat] | None = Field(
        default=None,
        description="start and end of the repeats, since the run's start, rounded to ms; None: an older runner",
    )
    mode: Literal["adaptive", "full"] = Field(default="full", description="how it was measured")
    interval_tokens_per_second: tuple[PositiveFinite, PositiveFinite] | None = Field(
        default=None, description="95 % interval of the throughput; None: unknown, as after a full measurement"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_long_names(cls, content: Any) -> Any:  # noqa: ANN401 - whatever is to be validated
        if not isinstance(content, dict) or _LONG_NAMES.keys().isdisjoint(content):
            return content
        content = {_LONG_NAMES.get(name, name): value for name, value in content.items()}
        missing = content.get("missing")
        if isinstance(missing, dict):
            content["missing"] = {_LONG_NAMES.get(name, name): reason for name, reason in missing.items()}
        return content

    @model_serializer(mode="wrap")
    def _without_default_mode(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write a full measurement as older runners did: eight of them share 4,096 bytes."""
        content: dict[str, Any] = serialize(self)
        if self.mode == "full":
            content.pop("mode", None)
        return content

    @model_validator(mode="after")
    def _absence_has_a_reason(self) -> Self:
        optional = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio")
        absent = {name for name in optional if getattr(self, name) is None}
        # Older runners did not report the concurrency, and gave no reason.
        explained = set(self.missing) - ({"concurrency_peak"} if self.concurrency_peak is None else set())
        if absent != explained:
            raise ValueError(f"missing must give a reason for exactly the absent fields {sorted(absent)}")
        return self

    @model_validator(mode="after")
    def _window_runs_forward(self) -> Self:
        if self.window_seconds is not None and self.window_seconds[0] > self.window_seconds[1]:
            raise ValueError(f"window_seconds must be (from, to) with from <= to, got {self.window_seconds}")
        return self


class Infeasible(ResultModel):
    """The configuration cannot work here: the search learns from it, and the trial is never retried."""

    outcome: Literal["infeasible"] = "infeasible"
    index: int = Field(ge=0)
    batch_size: PositiveInt
    reason: InfeasibleReason
    detail: Sentence = Field(default="", max_length=1000)
    phase: Literal["load", "measure"] | None = Field(
        default=None, description="when it failed: while the engine was loaded, or with the batch; None: not known"
    )


class RacedOut(ResultModel):
    """The trial ran long enough to show that it is slower than what it had to beat; its measurement then ended.

    The number is a bound for the search, and never a result that may be compared with a measurement.
    """

    outcome: Literal["raced-out"] = "raced-out"
    index: int = Field(ge=0)
    batch_size: PositiveInt
    throughput_tokens_per_second: PositiveFinite = Field(description="so far")
    at_most_tokens_per_second: PositiveFinite = Field(description="upper end of the interval of the throughput")
    to_beat_tokens_per_second: PositiveFinite = Field(
        description="from the run spec: it shows a reader of the result by what the trial was judged"
    )
    generated_tokens: PositiveInt = Field(
        description="over all blocks: it shows a reader of the result how much the bound rests on"
    )
    measured_seconds: PositiveFinite = Field(description="over all blocks")


class Skipped(ResultModel):
    """The run has not tried the trial: it was not worthwhile after what the run had measured, or the engine had ended.

    Nothing is known of its configuration, which stays open.
    """

    outcome: Literal["skipped"] = "skipped"
    index: int = Field(ge=0)
    batch_size: PositiveInt
    detail: Sentence = Field(default="", max_length=1000)


class Invalid(ResultModel):
    """The trial ran, but its number is not comparable: it is measured once more, longer; the search gets no number."""

    outcome: Literal["invalid"] = "invalid"
    index: int = Field(ge=0)
    batch_size: PositiveInt
    reason: InvalidReason
    detail: Sentence = Field(default="", max_length=1000)


TrialResult = Annotated[Measured | Infeasible | Invalid | RacedOut | Skipped, Field(discriminator="outcome")]


class Broken(ResultModel):
    """Why the missing trials were not measured. They are retried within a budget; the search never learns from it."""

    reason: BrokenReason
    detail: Sentence = Field(default="", max_length=2000)
    retry: Retry | None = Field(default=None, description="None: not known; the run is tried again within its budget")


class ModelFacts(ResultModel):
    """The engine's facts about the loaded model; they rule out impossible GPU counts without another run."""

    attention_heads: PositiveInt | None = None
    key_value_heads: PositiveInt | None = None
    parameters: PositiveInt | None = None
    weight_bytes: PositiveInt | None = None


class Provenance(ResultModel):
    """The software and hardware that the numbers of a run belong to."""

    engine: Name = Field(max_length=64)
    engine_version: Name | None = Field(default=None, max_length=64)
    torch_version: Name | None = Field(default=None, max_length=64)
    engine_args: dict[str, str | int | float | bool] = Field(default_factory=dict, description="as passed, pinned")
    device_mode: Name = Field(default="", max_length=64, description="for example tensor-parallel or device-map-auto")
    gpu_model: Name | None = Field(default=None, max_length=128)
    gpu_uuids: tuple[Name, ...] = ()
    driver_version: Name | None = Field(default=None, max_length=64)
    node: Name | None = Field(default=None, max_length=253)
    workload_hash: Name | None = Field(default=None, max_length=64)
    prompt_tokens_mean: PositiveFinite | None = None
    seed: int = 0


class RunResult(ResultModel):
    """Everything that one run found out; complete once `ended_at` is set."""

    contract_version: Literal[1] = 1
    run: str
    simulated: bool = Field(default=False, description="true: numbers are replayed, not measured")
    trials: tuple[TrialResult, ...] = ()
    model: ModelFacts | None = None
    load_seconds: NonNegativeFloat | None = Field(default=None, description="None: no engine was loaded")
    provenance: Provenance
    broken: Broken | None = None
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    held_seconds: NonNegativeFloat | None = Field(
        default=None, description="how long the ended run waited for a scrape; None: it did not wait"
    )
