"""The shape of `status`: what the operator and the local driver write and everybody reads.

Read back with unknown keys ignored, so that an upgrade is no outage. Decimals are strings: Kubernetes APIs carry no
floats.
"""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class StatusModel(BaseModel):
    """Base of the status: camelCase keys, unknown keys of another version are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True, populate_by_name=True)


class Condition(StatusModel):
    """A `metav1.Condition`."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: AwareDatetime


class Best(StatusModel):
    """A recommended configuration with what was measured for it."""

    pool: str
    gpu_count: int
    batch_size: int
    extra: dict[str, str] | None = None
    throughput: str = Field(description="generated tokens per second, median of the repeats")
    throughput_per_gpu: str = Field(alias="throughputPerGPU")
    spread: str = Field(description="(max - min) / median of the repeats")
    cost_per_million_tokens: str | None = None
    engine_args: list[str]
    run: str


class Baseline(StatusModel):
    """The configuration in use before this round, with its measured throughput where there is one."""

    gpu_count: int
    batch_size: int
    throughput: str | None = None


class TrialCounts(StatusModel):
    """How many trials of a round stand where."""

    total: int
    measured: int
    infeasible: int
    invalid: int
    broken: int
    running: int


class PoolStatus(StatusModel):
    """One pool's newest round."""

    name: str
    gpu: str | None = None
    fingerprint: str
    round: int
    identity: str
    best: Best | None = None
    baseline: Baseline | None = None
    improvement_percent: str | None = None
    trials: TrialCounts
    gpu_hours: str
    ended: str | None = Field(default=None, description="why this round's search ended")


class TrialRow(StatusModel):
    """One trial."""

    pool: str
    round: int
    index: int
    gpu_count: int
    batch_size: int
    extra: dict[str, str] | None = None
    state: str
    reason: str | None = None
    throughput: str | None = None
    spread: str | None = None
    attempts: int
    run: str
    source: str | None = Field(default=None, description="where the number came from")


class StudyStatus(StatusModel):
    """The whole status of a study."""

    observed_generation: int | None = None
    simulated: bool = Field(default=False, description="true: the numbers are replayed, not measured")
    conditions: list[Condition] = Field(default_factory=list)
    best: Best | None = None
    pools: list[PoolStatus] = Field(default_factory=list)
    trials: list[TrialRow] = Field(default_factory=list)
    gpu_hours: str = "0"
