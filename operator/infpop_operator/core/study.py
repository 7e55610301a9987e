"""What a study asks for: its search space, objective, search algorithm, budget and pools, as immutable values."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_runner.contract import EngineSpec, MeasurementSpec, ModelFacts, ModelSpec, WorkloadSpec

Scalar = str | int | float | bool
AlgorithmName = Literal["landscape", "tpe", "anneal", "random", "grid"]
Metric = Literal["throughput", "throughputPerGPU", "costPerMillionTokens", "tokensPerJoule"]
ConstraintMetric = Literal[
    "batchSecondsP50",
    "batchSecondsP95",
    "gpuMemoryPeakBytes",
    "secondsPerOutputToken",
    "spread",
    "throughputPerGPU",
]
METRICS: tuple[Metric, ...] = get_args(Metric)
CONSTRAINT_METRICS: tuple[ConstraintMetric, ...] = get_args(ConstraintMetric)
Goal = Literal["Maximize", "Minimize"]
RetunePolicy = Literal["OnPoolChange", "Manual", "Never"]
EngineDefault = Literal["EngineDefault"]
ENGINE_DEFAULT: EngineDefault = "EngineDefault"
Auto = Literal["auto"]
AUTO: Auto = "auto"
SecondMetric = Literal["secondsPerOutputToken", "throughputPerGPU", "costPerMillionTokens", "tokensPerJoule"]
SECOND_METRICS: tuple[SecondMetric, ...] = get_args(SecondMetric)
ReusePolicy = Literal["SameIdentity", "Never"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Configuration:
    """One cell of the search space. `extra` holds additional load-time engine arguments, sorted by name."""

    gpu_count: int
    batch_size: int
    extra: tuple[tuple[str, Scalar], ...] = ()

    @property
    def load_key(self) -> tuple[int, tuple[tuple[str, Scalar], ...]]:
        """What an engine load depends on: configurations with the same key can share a run."""
        return (self.gpu_count, self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraParameter:
    """An extra dimension of the search space: an engine argument and the values to try, in order."""

    name: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The values of each dimension to search: ascending, without duplicates."""

    gpu_counts: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    extra: tuple[ExtraParameter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A bound that a measured configuration must meet to be eligible as the best. Data, never an expression.

    `metric` is a `ConstraintMetric` or the name of one of the study's own metrics.
    """

    metric: str
    maximum: float | None = None
    minimum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What this study optimises.

    `metric` is a `Metric` or the name of one of the study's own metrics; only those have a `goal`. `power_metric` names
    the study's only metric in watts, None unless there is exactly one; `tokensPerJoule` needs it.
    """

    metric: str = "throughput"
    constraints: tuple[Constraint, ...] = ()
    goal: Goal | None = None
    power_metric: str | None = None
    second_metric: SecondMetric | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """How the search chooses the next configuration, and how many trials share one engine load.

    With `auto` the search chooses how many: as long as another batch size gains more per second than a new load.
    """

    name: AlgorithmName = "tpe"
    seed: int = 0
    trials_per_run: int | Auto = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """When to stop a round early; one of the two rules, or both.

    When `trials` consecutive ended trials improved its best by less than `improvement_ratio`; or when the search is
    sure, with at least the probability `confidence`, that the best is within 1 % of the optimum.
    """

    trials: int | None = None
    improvement_ratio: float = 0.01
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the study may spend. `max_trials` applies to each pool and round, the other limits to the whole study.

    With `confirm` the best configurations of a round are measured again before one is recommended; these measurements
    are not part of `max_trials`.
    """

    max_trials: int = 20
    parallel_trials: int = 1
    max_concurrent_gpus: int = 8
    max_failed_trials: int = 5
    max_gpu_hours: float | None = None
    deadline: timedelta | None = None
    plateau: Plateau | None = None
    confirm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retune:
    """When a study tunes a pool again.

    `debounce` is how long changed hardware must stay the same before a new round starts, `max_per_day` the maximum
    number of rounds of a pool that changed hardware starts within 24 hours, None without a limit. `requested` is the
    value of the annotation with which the user requests a new round, None without one; every new value requests one.
    """

    policy: RetunePolicy = "OnPoolChange"
    debounce: timedelta = timedelta(minutes=10)
    max_per_day: int | None = 2
    requested: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A set of identical nodes (or this machine) and the hardware observed on it.

    `fingerprint` identifies the hardware that measurements belong to. `software` names the engine that runs there and
    its versions ("vllm 0.32.0, torch 2.13.0", or a container image); it is empty where numbers are replayed.
    `device_count` is the maximum number of devices of one run, `usable_device_count` the maximum that one run can get
    now, on the largest node that starts Pods, and `total_device_count` what all such nodes have; each is None while
    unknown. `cpu_millicores` and `memory_bytes` are what each run requests from its node, None where the study does not
    set them. `gpu_memory_mib` is the memory of one device, `driver_major` the first number of the driver's version,
    and `mig` the MIG profile of a device ("1g.5gb"). Each of these facts is None where nothing shows it, and `mig` also
    where a device is a whole GPU. `known_as` is the fingerprint that the pool had when less was known about the same
    nodes, None if there was none: a round without results continues under the new one. `schedule_timeout` is how long a
    run may wait for its devices. `pod_template` has what the study sets of a run's Pod that may change a number, by the
    name of its field.
    """

    name: str
    device: Literal["cuda", "cpu"]
    fingerprint: str
    software: str = ""
    gpu_model: str | None = None
    device_count: int | None = None
    usable_device_count: int | None = None
    total_device_count: int | None = None
    price_per_gpu_hour: float | None = None
    cpu_millicores: int | None = None
    memory_bytes: int | None = None
    gpu_memory_mib: int | None = None
    compute_capability: str | None = None
    driver_major: str | None = None
    mig: str | None = None
    known_as: str | None = None
    schedule_timeout: timedelta = timedelta(minutes=10)
    pod_template: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study, parsed, validated and joined with what is known about its pools.

    The fingerprints identify the contents of the model and of the prompts, wherever they are read from. While
    `suspended`, no run starts and live runs are stopped.
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
    baseline: Configuration | EngineDefault | None = None  # the configuration in use before the first round
    model_facts: ModelFacts | None = None  # from the model's config.json, before any run
    suspended: bool = False
    metrics: tuple[ExtraMetric, ...] = ()  # metrics of other exporters, queried for each trial
    retune: Retune = Retune()
    publishes: bool = False  # its result is published for others to serve with
    reuse: ReusePolicy = "Never"  # whether cells that another study measured are taken over
