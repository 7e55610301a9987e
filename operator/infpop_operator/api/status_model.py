"""The shape of `status`: what the operator and the local driver write and everybody reads.

Read back with unknown keys ignored, and without bounds, so that an upgrade is no outage. Decimals are strings:
Kubernetes APIs carry no floats.
"""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class StatusModel(BaseModel):
    """Base of the status: camelCase keys, unknown keys of another version are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True, populate_by_name=True)


class Condition(StatusModel):
    """A `metav1.Condition`."""

    type: str = Field(
        description="Accepted, Ready, Reconciling, Stalled, Succeeded, ResultStale, Suspended or PrometheusUnreachable"
    )
    status: Literal["True", "False", "Unknown"] = Field(description="whether the condition holds")
    observed_generation: int | None = Field(default=None, description="metadata.generation that the condition tells of")
    reason: str = Field(description="why, as one word in CamelCase")
    message: str = Field(description="why, for a person")
    last_transition_time: AwareDatetime = Field(description="when status changed last")


class Tie(StatusModel):
    """A configuration whose value is higher than that of the best, by no more than the noise."""

    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="sequences at once")
    extra: dict[str, str] | None = Field(default=None, description="further engine arguments that were searched over")
    throughput: str = Field(description="generated tokens per second, median of the repeats")


class Best(StatusModel):
    """A recommended configuration with what was measured for it."""

    pool: str = Field(description="pool whose nodes it was measured on")
    round: int = Field(default=1, description="round of that pool in which it was measured")
    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="sequences at once")
    extra: dict[str, str] | None = Field(default=None, description="further engine arguments that were searched over")
    throughput: str = Field(description="generated tokens per second, median of the repeats")
    throughput_per_gpu: str = Field(alias="throughputPerGPU", description="throughput / gpuCount")
    spread: str = Field(description="(max - min) / median of the repeats")
    repeats: int | None = Field(default=None, description="repeats whose median the throughput is")
    cost_per_million_tokens: str | None = Field(
        default=None, description="in the currency of the pool's pricePerGPUHour"
    )
    engine_args: list[str] = Field(
        default_factory=list, description="command-line arguments that serve with this configuration"
    )
    metrics: dict[str, str] | None = Field(
        default=None, description="what spec.metrics asks for, by name, as far as it is known"
    )
    tokens_per_joule: str | None = Field(
        default=None, description="generated tokens per joule, where exactly one of spec.metrics is in watts"
    )
    max_model_len: int | None = Field(
        default=None,
        description="context length that the engine was loaded with; a longer one leaves less room",
    )
    tied_with: Tie | None = Field(
        default=None, description="configuration with a higher value that needs more GPUs, within the noise of both"
    )
    run: str = Field(description="run that measured it")


class Baseline(StatusModel):
    """The configuration in use before this round, with its measured throughput where there is one."""

    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="sequences at once")
    extra: dict[str, str] | None = Field(default=None, description="further engine arguments that are searched over")
    throughput: str | None = Field(default=None, description="generated tokens per second, as measured in this round")


class TrialCounts(StatusModel):
    """How many trials of a round stand where."""

    total: int = Field(description="all trials of the round")
    measured: int = Field(description="trials with a number")
    infeasible: int = Field(description="trials of configurations that cannot work")
    invalid: int = Field(description="trials whose number must not be compared")
    broken: int = Field(description="trials whose run failed")
    running: int = Field(description="trials of live runs")


class PoolStatus(StatusModel):
    """One pool's newest round; of a pool that was never tuned, why not."""

    name: str = Field(description="name of the pool in spec.nodePools")
    gpu: str | None = Field(default=None, description="GPU model of the pool's nodes")
    nodes: int | None = Field(default=None, description="nodes that belong to the pool")
    gpus_per_node: int | None = Field(default=None, description="GPUs of the largest node")
    image: str | None = Field(default=None, description="container image, or software with versions, that measures")
    fingerprint: str | None = Field(default=None, description="identifies the hardware that the numbers belong to")
    reason: str | None = Field(default=None, description="why the pool waits or cannot be tuned, as one word")
    message: str | None = Field(default=None, description="why the pool waits or cannot be tuned, for a person")
    round: int | None = Field(default=None, description="number of the newest round")
    identity: str | None = Field(default=None, description="identifies what is measured; a change opens a round")
    best: Best | None = Field(default=None, description="best configuration of the newest round")
    baseline: Baseline | None = Field(default=None, description="configuration that the best is compared with")
    improvement_percent: str | None = Field(default=None, description="gain of the best over the baseline")
    trials: TrialCounts | None = Field(default=None, description="trials of the newest round by state")
    gpu_hours: str = Field(default="0", description="GPU-hours of the pool's ended runs, all rounds")
    ended: str | None = Field(default=None, description="why this round's search ended")


class LiveRun(StatusModel):
    """A run that lives now."""

    name: str = Field(description="name of the run and of its Job")
    pool: str = Field(description="pool that the run is on")
    gpu_count: int = Field(description="GPUs that the run holds or waits for")
    batch_sizes: list[int] = Field(description="batch sizes that the run measures")
    batch_size: int | None = Field(
        default=None, description="the batch size that the run works on, where it has several"
    )
    state: str = Field(description="phase of the run, or why it waits")
    message: str | None = Field(default=None, description="why it waits, for a person")
    since: AwareDatetime = Field(description="since when it is in that state")


class TrialRow(StatusModel):
    """One trial."""

    pool: str = Field(description="pool of the trial")
    round: int = Field(description="round of that pool")
    index: int = Field(description="number of the trial in its round, from 0")
    gpu_count: int = Field(description="GPUs (tensor-parallel size)")
    batch_size: int = Field(description="sequences at once")
    extra: dict[str, str] | None = Field(default=None, description="further engine arguments that are searched over")
    state: str = Field(description="Running, Measured, Infeasible, Invalid or Broken")
    reason: str | None = Field(
        default=None, description="why there is no number, or why it cannot be the best, as one word"
    )
    message: str | None = Field(
        default=None, description="the same for a person, and which of spec.metrics are missing and why; cut short"
    )
    throughput: str | None = Field(default=None, description="generated tokens per second, median of the repeats")
    spread: str | None = Field(default=None, description="(max - min) / median of the repeats")
    attempts: int = Field(description="how often the trial was tried")
    last_failure: str | None = Field(
        default=None, description="of a trial that runs again: why its last attempt gave no number"
    )
    run: str = Field(description="newest run of the trial")
    source: str | None = Field(default=None, description="where the number came from")
    metrics: dict[str, str] | None = Field(
        default=None, description="what spec.metrics asks for, by name, as far as it is known"
    )


class StudyStatus(StatusModel):
    """The whole status of a study."""

    observed_generation: int | None = Field(
        default=None, description="metadata.generation of the spec that this status tells of"
    )
    simulated: bool = Field(default=False, description="true: the numbers are replayed, not measured")
    conditions: list[Condition] = Field(default_factory=list, description="where the study stands, and why")
    progress: str | None = Field(default=None, description="trials done / trials at most, over all pools")
    attention_heads: int | None = Field(
        default=None, description="attention heads of the model, where known; they rule out GPU counts"
    )
    best: Best | None = Field(default=None, description="the recommended configuration")
    pools: list[PoolStatus] = Field(default_factory=list, description="the newest round of each pool")
    runs: list[LiveRun] = Field(default_factory=list, description="runs that live now, 64 at most")
    trials: list[TrialRow] = Field(
        default_factory=list, description="trials of all rounds, 500 at most; the oldest rounds are left out first"
    )
    gpu_hours: str = Field(default="0", description="GPU-hours of all runs that ended")
