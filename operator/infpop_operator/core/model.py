"""The course of a study: trial, run, round, observation and history as immutable values.

All types compare by value. Trial results come from the contract (`Measured`, `Infeasible`, `Invalid`). What is observed
of a run, including that it ended without a result, is an `Observation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from infpop_operator.core.study import Configuration, Pool, Scalar
from infpop_runner.contract import (
    Infeasible,
    Invalid,
    Measured,
    RacedOut,
    RunResult,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial that a run is to measure.

    `needs_tokens_per_second` is the throughput that an earlier trial of the run must have reached, None: always.
    """

    index: int
    configuration: Configuration
    needs_tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One engine load. `name` is a function of all other fields, so planning the same run twice gives the same name.

    `attempt` counts from 1 and increases when a broken run is retried. `longer` requests a longer measurement after an
    invalid result. A run `in_order` measures its trials in the order given, any other one in that of their batch sizes.
    A run that `confirms` measures a configuration once more that the search has measured already.
    `to_beat_tokens_per_second` is the throughput that makes another configuration better than each of its trials,
    None if that is unknown.
    """

    name: str
    pool: str
    round: int
    attempt: int
    trials: tuple[PlannedTrial, ...]
    longer: bool = False
    in_order: bool = False
    confirms: bool = False
    to_beat_tokens_per_second: float | None = None

    @property
    def gpu_count(self) -> int:
        """Devices that the run holds while it is live."""
        return self.trials[0].configuration.gpu_count

    @property
    def sequence(self) -> tuple[PlannedTrial, ...]:
        """The trials in the order in which the runner measures them."""
        if self.in_order:
            return self.trials
        return tuple(sorted(self.trials, key=lambda trial: trial.configuration.batch_size))


class Phase(StrEnum):
    """The phase of a live run; each phase has its own timeout."""

    STARTING = "Starting"
    LOADING = "ModelLoading"
    WARMING_UP = "WarmingUp"
    MEASURING = "Measuring"
    DONE = "Done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The run exists but makes no progress; `reason` says why."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The run is live and in `phase`; `trial_index` is the trial that it is measuring, where known."""

    phase: Phase
    trial_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The throughput that a metrics source reports for a trial."""

    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A metrics source has no value for a trial; `reason` says why."""

    reason: str


Sample = Value | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRun:
    """The run that a metrics source is queried for, and when it was live; `pod` is None outside a cluster.

    `gpu_count` is the number of devices that it held, None if that is unknown. `trials` are the indexes of the trials
    that have a value to report. The source returns `Missing` for each of them that it does not know.
    """

    namespace: str
    study: str
    run: str
    pod: str | None
    started_at: datetime
    ended_at: datetime
    gpu_count: int | None = None
    trials: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run ended with a result; trials missing from the result are broken for the reason in `result.broken`.

    `sources` maps a trial's index to the metrics source of its value; a trial that is absent has its value from the
    result alone. `missing_sources` maps the name of each source that had no value to the reason. `extra_metrics` are
    the study's own metrics, by trial index and name; a metric that is absent was not queried.
    """

    result: RunResult
    ended_at: datetime
    sources: Mapping[int, str] = field(default_factory=dict)
    missing_sources: Mapping[str, str] = field(default_factory=dict)
    extra_metrics: Mapping[int, Mapping[str, float | Missing]] = field(default_factory=dict)


INTERRUPTED = "Interrupted"  # the reason of a run that the user interrupted
NO_ROOM = "NoRoom"  # the reason of a study whose next run currently fits on no node
QUEUED = "Queued"  # the reason of a run that a queue holds back
SCALING_UP = "ScalingUp"  # the reason of a run or pool that waits for a node from an autoscaler
SCALED_TO_ZERO = "ScaledToZero"  # the reason of a pool without nodes for which an autoscaler adds one when a run starts
UNEXPECTED_GPU = "UnexpectedGPU"  # the reason of a run for which an autoscaler added a node with other GPUs
SUSPENDED = "Suspended"  # the reason of a run, and of a study, that the user suspended
DEADLINE_REACHED = "DeadlineReached"  # the reason of a run, and of a study, whose deadline has passed
GPU_HOURS_SPENT = "GPUHoursSpent"  # the reason of a run, and of a study, whose GPU-hours are spent
BUDGET_LOWERED = "BudgetLowered"  # the reason of a run above a limit of GPUs that was lowered while it ran
# The reasons of trials that somebody, or the study itself, stopped: not failures.
ENDED_ON_REQUEST = frozenset({INTERRUPTED, "Stopped", SUSPENDED, DEADLINE_REACHED, GPU_HOURS_SPENT, BUDGET_LOWERED})
HELD = "GPUsHeld"  # the reason of a study whose next run waits for GPUs that no live run of it should hold
DELETED = "Deleted"  # the reason of a run whose Job a user deleted
NODE_REFUSED = "NodeRefused"  # the reason of a run whose Pod its node did not admit
POOL_CHANGED = "PoolChanged"  # the trigger of a round: other hardware
SPEC_CHANGED = "SpecChanged"  # the trigger of a round: the user changed what is measured
REQUESTED = "Requested"  # the trigger of a round: the user set the retune annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The run ended, or vanished, without a result. The infrastructure failed, so this is not a data point.

    `counts` is False where the study did not cause the loss (preemption, an interrupt by the user): such a run is
    retried without using the failure budget. `node` is the node that refused the run, None where no node did.
    """

    reason: str
    detail: str = ""
    ended_at: datetime
    counts: bool = True
    node: str | None = None


Observation = Waiting | Running | Finished | Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """A run that was started and has not been observed to end.

    `started_at` is when its start was recorded. `held_since` is when it began to hold its devices, None before that.
    `stopping` is the reason why the study stops the run, None while the study wants it. A stopping run stays active,
    and keeps its devices and its place in the budget, until its end is observed.
    """

    run: Run
    started_at: datetime
    held_since: datetime | None = None
    stopping: str | None = None
    stopping_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGPUs:
    """GPUs that are held for a run, whether it is live or has ended.

    `run` and `pool` are None if they are not known. `holder` says for the user what holds them.
    """

    run: str | None
    pool: str | None
    gpu_count: int
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The study of the same namespace that measured a reused trial, and its run that did."""

    study: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that ended, with its result or the reason why it has none.

    `held_since` is when the run began to hold its devices, or when it ended if it never held any. It is None in
    journals written before this field existed; their `started_at` holds that time. `stopped` is the reason why the
    study stopped the run (a budget, a pause), None where the run ended by itself.

    `reused_from` is set if this study did not make the run but took its trials over from another one: `started_at` is
    when it did so, the run held no device of this study, and `run.name` is the name of this record, not of a Job.
    """

    run: Run
    started_at: datetime
    observation: Finished | Lost
    stopped: str | None = None
    held_since: datetime | None = None
    reused_from: Origin | None = None

    @property
    def gpu_seconds(self) -> float:
        """Device-seconds that the run used, until its end."""
        since = self.started_at if self.held_since is None else self.held_since
        return max(0.0, (self.observation.ended_at - since).total_seconds()) * self.run.gpu_count


UNSEEN = "unseen"  # the fingerprint of a pool that has had no node yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The last known hardware of a pool, kept while its nodes are away; the fields mean the same as in `Pool`."""

    fingerprint: str
    gpu_model: str | None = None
    device_count: int | None = None
    gpu_memory_mib: int | None = None
    compute_capability: str | None = None
    driver_major: str | None = None
    mig: str | None = None

    @classmethod
    def of(cls, pool: Pool) -> Self:
        """Return the hardware of `pool`."""
        return cls(**{name: getattr(pool, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The engine and model settings of a study from which engine arguments are built.

    `gpu_memory_utilization` is None where the devices are CPUs.
    """

    name: Literal["vllm", "hf-pipeline", "simulated"]
    max_num_batched_tokens: int
    gpu_memory_utilization: float | None = None
    enforce_eager: bool = False
    args: tuple[tuple[str, Scalar], ...] = ()
    dtype: str = "auto"
    revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolChange:
    """A change of what a pool's measurements belong to, that its newest round does not have yet.

    `identity` is the measurement identity now, `hardware` the fingerprint of the pool's hardware now, and `since` when
    that hardware was first observed. `what` says in words for the user what changed from what to what, one entry per
    fact. `seen` is all that is known of the hardware: its nodes may be away again before their round starts.
    """

    identity: str
    hardware: str
    what: tuple[str, ...]
    since: datetime
    seen: Hardware | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The trial of a round whose configuration the study publishes from `at` on; `reason` and `detail` say why.

    The newest record of all rounds of a study says what is published now. `model` and `software` are what the round
    measured, None if that is unknown: until a new round has a result, the study may already have others.
    """

    index: int
    configuration: Configuration
    at: datetime
    reason: str
    detail: str = ""
    model: str | None = None
    software: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One search on one pool for one measurement identity.

    `baseline` is the configuration in use when the round began; `core.scope` determines the current baseline.
    `hardware` is the pool's last observed hardware, `engine` the settings with which the round's trials were measured.
    Both are None in a round that an earlier version opened, until the round is the newest and the pool's nodes are
    observed. `before` is the identity with which the round was opened, if its hardware was known only later.

    `change` is set while the pool no longer has the round's identity and no newer round has been opened. `resumed`
    counts how often the round became the newest again, because what it measured came back: then `cause` and `trigger`
    are those of its last return, and `runs_before_return` is how many of its runs had ended by then. `trigger` is one
    of the constants of this module, None in a pool's first round. `pool_changes` are the times within a day before the
    round at which changed hardware opened or resumed a round of its pool, itself included. With `confirms` its best
    are measured again once its search has ended: what the spec asked for while the search went on. A round of an
    earlier version lacks all of these.
    """

    pool: str
    number: int
    identity: str
    baseline: Configuration | None = None
    hardware: Hardware | None = None
    engine: EngineSettings | None = None
    before: str | None = None
    opened_at: datetime | None = None
    cause: tuple[str, ...] = ()  # what changed since the round before, in words; empty in a pool's first round
    subject: tuple[tuple[str, str], ...] = ()  # the facts that the identity is made of, in words, by name
    change: PoolChange | None = None
    resumed: int = 0
    resumed_at: datetime | None = None
    runs_before_return: int = 0
    requested: str | None = None  # the last value of the retune annotation that the round has taken into account
    trigger: str | None = None
    pool_changes: tuple[datetime, ...] = ()
    published: Published | None = None
    confirms: bool = False

    @property
    def other_hardware_since(self) -> datetime | None:
        """Since when the pool is known to have other hardware than the round, None while it has not."""
        known = None if self.hardware is None else self.hardware.fingerprint
        return None if self.change is None or self.change.hardware == known else self.change.since


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The full record of a study: its rounds and runs in the order in which they began or ended.

    The newest round of a pool is the last of its entries in `rounds`.
    """

    started_at: datetime
    rounds: tuple[Round, ...] = ()
    ended: tuple[EndedRun, ...] = ()
    active: tuple[StartedRun, ...] = ()


class TrialState(StrEnum):
    """The current state of a trial."""

    RUNNING = "Running"
    MEASURED = "Measured"
    INFEASIBLE = "Infeasible"
    RACED_OUT = "RacedOut"
    INVALID = "Invalid"
    BROKEN = "Broken"


HAS_WORKED = (TrialState.MEASURED, TrialState.RACED_OUT)  # what is known of it is about its throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """What the number of a trial is worth that was measured again on fresh engine loads.

    `error_ratio` is the standard error of its objective value, relative to it, and `degrees_of_freedom` says how well
    that is known.
    """

    loads: int
    error_ratio: float
    degrees_of_freedom: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial as derived from the history: its last result, and how often it was attempted.

    `result` is None while the trial is running or broken; `reason` and `detail` say why a trial has no value.
    `failures` counts broken attempts that use the failure budget, `attempts` counts all of them. `source` names the
    metrics source of the value, None where the value comes from the run's result. `extra_metrics` are the study's own
    metrics by name, each a number or the reason why it is missing. `confirmed` is set if `result` is not that of the
    search, but of the loads that confirmed it.
    """

    pool: str
    round: int
    index: int
    configuration: Configuration
    state: TrialState
    run: str
    attempts: int
    failures: int
    invalid_results: int = 0
    result: Measured | Infeasible | RacedOut | Invalid | None = None
    source: str | None = None
    extra_metrics: Mapping[str, float | Missing] = field(default_factory=dict)
    reason: str | None = None
    detail: str = ""
    reused_from: Origin | None = None  # what measured it, None for this study
    confirmed: Confirmed | None = None
