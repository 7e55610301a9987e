"""Rounds, runs and their ends: valid by default; each keyword changes one thing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import get_args

from factories.studies import START, at, make_cell, make_measured
from infpop_operator.core.model import (
    EndedRun,
    EngineSettings,
    Finished,
    History,
    Lost,
    Missing,
    PlannedTrial,
    Round,
    Run,
    StartedRun,
)
from infpop_operator.core.study import Configuration
from infpop_runner.contract import (
    Broken,
    BrokenReason,
    Infeasible,
    InfeasibleReason,
    Invalid,
    InvalidReason,
    Measured,
    Provenance,
    RacedOut,
    RunResult,
    TrialResult,
)

ENGINE = EngineSettings(
    name="vllm",
    max_num_batched_tokens=4096,
    gpu_memory_utilization=0.7,
    enforce_eager=True,
    args=(("a", 1), ("b", 0.5), ("c", True), ("d", "text")),
    dtype="float16",
    revision="r1",
)
ROUND = Round(pool="a100", number=1, identity="id-1", baseline=make_cell(1, 8))

# The outcome of a trial: its tokens/s, why it is infeasible or invalid, or None if the result lacks it.
Outcome = float | Measured | RacedOut | Infeasible | InfeasibleReason | InvalidReason | None


def make_round(**changes: object) -> Round:
    """Return the first round of the pool a100, without a baseline."""
    return replace(Round(pool="a100", number=1, identity="id-1"), **changes)


def make_run(
    name: str = "study-1",
    *,
    index: int = 0,
    batch_sizes: tuple[int, ...] = (8, 16),
    cells: Sequence[Configuration] = (),
    **changes: object,
) -> Run:
    """Return a run with a trial for each of `cells`, with indexes from `index` on.

    Without `cells`: on one GPU, a trial for each batch size; the extra arguments cover every argument type.
    """
    chosen = cells or tuple(make_cell(1, batch, a=1, b=0.5, c=True, d="text") for batch in batch_sizes)
    trials = tuple(PlannedTrial(index=number, configuration=cell) for number, cell in enumerate(chosen, start=index))
    return replace(Run(name=name, pool="a100", round=1, attempt=1, trials=trials), **changes)


def make_started(name: str = "study-1", *, index: int = 0, **changes: object) -> StartedRun:
    """Return a run that was started a second after the study and does not hold devices yet."""
    return replace(StartedRun(run=make_run(name, index=index), started_at=at(1)), **changes)


def make_held(run: Run, *, since: float = 0, **changes: object) -> StartedRun:
    """Return a live run that has held its devices since its start, by default the study's start."""
    return replace(StartedRun(run=run, started_at=at(since), held_since=at(since)), **changes)


def make_trial_result(planned: PlannedTrial, outcome: Outcome) -> TrialResult | None:
    """Return the result of a planned trial, None where the outcome is None."""
    index, batch_size = planned.index, planned.configuration.batch_size
    match outcome:
        case None | Measured():
            return outcome
        case RacedOut() | Infeasible():
            return outcome.model_copy(update={"index": index, "batch_size": batch_size})
        case float() | int():
            return make_measured(float(outcome), index=index, batch_size=batch_size)
        case reason if reason in get_args(InvalidReason):
            return Invalid(index=index, batch_size=batch_size, reason=reason, detail=f"{reason} of {index}")
        case reason:
            return Infeasible(index=index, batch_size=batch_size, reason=reason, detail=f"{reason} of {index}")


def make_result(
    run: Run, outcomes: Sequence[Outcome] | None = None, *, broken: BrokenReason | None = None, **changes: object
) -> RunResult:
    """Return the result of a run that loaded its engine, with an outcome for each trial in the order of the run.

    By default every trial has 100 tokens/s.
    """
    given = [100.0] * len(run.trials) if outcomes is None else outcomes
    found = (make_trial_result(planned, outcome) for planned, outcome in zip(run.trials, given, strict=True))
    values: dict[str, object] = {
        "run": run.name,
        "trials": tuple(result for result in found if result is not None),
        "load_seconds": 1.0,
        "provenance": Provenance(engine="simulated"),
        "broken": Broken(reason=broken, detail=f"{broken} of {run.name}") if broken else None,
        "started_at": START,
        "ended_at": at(60),
    }
    return RunResult.model_validate(values | changes)


def make_finish(
    run: Run,
    outcomes: Sequence[Outcome] | None = None,
    *,
    ended: float = 60,
    broken: BrokenReason | None = None,
    **changes: object,
) -> Finished:
    """Return the end of a run with a result, a minute after the study's start; `changes` are the result's."""
    result = make_result(run, outcomes, broken=broken, **({"ended_at": at(ended)} | changes))
    return Finished(result=result, ended_at=at(ended))


def make_loss(reason: str = "NodeLost", *, ended: float = 60, **changes: object) -> Lost:
    """Return the end of a run without a result, a minute after the study's start, which uses the failure budget."""
    return replace(Lost(reason=reason, ended_at=at(ended)), **changes)


def make_ended(
    run: Run | None = None, observation: Finished | Lost | None = None, *, began: float = 0, stopped: str | None = None
) -> EndedRun:
    """Return a run that started with the study and measured all of its trials."""
    run = run or make_run()
    observation = observation or make_finish(run)
    return EndedRun(run=run, started_at=at(began), held_since=at(began), observation=observation, stopped=stopped)


def make_history(**changes: object) -> History:
    """Return the history of a study with the first round of the pool a100 and no runs."""
    return replace(History(started_at=START, rounds=(make_round(),)), **changes)


def make_finished(started: StartedRun) -> EndedRun:
    """Return the end of a run that measured its first trial and ran out of memory at its second."""
    first, second = started.run.trials
    ended_at = started.started_at + timedelta(seconds=9)
    result = RunResult(
        run=started.run.name,
        trials=(
            make_measured(123.456, index=first.index, batch_size=8),
            Infeasible(index=second.index, batch_size=16, reason="GpuOutOfMemory", detail="ü | CUDA out of memory"),
        ),
        load_seconds=0.5,
        provenance=Provenance(engine="vllm", engine_args={"enforce_eager": True, "max_num_seqs": 8}),
        started_at=started.started_at,
        ended_at=ended_at,
    )
    found = Finished(
        result=result,
        ended_at=ended_at,
        sources={first.index: "Prometheus"},
        missing_sources={"PodMetrics": "PodGone"},
        extra_metrics={first.index: {"power": 812.5, "load": 0.0, "cores": Missing(reason="Stale")}},
    )
    return EndedRun(run=started.run, started_at=started.started_at, observation=found)


def make_lost(started: StartedRun) -> EndedRun:
    """Return the end of a run that the study's own deadline ended."""
    lost = Lost(reason="Killed", detail="line\u2028separator", ended_at=START + timedelta(seconds=5), counts=False)
    return EndedRun(run=started.run, started_at=started.started_at, observation=lost, stopped="DeadlineReached")
