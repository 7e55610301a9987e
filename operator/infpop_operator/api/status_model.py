"""The schema of `status`, which the operator and the local driver write.

Reading it ignores unknown keys and enforces no bounds, so that a status of another version stays readable after an
upgrade. Decimals are strings, because Kubernetes APIs should not use floats.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_GpuCount = Annotated[int, Field(description="GPUs (tensor-parallel size)")]
_BatchSize = Annotated[int, Field(description="concurrent sequences")]
_Extra = Annotated[dict[str, str] | None, Field(description="extra engine arguments that are searched over")]
_Interval = Annotated[
    str | None, Field(description="95 % interval of the throughput, such as 812 to 830; absent: not known")
]
_MeasuredSeconds = Annotated[
    str | None, Field(description="how long it was measured, without load and warm-up; absent in a row: in full")
]
_Mode = Annotated[str | None, Field(description="Adaptive: measured until it was precise enough; absent: in full")]
_ReusedFrom = Annotated[
    str | None, Field(description="study of this namespace that measured it, if this one took it over (spec.reuse)")
]


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

    gpu_count: _GpuCount
    batch_size: _BatchSize
    extra: _Extra = None
    throughput: str = Field(description="generated tokens per second")
    reused_from: _ReusedFrom = None


class Confirmed(StatusModel):
    """What a number is worth that was measured again on fresh engine loads."""

    loads: int = Field(description="engine loads whose mean the throughput is")
    interval: str | None = Field(default=None, description="95 % interval of their mean, such as 805 to 819")


class Confirmation(StatusModel):
    """How far a round is with measuring its best configurations again on fresh engine loads."""

    state: str = Field(description="Confirming, Confirmed or NotConfirmed")
    loads: int = Field(default=0, description="engine loads with a result so far")
    planned: int | None = Field(default=None, description="the most that it takes; absent once it has ended")
    reason: str | None = Field(default=None, description="why the best is not confirmed, as a CamelCase word")
    message: str | None = Field(default=None, description="what was found, or why the best is not confirmed")
    unchecked: str | None = Field(
        default=None, description="what was clearly better in the search than the confirmed best, and was not checked"
    )


class Best(StatusModel):
    """A recommended configuration with its measurements."""

    pool: str = Field(description="pool on which it was measured")
    round: int = Field(default=1, description="round of that pool in which it was measured")
    gpu_count: _GpuCount
    batch_size: _BatchSize
    extra: _Extra = None
    throughput: str = Field(description="generated tokens per second")
    throughput_per_gpu: str = Field(alias="throughputPerGPU", description="throughput / gpuCount")
    spread: str = Field(description="(max - min) / median of the repeats, or of equal parts if mode is Adaptive")
    repeats: int | None = Field(default=None, description="number of repeats; throughput is their median")
    interval: _Interval = None
    measured_seconds: _MeasuredSeconds = None
    mode: _Mode = None
    confirmed: Confirmed | None = Field(
        default=None, description="set if it was measured again: throughput is then the mean of these loads"
    )
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
    seconds_per_output_token: str | None = Field(
        default=None,
        description="seconds per output token of one sequence: median time in the batch / generated tokens; it includes"
        " the prefill, and no queueing before the batch; absent if the engine reports no times of sequences",
    )
    max_model_len: int | None = Field(
        default=None,
        description="context length that the engine was loaded with; a longer one leaves less memory for the KV cache",
    )
    tied_with: Tie | None = Field(
        default=None, description="configuration with a better value, within the noise of both, that needs more GPUs"
    )
    run: str = Field(description="run that measured it")
    reused_from: _ReusedFrom = None


class Published(Best):
    """What the study publishes, with its measurements; it may differ from the best, which must be clearly better."""

    model: str | None = Field(default=None, description="model that was measured")
    engine: str | None = Field(default=None, description="engine with which it was measured")
    image: str | None = Field(default=None, description="container image with which it was measured")
    gpu: str | None = Field(default=None, description="GPU model on which it was measured")
    at: AwareDatetime = Field(description="since when this result is published")
    reason: str = Field(description="why it is published, as a CamelCase word")
    message: str = Field(description="what it replaced and why, as text for the user")


class ParetoRow(StatusModel):
    """A configuration that no other one of its pool beats in both metrics by more than the noise."""

    pool: str = Field(description="pool on which it was measured")
    round: int = Field(description="round of that pool in which it was measured")
    gpu_count: _GpuCount
    batch_size: _BatchSize
    extra: _Extra = None
    value: str = Field(description="value of objective.metric, in its unit")
    second_value: str = Field(description="value of objective.secondMetric, in its unit")
    overall: bool = Field(default=True, description="whether no configuration of another pool beats it in both either")
    run: str = Field(description="run that measured it")
    reused_from: _ReusedFrom = None


class Baseline(StatusModel):
    """The configuration in use before this round, with its throughput in this round, or why it has none."""

    gpu_count: _GpuCount
    batch_size: _BatchSize
    extra: _Extra = None
    throughput: str | None = Field(default=None, description="generated tokens per second, as measured in this round")
    reason: str | None = Field(default=None, description="why it has no throughput in this round, as a CamelCase word")
    message: str | None = Field(default=None, description="details of the reason; shortened")
    reused_from: _ReusedFrom = None


class PoolChange(StatusModel):
    """What changed since the newest round of a pool began, while no new round has been opened for it."""

    reason: str = Field(description="HardwareChanged, SpecChanged or Requested")
    what: list[str] = Field(default_factory=list, description="what changed from what to what")
    since: AwareDatetime | None = Field(default=None, description="when the operator first saw it")
    retunes_at: AwareDatetime | None = Field(default=None, description="when a new round starts if it lasts until then")
    held_by: str | None = Field(default=None, description="why no new round starts, or only later")


class RoundBest(StatusModel):
    """The best configuration of a round."""

    gpu_count: _GpuCount
    batch_size: _BatchSize
    extra: _Extra = None
    throughput: str = Field(description="generated tokens per second on the hardware of the round")
    reused_from: _ReusedFrom = None


class RoundPublished(StatusModel):
    """The configuration of a round that the study has published last."""

    at: AwareDatetime = Field(description="from when on")
    reason: str = Field(description="why, as a CamelCase word")
    gpu_count: _GpuCount
    batch_size: _BatchSize
    extra: _Extra = None


class RoundRow(StatusModel):
    """One round: why it was opened, on which hardware, and what it found there."""

    pool: str = Field(description="pool of the round")
    round: int = Field(description="number of the round in its pool, from 1")
    opened_at: AwareDatetime | None = Field(
        default=None, description="when it began; unknown if an old version began it"
    )
    resumed_at: AwareDatetime | None = Field(
        default=None, description="when it last continued because its hardware came back"
    )
    reason: str | None = Field(default=None, description="FirstRound, HardwareChanged, SpecChanged or Requested")
    cause: list[str] | None = Field(default=None, description="what changed from what to what before it began")
    gpu: str | None = Field(default=None, description="GPU model of the round")
    image: str | None = Field(default=None, description="container image, or software with versions, of the round")
    baseline: Baseline | None = Field(default=None, description="configuration in use before the round")
    best: RoundBest | None = Field(default=None, description="best configuration of the round")
    improvement_percent: str | None = Field(
        default=None, description="improvement of the best over the baseline, both measured in this round"
    )
    improvement_reason: str | None = Field(
        default=None, description="why there is no improvementPercent, as a CamelCase word"
    )
    improvement_interval: str | None = Field(
        default=None,
        description="95 % interval of improvementPercent, such as 3.1 to 5.2, if both are of fresh loads",
    )
    published: RoundPublished | None = Field(default=None, description="what the study published of the round")
    trials: int = Field(default=0, description="trials of the round")
    gpu_hours: str = Field(default="0", description="GPU-hours of the ended runs of the round")


class TrialCounts(StatusModel):
    """The number of trials of a round in each state."""

    total: int = Field(description="all trials of the round")
    measured: int = Field(description="trials with a valid result")
    raced_out: int | None = Field(default=None, description="trials that ended early: slower than the best by then")
    infeasible: int = Field(description="trials of configurations that cannot work")
    invalid: int = Field(description="trials whose result must not be compared")
    broken: int = Field(description="trials whose run failed")
    running: int = Field(description="trials of live runs")
    reused: int | None = Field(default=None, description="trials among them that other studies measured")


class SetAside(StatusModel):
    """Configurations of a pool that are not tried now, because earlier runs showed that they have no chance."""

    gpu_count: int = Field(description="GPU count of the configurations")
    extra: dict[str, str] | None = Field(
        default=None, description="extra engine arguments of the configurations; absent: any"
    )
    min_batch_size: int | None = Field(default=None, description="their smallest batch size; absent: any batch size")
    reason: str = Field(description="why they are not tried now, as a CamelCase word")
    message: str | None = Field(default=None, description="why they are not tried now, as text for the user; shortened")
    attempts: int = Field(description="number of runs that had this result in a row")
    next_attempt: AwareDatetime | None = Field(
        default=None, description="when a run is due again; absent: one waits now, or none is due in this round"
    )


class PoolStatus(StatusModel):
    """The newest round of a pool, or why the pool was not tuned."""

    name: str = Field(description="name of the pool in spec.nodePools")
    gpu: str | None = Field(default=None, description="GPU model of the newest round; change has a newer one")
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
    improvement_reason: str | None = Field(
        default=None, description="why there is no improvementPercent, as a CamelCase word"
    )
    improvement_interval: str | None = Field(
        default=None,
        description="95 % interval of improvementPercent, such as 3.1 to 5.2, if both are of fresh loads",
    )
    change: PoolChange | None = Field(
        default=None, description="what changed since the newest round began, until a new round begins"
    )
    trials: TrialCounts | None = Field(default=None, description="trials of the newest round by state")
    gpu_hours: str = Field(default="0", description="GPU-hours of the pool's ended runs in all rounds")
    ended: str | None = Field(default=None, description="why this round's search ended")
    confirmation: Confirmation | None = Field(
        default=None, description="how far the round is with measuring its best again"
    )
    set_aside: list[SetAside] | None = Field(
        default=None, description="configurations that are not tried now, at most 32 entries"
    )


class LiveRun(StatusModel):
    """A run that is live now."""

    name: str = Field(description="name of the run and of its Job")
    pool: str = Field(description="pool on which the run is")
    gpu_count: int = Field(description="GPUs that the run holds or waits for")
    batch_sizes: list[int] = Field(description="batch sizes that the run measures, in this order")
    batch_size: int | None = Field(
        default=None, description="batch size that the run is measuring now, if it has several"
    )
    confirms: bool | None = Field(default=None, description="true: it measures one of the best configurations again")
    state: str = Field(description="phase of the run, or why it waits")
    message: str | None = Field(default=None, description="why it waits, as text for the user")
    since: AwareDatetime = Field(description="when it entered that state")


class TrialRow(StatusModel):
    """One trial."""

    pool: str = Field(description="pool of the trial")
    round: int = Field(description="round of that pool")
    index: int = Field(description="number of the trial in its round, from 0")
    gpu_count: _GpuCount
    batch_size: _BatchSize
    extra: _Extra = None
    state: str = Field(
        description="Running (status.runs says what its run does), Measured, RacedOut, Infeasible, Invalid or Broken"
    )
    reason: str | None = Field(
        default=None, description="why there is no result, or why it cannot be the best, as a CamelCase word"
    )
    message: str | None = Field(
        default=None, description="details of the reason, and which of spec.metrics are missing and why; shortened"
    )
    throughput: str | None = Field(default=None, description="generated tokens per second")
    throughput_at_most: str | None = Field(
        default=None, description="of a RacedOut trial: generated tokens per second that it does not exceed"
    )
    spread: str | None = Field(
        default=None, description="(max - min) / median of the repeats, or of equal parts if mode is Adaptive"
    )
    interval: _Interval = None
    measured_seconds: _MeasuredSeconds = None
    mode: _Mode = None
    while_loading: bool | None = Field(
        default=None, description="true: memory ran out while the engine was loaded, before any batch was tried"
    )
    seconds_per_output_token: str | None = Field(
        default=None, description="as in best; only if objective.secondMetric or a constraint is secondsPerOutputToken"
    )
    attempts: int = Field(description="number of attempts of the trial")
    last_failure: str | None = Field(
        default=None, description="why the last attempt failed, while the trial is being retried"
    )
    run: str = Field(description="newest run of the trial")
    reused_from: _ReusedFrom = None
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
    published: Published | None = Field(
        default=None, description="the configuration in the ConfigMap that spec.publish names"
    )
    pareto: list[ParetoRow] | None = Field(
        default=None,
        description="with objective.secondMetric: the Pareto front of each pool's newest round, the best by"
        " objective.metric first, at most 16 rows each",
    )
    pareto_dropped: int | None = Field(
        default=None, description="configurations on the front that have no row, because it is too long"
    )
    pools: list[PoolStatus] = Field(default_factory=list, description="the newest round of each pool")
    runs: list[LiveRun] = Field(default_factory=list, description="live runs, at most 64")
    trials: list[TrialRow] = Field(
        default_factory=list, description="trials of all rounds, at most 500; the oldest rounds are dropped first"
    )
    rounds: list[RoundRow] = Field(
        default_factory=list, description="history of the rounds, at most 32; the oldest are dropped first"
    )
    gpu_hours: str = Field(default="0", description="GPU-hours of all ended runs")
