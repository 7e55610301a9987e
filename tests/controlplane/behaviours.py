"""What a simulated run does: behaviours, and the results that follow from them.

A play returns the behaviour of each run. It must be a function of the spec and the attempt alone, so that a repeated
test has the same outcome.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from factories.adaptive import as_asked
from infpop_runner.contract import (
    Broken,
    BrokenReason,
    Infeasible,
    InfeasibleReason,
    Invalid,
    InvalidReason,
    Measured,
    Provenance,
    RunResult,
    RunSpec,
    TrialResult,
    TrialSpec,
)

Throughput = Callable[[int, int], float | InfeasibleReason | InvalidReason]
_REPEATS = 3

DisruptionReason = Literal[
    "EvictionByEvictionAPI",  # kubectl drain
    "DeletionByTaintManager",
    "PreemptionByScheduler",
    "DeletionByPodGC",
    "TerminationByKubelet",  # node pressure, or the node's shutdown: the Pod fails and stays
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeds:
    """Every trial finds the value of `throughput` for its GPU count and batch size; exit 0 with the complete result.

    Tokens/s, or the reason why there is no number; a run with an adaptive measurement may race a number out. After an
    out-of-memory larger batches are not reached.
    If `gate` is given, the run keeps loading until it is set. `killed_while_held`: killed with 137 as soon as it waits
    for a scrape; its result is written by then. `sidecar` is the name of an injected container that goes on afterwards.
    """

    throughput: Throughput
    pull_seconds: float = 0.0
    load_seconds: float = 0.0
    trial_seconds: float = 0.0
    gate: threading.Event | None = None
    killed_while_held: bool = False
    sidecar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaks:
    """Measures some trials, then leaves a result that says what broke; exit 0, as the runner does."""

    reason: BrokenReason
    detail: str = ""
    throughput: Throughput = lambda _gpus, batch: float(batch)
    after_trials: int = 0
    pull_seconds: float = 0.0
    load_seconds: float = 0.0
    trial_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFails:
    """The image never arrives; the Pod waits until it is deleted."""

    reason: Literal["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"] = "ImagePullBackOff"
    message: str = 'Back-off pulling image "runner": manifest unknown'


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigError:
    """The container cannot be created, for example because a Secret is missing; the Pod waits until it is deleted."""

    message: str = 'secret "x" not found'


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOom:
    """The kernel kills the container for its memory limit: reason OOMKilled, exit 137, no result."""

    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashes:
    """The container ends by itself with a message that is not a result."""

    exit_code: int = 1
    message: str = ""
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """The Pod gets the condition DisruptionTarget and is deleted, or fails if its own kubelet evicts it.

    `graceful` says whether the runner has time to leave a result (broken: Stopped, exit 0); else it is killed with 137.
    `pod_reason` and `pod_message` are what its own kubelet reports about the Pod.
    """

    reason: DisruptionReason = "EvictionByEvictionAPI"
    pod_reason: str = "Evicted"
    pod_message: str = "The node was low on resource: memory. "
    after_seconds: float = 0.0
    graceful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HangsLoading:
    """Runs and reports `loading` forever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanishes:
    """The Pod is force-deleted. A Pod without a Job is gone immediately, without ever ending.

    A Job's Pod stays for the finalizer with which the Job controller counts Pods, and is reported as killed, with 137.
    """

    after_seconds: float = 0.0


Behaviour = Succeeds | Breaks | PullFails | ConfigError | HostOom | Crashes | Evicted | HangsLoading | Vanishes
Play = Callable[[RunSpec, int], Behaviour]


def replay(
    throughput: Throughput, *, pull_seconds: float = 0.0, load_seconds: float = 0.0, trial_seconds: float = 0.0
) -> Play:
    """Return a play in which every run succeeds, in the time given.

    Args:
        throughput: tokens/s for a GPU count and a batch size, or the reason why there is none.
        pull_seconds: time until the container runs.
        load_seconds: time until the engine is loaded.
        trial_seconds: time for each trial.
    """
    behaviour = Succeeds(
        throughput=throughput, pull_seconds=pull_seconds, load_seconds=load_seconds, trial_seconds=trial_seconds
    )
    return lambda _spec, _attempt: behaviour


def trial_result(
    spec: RunSpec, trial: TrialSpec, throughput: Throughput, window_seconds: tuple[float, float]
) -> TrialResult:
    """Return the result of a trial in the given window, (from, to) since the start of the run."""
    outcome = throughput(spec.gpu_count, trial.batch_size)
    place = {"index": trial.index, "batch_size": trial.batch_size}
    if outcome in get_args(InvalidReason):
        return Invalid.model_validate({**place, "reason": outcome})
    if isinstance(outcome, str):
        return Infeasible.model_validate({**place, "reason": outcome})
    generated = _REPEATS * trial.batch_size * spec.workload.max_new_tokens
    measured = Measured(
        index=trial.index,
        batch_size=trial.batch_size,
        throughput_tokens_per_second=outcome,
        spread_ratio=0.0,
        repeats=_REPEATS,
        generated_tokens=generated,
        measured_seconds=generated / outcome,
        window_seconds=window_seconds,
        missing=dict.fromkeys(
            ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio"), "Simulated"
        ),
    )
    return as_asked(measured, spec)


def run_result(
    spec: RunSpec,
    trials: tuple[TrialResult, ...],
    *,
    node: str,
    load_seconds: float | None,
    broken: Broken | None,
    started_at: datetime,
    ended_at: datetime | None,
    held_seconds: float | None,
) -> RunResult:
    """Return the result of a run, marked as simulated."""
    return RunResult(
        run=spec.run,
        simulated=True,
        trials=trials,
        load_seconds=load_seconds,
        provenance=Provenance(
            engine=spec.engine.name,
            node=node,
            workload_hash=hashlib.sha256(spec.workload.model_dump_json().encode()).hexdigest(),
            seed=spec.seed,
        ),
        broken=broken,
        started_at=started_at,
        ended_at=ended_at,
        held_seconds=held_seconds,
    )
