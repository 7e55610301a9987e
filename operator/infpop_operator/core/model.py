"""The course of a study: trial, run, round, observation, history and decision as immutable values.

All types compare by value. Trial results come from the contract (`Measured`, `Infeasible`, `Invalid`). What is observed
of a run, including that it ended without a result, is an `Observation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from infpop_operator.core.study import Configuration, Scalar
from infpop_runner.contract import (
    Infeasible,
    Invalid,
    Measured,
    RunResult,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial that a run is to measure."""

    index: int
    configuration: Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One engine load. `name` is a function of all other fields, so planning the same run twice gives the same name.

    `attempt` counts from 1 and increases when a broken run is retried. `longer` requests a longer measurement after an
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
        """Devices that the run holds while it is live."""
        return self.trials[0].configuration.gpu_count


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
HELD = "GPUsHeld"  # the reason of a study whose next run waits for GPUs that no live run of it should hold
DELETED = "Deleted"  # the reason of a run whose Job a user deleted
NODE_REFUSED = "NodeRefused"  # the reason of a run whose Pod its node did not admit


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
class EndedRun:
    """A run that ended, with its result or the reason why it has none.

    `held_since` is when the run began to hold its devices, or when it ended if it never held any. It is None in
    journals written before this field existed; their `started_at` holds that time. `stopped` is the reason why the
    study stopped the run (a budget, a pause), None where the run ended by itself.
    """

    run: Run
    started_at: datetime
    observation: Finished | Lost
    stopped: str | None = None
    held_since: datetime | None = None

    @property
    def gpu_seconds(self) -> float:
        """Device-seconds that the run used, until its end."""
        since = self.started_at if self.held_since is None else self.held_since
        return max(0.0, (self.observation.ended_at - since).total_seconds()) * self.run.gpu_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The last known hardware of a pool, kept while its nodes are away; the fields mean the same as in `Pool`."""

    fingerprint: str
    gpu_model: str | None = None
    device_count: int | None = None


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
class Round:
    """One search on one pool for one measurement identity.

    `baseline` is the configuration in use when the round began; `core.scope` determines the current baseline.
    `hardware` is the pool's last observed hardware, `engine` the settings with which the round's trials were measured.
    Both are None in a round that an earlier version opened, until the round is the newest and the pool's nodes are
    observed. `before` is the identity with which the round was opened, if its hardware was known only later.
    """

    pool: str
    number: int
    identity: str
    baseline: Configuration | None = None
    hardware: Hardware | None = None
    engine: EngineSettings | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The full record of a study: its rounds and runs in the order in which they began or ended."""

    started_at: datetime
    rounds: tuple[Round, ...] = ()
    ended: tuple[EndedRun, ...] = ()
    active: tuple[StartedRun, ...] = ()


class TrialState(StrEnum):
    """The current state of a trial."""

    RUNNING = "Running"
    MEASURED = "Measured"
    INFEASIBLE = "Infeasible"
    INVALID = "Invalid"
    BROKEN = "Broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial as derived from the history: its last result, and how often it was attempted.

    `result` is None while the trial is running or broken; `reason` and `detail` say why a trial has no value.
    `failures` counts broken attempts that use the failure budget, `attempts` counts all of them. `source` names the
    metrics source of the value, None where the value comes from the run's result. `extra_metrics` are the study's own
    metrics by name, each a number or the reason why it is missing.
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
    """The overall state of a study."""

    RUNNING = "Running"  # runs are live or about to start
    WAITING = "Waiting"  # nothing to do before `wake_at`
    SUCCEEDED = "Succeeded"  # the search ended normally and has a best configuration
    STALLED = "Stalled"  # it ended or cannot continue, and has no best configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Cells of a pool that are not tried now: those of one GPU count, and of one engine load if `extra` is given.

    `reason` and `detail` say what happened in `attempts` runs. `next_attempt` is None if there is none in this round.
    """

    gpu_count: int
    extra: tuple[tuple[str, Scalar], ...] | None = None
    reason: str
    detail: str
    attempts: int
    next_attempt: datetime | None = None

    def covers(self, cell: Configuration) -> bool:
        """Return whether `cell` is one of the cells that are not tried."""
        return cell.gpu_count == self.gpu_count and self.extra in (None, cell.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the driver does next. Executing it twice has the same effect as executing it once.

    `history` already contains the observations (runs that ended), new rounds and the runs to stop, but not the runs in
    `start`: a run enters the history when its start is recorded. `reason` and `message` explain `verdict` to the user.
    `wake_at` is when to decide again even if nothing was observed.
    """

    history: History
    start: tuple[Run, ...] = ()
    verdict: Verdict
    reason: str
    message: str
    wake_at: datetime | None = None
    reasons_by_pool: Mapping[str, str] = field(default_factory=dict)  # why a pool's round ended
    needs_change: bool = False  # the study is stalled until its user changes something, whatever its pools find
    set_aside: Mapping[str, tuple[SetAside, ...]] = field(default_factory=dict)  # by pool, what it does not try now

    @property
    def stop(self) -> tuple[StartedRun, ...]:
        """Return the runs to stop; a run is included until it is observed to have ended."""
        return tuple(started for started in self.history.active if started.stopping is not None)
