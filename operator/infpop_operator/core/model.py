"""The words of the design as values: study, pool, trial, run, round, observation, history, decision.

Everything here is immutable and compared by value. Results of trials are the contract's own (`Measured`, `Infeasible`,
`Invalid`); what happened to a run that gave no result is an `Observation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, get_args

from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_runner.contract import (
    EngineSpec,
    Infeasible,
    Invalid,
    Measured,
    MeasurementSpec,
    ModelFacts,
    ModelSpec,
    RunResult,
    WorkloadSpec,
)

Scalar = str | int | float | bool
AlgorithmName = Literal["tpe", "anneal", "random", "grid"]
Metric = Literal["throughput", "throughputPerGPU", "costPerMillionTokens", "tokensPerJoule"]
ConstraintMetric = Literal["batchSecondsP50", "batchSecondsP95", "gpuMemoryPeakBytes", "spread", "throughputPerGPU"]
METRICS: tuple[Metric, ...] = get_args(Metric)
CONSTRAINT_METRICS: tuple[ConstraintMetric, ...] = get_args(ConstraintMetric)
Goal = Literal["Maximize", "Minimize"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Configuration:
    """One cell of the search space. `extra` holds further load-time engine arguments, sorted by name."""

    gpu_count: int
    batch_size: int
    extra: tuple[tuple[str, Scalar], ...] = ()

    @property
    def load_key(self) -> tuple[int, tuple[tuple[str, Scalar], ...]]:
        """What fixes an engine load: configurations with the same key can share a run."""
        return (self.gpu_count, self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraParameter:
    """A further dimension of the space: an engine argument and the values to try, in order."""

    name: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The cells to choose from: ascending, without repeats."""

    gpu_counts: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    extra: tuple[ExtraParameter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A bound that a measured configuration must keep to be eligible as the best. Data, never an expression.

    `metric` is a `ConstraintMetric` or the name of one of the study's own metrics.
    """

    metric: str
    maximum: float | None = None
    minimum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What "fastest" means for this study.

    `metric` is a `Metric` or the name of one of the study's own metrics, which alone has a `goal`. `power_metric` names
    the only one of them that is in watts, None where there is no such one; `tokensPerJoule` needs it.
    """

    metric: str = "throughput"
    constraints: tuple[Constraint, ...] = ()
    goal: Goal | None = None
    power_metric: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """How the next configuration is chosen, and how many share one engine load."""

    name: AlgorithmName = "tpe"
    seed: int = 0
    trials_per_run: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """Stop a round when `trials` ended trials in a row improved its best by less than `improvement_ratio`."""

    trials: int
    improvement_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the study may spend. `max_trials` holds per pool and round, everything else for the whole study."""

    max_trials: int = 20
    parallel_trials: int = 1
    max_concurrent_gpus: int = 8
    max_failed_trials: int = 5
    max_gpu_hours: float | None = None
    deadline: timedelta | None = None
    plateau: Plateau | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A set of like nodes (or this machine) and what was seen of its hardware.

    `fingerprint` identifies the hardware that measurements belong to, `software` names the engine that runs there with
    its versions ("vllm 0.32.0, torch 2.13.0", or a container image); empty where numbers are replayed. `device_count`
    is the most devices that one run can have, None while unknown. `cpu_millicores` and `memory_bytes` are what each run
    is given of its node, None where the study does not say.
    """

    name: str
    device: Literal["cuda", "cpu"]
    fingerprint: str
    software: str = ""
    gpu_model: str | None = None
    device_count: int | None = None
    total_device_count: int | None = None
    price_per_gpu_hour: float | None = None
    cpu_millicores: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A whole study, parsed, checked and joined with what is known of its pools.

    The fingerprints identify what is in the model and in the prompts, wherever they are read from. While `suspended`,
    nothing is started and what runs is ended.
    """

    key: str
    namespace: str
    name: str
    model: ModelSpec
    engine: EngineSpec
    workload: WorkloadSpec
    space: SearchSpace
    objective: Objective
    algorithm: Algorithm
    budget: Budget
    measurement: MeasurementSpec
    pools: tuple[Pool, ...]
    model_fingerprint: str
    workload_fingerprint: str
    baseline: Configuration | None = None
    model_facts: ModelFacts | None = None  # from the model's config.json, before anything ran
    suspended: bool = False
    metrics: tuple[ExtraMetric, ...] = ()  # what other exporters are asked of each trial


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial as its run is to carry it out."""

    index: int
    configuration: Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One engine load. `name` is a function of everything else here, so planning it twice names it the same.

    `attempt` counts from 1 and grows when a broken run is tried again; `longer` asks for a longer measurement after an
    invalid result.
    """

    name: str
    pool: str
    round: int
    attempt: int
    trials: tuple[PlannedTrial, ...]
    longer: bool = False

    @property
    def gpu_count(self) -> int:
        """Devices that the run holds while it lives."""
        return self.trials[0].configuration.gpu_count


class Phase(StrEnum):
    """Where a live run is; each phase has a time-out of its own."""

    STARTING = "Starting"
    LOADING = "ModelLoading"
    WARMING_UP = "WarmingUp"
    MEASURING = "Measuring"
    DONE = "Done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The run exists and does not progress; `reason` says why."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The run lives and is in `phase`; `trial_index` is the trial it works on, where known."""

    phase: Phase
    trial_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A throughput that a metrics source has of a trial."""

    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A metrics source has no number of a trial, and why."""

    reason: str


Sample = Value | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRun:
    """Which run a metrics source is asked about, and when it lived; `pod` is None outside a cluster.

    `trials` are the indexes of those that have a number to be seen: what a source does not know of them is `Missing`.
    """

    namespace: str
    study: str
    run: str
    pod: str | None
    started_at: datetime
    ended_at: datetime
    trials: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run ended and said what it found; trials missing from the result are broken for `result.broken`'s reason.

    `sources` says of a trial, by its index, which metrics source gave its number; one that is not in it has it from the
    result alone. `unanswered` says of each source that could not tell a number why, by its name. `figures` are the
    study's further metrics, by trial index and name; one that is not in it was not asked for.
    """

    result: RunResult
    ended_at: datetime
    sources: Mapping[int, str] = field(default_factory=dict)
    missing_sources: Mapping[str, str] = field(default_factory=dict)
    extra_metrics: Mapping[int, Mapping[str, float | Missing]] = field(default_factory=dict)


INTERRUPTED = "Interrupted"  # the reason of a run that its user ended
NO_ROOM = "NoRoom"  # the reason of a study whose next run fits on no node just now
DELETED = "Deleted"  # the reason of a run that somebody removed from the cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The run ended, or vanished, without a result: broken infrastructure, nobody's data point.

    `counts` is False where the loss is not the study's fault (preemption, the user's own interrupt): such a run is
    tried again without using the failure budget.
    """

    reason: str
    detail: str = ""
    ended_at: datetime
    counts: bool = True


Observation = Waiting | Running | Finished | Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """A run that was started and has not been observed to end.

    `started_at` is when its start was recorded. `held_since` is when it began to hold its devices, None before that.
    `stopping` is the reason for which the study ends the run, None while the study wants it. A run that is stopping
    stays active, and holds its devices and its place in the budget, until its end is observed.
    """

    run: Run
    started_at: datetime
    held_since: datetime | None = None
    stopping: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that ended, with everything it found out or the reason why it found nothing.

    `held_since` is when the run began to hold its devices: its end where it never held any. A journal written before
    this field existed lacks it, and its `started_at` has that time. `stopped` is the reason for which the study ended
    the run (a budget, a pause), None where it ended by itself.
    """

    run: Run
    started_at: datetime
    observation: Finished | Lost
    stopped: str | None = None
    held_since: datetime | None = None

    @property
    def gpu_seconds(self) -> float:
        """Device-seconds that the run held, until its end."""
        since = self.started_at if self.held_since is None else self.held_since
        return max(0.0, (self.observation.ended_at - since).total_seconds()) * self.run.gpu_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One search on one pool for one measurement identity.

    `baseline` is the configuration in use when it began. `core.scope` says what counts as the baseline now.
    """

    pool: str
    number: int
    identity: str
    baseline: Configuration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that a study remembers: its rounds and runs in the order in which they began or ended."""

    started_at: datetime
    rounds: tuple[Round, ...] = ()
    ended: tuple[EndedRun, ...] = ()
    active: tuple[StartedRun, ...] = ()


class TrialState(StrEnum):
    """What is known of a trial now."""

    RUNNING = "Running"
    MEASURED = "Measured"
    INFEASIBLE = "Infeasible"
    INVALID = "Invalid"
    BROKEN = "Broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial as history tells it: its last result, and how often it was tried.

    `result` is None while it is running or broken; `reason` and `detail` say why a trial has no number. `failures`
    counts broken attempts that use the budget, `attempts` all of them. `source` names the metrics source of its number,
    None where that is the result itself. `figures` are further metrics by name, each a number or why there is none.
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
    result: Measured | Infeasible | Invalid | None = None
    source: str | None = None
    extra_metrics: Mapping[str, float | Missing] = field(default_factory=dict)
    reason: str | None = None
    detail: str = ""


class Verdict(StrEnum):
    """Where a study stands as a whole."""

    RUNNING = "Running"  # runs are going, or will be
    WAITING = "Waiting"  # nothing to do before `wake_at`
    SUCCEEDED = "Succeeded"  # the search ended by its own rules and has a best configuration
    STALLED = "Stalled"  # it ended, or cannot go on, without being able to recommend one


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do next. Carrying it out twice is the same as once.

    `history` already contains the observations (runs that ended), new rounds and which runs are to stop, but not the
    runs in `start`: a run enters history when its start was recorded. `reason` and `message` explain `verdict` to a
    person. `wake_at` is when to ask again although nothing was observed.
    """

    history: History
    start: tuple[Run, ...] = ()
    verdict: Verdict
    reason: str
    message: str
    wake_at: datetime | None = None
    reasons_by_pool: Mapping[str, str] = field(default_factory=dict)  # why a pool's round ended

    @property
    def stop(self) -> tuple[StartedRun, ...]:
        """Return the runs to end, each until it is observed ended."""
        return tuple(started for started in self.history.active if started.stopping is not None)
