"""The schema of `status`, which the operator and the local driver write.

Reading it ignores unknown keys and enforces no bounds, so that a status of another version stays readable after an
upgrade. Decimals are strings, because Kubernetes APIs should not use floats.
"""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class StatusModel(BaseModel):
    """Base of the status models: camelCase keys; unknown keys of another version are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True, populate_by_name=True)


class Condition(StatusModel):
    """A `metav1.Condition`."""

    type: str = Field(
        description="Accepted, Ready, Reconciling, Stalled, Succeeded, ResultStale, Suspended, PrometheusUnreachable "
        "or Published"
    )
    status: Literal["True", "False", "Unknown"] = Field(description="whether the condition holds")
    observed_generation: int | None = Field(
        default=None, description="metadata.generation that the condition describes"
    )
    reason: str = Field(description="why, as a CamelCase word")
    message: str = Field(description="why, as text for the user")
    last_transition_time: AwareDatetime = Field(description="when the status of the condition last changed")


class Tie(StatusModel):
    """A configuration with a better value than the best, within the noise of both."""

    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="concurrent sequences")
    extra: dict[str, str] | None = Field(default=None, description="extra engine arguments that were searched over")
    throughput: str = Field(description="generated tokens per second, median of the repeats")


class Best(StatusModel):
    """A recommended configuration with its measurements."""

    pool: str = Field(description="pool on which it was measured")
    round: int = Field(default=1, description="round of that pool in which it was measured")
    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="concurrent sequences")
    extra: dict[str, str] | None = Field(default=None, description="extra engine arguments that were searched over")
    throughput: str = Field(description="generated tokens per second, median of the repeats")
    throughput_per_gpu: str = Field(alias="throughputPerGPU", description="throughput / gpuCount")
    spread: str = Field(description="(max - min) / median of the repeats")
    repeats: int | None = Field(default=None, description="number of repeats; throughput is their median")
    cost_per_million_tokens: str | None = Field(
        default=None, description="in the currency of the pool's pricePerGPUHour"
    )
    engine_args: list[str] = Field(
        default_factory=list, description="command-line arguments of the engine to serve with this configuration"
    )
    metrics: dict[str, str] | None = Field(
        default=None, description="what spec.metrics asks for, by name, as far as it is known"
    )
    tokens_per_joule: str | None = Field(
        default=None, description="generated tokens per joule, if exactly one of spec.metrics is in watts"
    )
    max_model_len: int | None = Field(
        default=None,
        description="context length that the engine was loaded with; a longer one leaves less memory for the KV cache",
    )
    tied_with: Tie | None = Field(
        default=None, description="configuration with a better value, within the noise of both, that needs more GPUs"
    )
    run: str = Field(description="run that measured it")


class Baseline(StatusModel):
    """The configuration in use before this round, with its throughput if it was measured."""

    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="concurrent sequences")
    extra: dict[str, str] | None = Field(default=None, description="extra engine arguments that are searched over")
    throughput: str | None = Field(default=None, description="generated tokens per second, as measured in this round")


class TrialCounts(StatusModel):
    """The number of trials of a round in each state."""

    total: int = Field(description="all trials of the round")
    measured: int = Field(description="trials with a valid result")
    infeasible: int = Field(description="trials of configurations that cannot work")
    invalid: int = Field(description="trials whose result must not be compared")
    broken: int = Field(description="trials whose run failed")
    running: int = Field(description="trials of live runs")


class SetAside(StatusModel):
    """Configurations of a pool that are not tried now, because earlier runs of theirs had no chance."""

    gpu_count: int = Field(description="GPU count of the configurations")
    extra: dict[str, str] | None = Field(
        default=None, description="extra engine arguments of the configurations; absent: any"
    )
    reason: str = Field(description="why they are not tried now, as a CamelCase word")
    message: str | None = Field(default=None, description="why they are not tried now, as text for the user; shortened")
    attempts: int = Field(description="number of runs that had this result in a row")
    next_attempt: AwareDatetime | None = Field(
        default=None, description="when a run is due again; absent: one waits now, or none is due in this round"
    )


class PoolStatus(StatusModel):
    """The newest round of a pool, or why the pool was not tuned."""

    name: str = Field(description="name of the pool in spec.nodePools")
    gpu: str | None = Field(default=None, description="GPU model of the pool's nodes")
    nodes: int | None = Field(default=None, description="nodes that belong to the pool")
    gpus_per_node: int | None = Field(default=None, description="GPUs of the largest node")
    image: str | None = Field(
        default=None, description="container image, or software with versions, that the pool's runs use"
    )
    fingerprint: str | None = Field(default=None, description="identifies the hardware that the measurements belong to")
    reason: str | None = Field(default=None, description="why the pool waits or cannot be tuned, as a CamelCase word")
    message: str | None = Field(default=None, description="why the pool waits or cannot be tuned, as text for the user")
    round: int | None = Field(default=None, description="number of the newest round")
    identity: str | None = Field(default=None, description="identifies what is measured; a change starts a new round")
    best: Best | None = Field(default=None, description="best configuration of the newest round")
    baseline: Baseline | None = Field(default=None, description="configuration that the best is compared with")
    improvement_percent: str | None = Field(
        default=None, description="improvement of the best over the baseline, in percent"
    )
    trials: TrialCounts | None = Field(default=None, description="trials of the newest round by state")
    gpu_hours: str = Field(default="0", description="GPU-hours of the pool's ended runs in all rounds")
    ended: str | None = Field(default=None, description="why this round's search ended")
    set_aside: list[SetAside] | None = Field(
        default=None, description="configurations that are not tried now, at most 32 entries"
    )


class LiveRun(StatusModel):
    """A run that is live now."""

    name: str = Field(description="name of the run and of its Job")
    pool: str = Field(description="pool on which the run is")
    gpu_count: int = Field(description="GPUs that the run holds or waits for")
    batch_sizes: list[int] = Field(description="batch sizes that the run measures")
    batch_size: int | None = Field(
        default=None, description="batch size that the run is measuring now, if it has several"
    )
    state: str = Field(description="phase of the run, or why it waits")
    message: str | None = Field(default=None, description="why it waits, as text for the user")
    since: AwareDatetime = Field(description="when it entered that state")


class TrialRow(StatusModel):
    """One trial."""

    pool: str = Field(description="pool of the trial")
    round: int = Field(description="round of that pool")
    index: int = Field(description="number of the trial in its round, from 0")
    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="concurrent sequences")
    extra: dict[str, str] | None = Field(default=None, description="extra engine arguments that are searched over")
    state: str = Field(description="Running, Measured, Infeasible, Invalid or Broken")
    reason: str | None = Field(
        default=None, description="why there is no result, or why it cannot be the best, as a CamelCase word"
    )
    message: str | None = Field(
        default=None, description="details of the reason, and which of spec.metrics are missing and why; shortened"
    )
    throughput: str | None = Field(default=None, description="generated tokens per second, median of the repeats")
    spread: str | None = Field(default=None, description="(max - min) / median of the repeats")
    attempts: int = Field(description="number of attempts of the trial")
    last_failure: str | None = Field(
        default=None, description="why the last attempt failed, while the trial is being retried"
    )
    run: str = Field(description="newest run of the trial")
    source: str | None = Field(
        default=None, description="source of the throughput: RunResult, Simulated or the name of a metrics source"
    )
    metrics: dict[str, str] | None = Field(
        default=None, description="what spec.metrics asks for, by name, as far as it is known"
    )


class StudyStatus(StatusModel):
    """The whole status of a study."""

    observed_generation: int | None = Field(
        default=None, description="metadata.generation of the spec that this status describes"
    )
    simulated: bool = Field(default=False, description="true: the results are replayed, not measured")
    conditions: list[Condition] = Field(default_factory=list, description="state of the study, and why")
    progress: str | None = Field(default=None, description="finished trials / maximum trials, over all pools")
    attention_heads: int | None = Field(
        default=None, description="attention heads of the model, if known; they rule out GPU counts"
    )
    best: Best | None = Field(default=None, description="the recommended configuration")
    pools: list[PoolStatus] = Field(default_factory=list, description="the newest round of each pool")
    runs: list[LiveRun] = Field(default_factory=list, description="live runs, at most 64")
    trials: list[TrialRow] = Field(
        default_factory=list, description="trials of all rounds, at most 500; the oldest rounds are dropped first"
    )
    gpu_hours: str = Field(default="0", description="GPU-hours of all ended runs")
