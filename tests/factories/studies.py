"""Valid values of the core for tests; each keyword changes one thing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from infpop_operator.core.model import Trial, TrialState
from infpop_operator.core.study import (
    Algorithm,
    Budget,
    Configuration,
    Objective,
    Pool,
    Retune,
    Scalar,
    SearchSpace,
    Study,
)
from infpop_runner.contract import (
    EngineSpec,
    Infeasible,
    InfeasibleReason,
    Invalid,
    Measured,
    MeasurementSpec,
    ModelSpec,
    RacedOut,
    SimulationSpec,
    SyntheticSource,
    WorkloadSpec,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024))
SIMULATED = EngineSpec(name="simulated", simulation=SimulationSpec())


def at(seconds: float) -> datetime:
    """Return a time after the start of the study."""
    return START + timedelta(seconds=seconds)


def make_pool(**changes: object) -> Pool:
    """Return a pool of up to 8 GPUs of one kind, all of them on one machine."""
    pool = Pool(name="a100", device="cuda", fingerprint="f1", gpu_model="A100", device_count=8, price_per_gpu_hour=3.6)
    pool = replace(pool, **changes)
    return pool if "total_device_count" in changes else replace(pool, total_device_count=pool.device_count)


def make_study(**changes: object) -> Study:
    """Return a study of 44 cells on one pool with a simulated engine; changed hardware is tuned again at once."""
    study = Study(
        key="local/study",
        namespace="",
        name="study",
        model=ModelSpec(name="model"),
        engine=SIMULATED,
        workload=WorkloadSpec(source=SyntheticSource(prompt_tokens=8), samples=8, max_new_tokens=5),
        space=SPACE,
        objective=Objective(),
        algorithm=Algorithm(),
        budget=Budget(),
        measurement=MeasurementSpec(),
        pools=(make_pool(),),
        model_fingerprint="m1",
        workload_fingerprint="w1",
        retune=Retune(debounce=timedelta(0), max_per_day=None),
    )
    return replace(study, **changes)


def make_cell(gpu_count: int, batch_size: int, **extra: Scalar) -> Configuration:
    """Return a configuration."""
    return Configuration(gpu_count=gpu_count, batch_size=batch_size, extra=tuple(sorted(extra.items())))


def make_measured(throughput: float, *, index: int = 0, batch_size: int = 1, **changes: object) -> Measured:
    """Return a measurement with latencies and no memory value."""
    values: dict[str, object] = {
        "index": index,
        "batch_size": batch_size,
        "throughput_tokens_per_second": throughput,
        "spread_ratio": 0.01,
        "repeats": 3,
        "generated_tokens": 100,
        "measured_seconds": 1.0,
        "batch_seconds_p50": 0.5,
        "batch_seconds_p95": 0.9,
        "missing": {"gpu_memory_peak_bytes": "NoDevice", "pad_ratio": "NotPadded"},
    }
    return Measured.model_validate(values | changes)


def make_raced_out(at_most: float, *, index: int = 0, batch_size: int = 1, **changes: object) -> RacedOut:
    """Return the result of a trial that is slower than what it had to beat: at most this throughput."""
    values: dict[str, object] = {
        "index": index,
        "batch_size": batch_size,
        "throughput_tokens_per_second": at_most * 0.95,
        "at_most_tokens_per_second": at_most,
        "to_beat_tokens_per_second": at_most * 1.01,
        "generated_tokens": 100,
        "measured_seconds": 2.5,
    }
    return RacedOut.model_validate(values | changes)


def make_load_failure(batch_size: int = 1, *, index: int = 0) -> Infeasible:
    """Return the result of a trial for whose batch size the engine could not be loaded: too little memory."""
    return Infeasible(index=index, batch_size=batch_size, reason="GpuOutOfMemory", phase="load")


def make_trial(
    cell: Configuration,
    outcome: float | Measured | RacedOut | Infeasible | InfeasibleReason | TrialState,
    *,
    index: int = 0,
) -> Trial:
    """Return a trial of `cell` with a number or a measurement, an infeasible reason, or another state."""
    trial = Trial(
        pool="a100",
        round=1,
        index=index,
        configuration=cell,
        state=TrialState.MEASURED,
        run=f"study-{index}",
        attempts=1,
        failures=0,
    )
    match outcome:
        case Measured():
            return replace(trial, result=outcome)
        case RacedOut():
            return replace(trial, state=TrialState.RACED_OUT, result=outcome)
        case Infeasible():
            return replace(trial, state=TrialState.INFEASIBLE, reason=outcome.reason, result=outcome)
        case float() | int():
            return replace(trial, result=make_measured(float(outcome), index=index, batch_size=cell.batch_size))
        case TrialState():
            return replace(trial, state=outcome, reason="Evicted" if outcome is TrialState.BROKEN else None)
        case reason:
            result = Infeasible(index=index, batch_size=cell.batch_size, reason=reason)
            return replace(trial, state=TrialState.INFEASIBLE, reason=reason, result=result)


def make_trials(
    entries: Sequence[tuple[Configuration, float | Measured | RacedOut | Infeasible | InfeasibleReason | TrialState]],
) -> tuple[Trial, ...]:
    """Return trials with indexes 0, 1, ... in the order given."""
    return tuple(make_trial(cell, outcome, index=index) for index, (cell, outcome) in enumerate(entries))


def make_invalid(cell: Configuration, index: int) -> Invalid:
    """Return an invalid result, which must not be compared."""
    return Invalid(index=index, batch_size=cell.batch_size, reason="UnstableRepeats")
