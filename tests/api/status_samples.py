"""Histories and statuses at the limits of what can happen."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from factories.studies import START, make_cell, make_measured, make_pool, make_study
from infpop_operator.api.status import to_status
from infpop_operator.api.status_context import PoolProblem, StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.model import (
    EndedRun,
    Finished,
    History,
    Missing,
    PlannedTrial,
    Round,
    Run,
    StartedRun,
    TrialState,
    Waiting,
)
from infpop_operator.core.study import ExtraParameter, SearchSpace, Study
from infpop_runner.contract import EngineSpec, Infeasible, Provenance, RunResult, TrialResult

ROWS = 700
LONG = "<" * 512  # six bytes each, as Go's JSON writes them
REALISTIC = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 39.39 GiB"
NO_NODES = PoolProblem(reason="NoMatchingNodes", message="no node has the label pool=v100")
TWO_POOLS = (make_pool(), make_pool(name="v100", fingerprint="f2", gpu_model="V100"))


def decision_of(history: History, **changes: object) -> Decision:
    """Return a decision with this history."""
    decision = Decision(history=history, verdict=Verdict.RUNNING, reason="Measuring", message="1 run in progress")
    return replace(decision, **({"needs_change": changes.get("reason") == "TooManyFailures"} | changes))


def run_of(index: int, round_number: int, *, pool: str = "a100", **extra: str) -> Run:
    """Return a run of one trial."""
    trial = PlannedTrial(index=index, configuration=make_cell(8, index + 1, **extra))
    name = f"study-{pool}-{round_number}-{index}"
    return Run(name=name, pool=pool, round=round_number, attempt=1, trials=(trial,))


def ended_run(run: Run, result: TrialResult) -> EndedRun:
    """Return the run with this result, a minute after it started."""
    ended_at = START + timedelta(minutes=1)
    found = RunResult(
        run=run.name,
        trials=(result,),
        load_seconds=1.0,
        provenance=Provenance(engine="vllm"),
        started_at=START,
        ended_at=ended_at,
    )
    return EndedRun(run=run, started_at=START, observation=Finished(result=found, ended_at=ended_at))


def measured_round(number: int, throughput: float, *, pool: str = "a100") -> History:
    """Return a history with rounds 1 to `number` of a pool, the last of which has one measured trial."""
    rounds = tuple(Round(pool=pool, number=index, identity=f"i{index}") for index in range(1, number + 1))
    run = run_of(0, number, pool=pool)
    return History(started_at=START, rounds=rounds, ended=(ended_run(run, make_measured(throughput)),))


def best_pool(status: StudyStatus) -> str | None:
    """Return the pool of the best, or None without a best."""
    return status.best.pool if status.best is not None else None


def long_history(*, detail: str, rounds: int = 7, pool: str = "a100", **extra: str) -> History:
    """Return 700 trials in rounds of a pool; every other one has a number, the others have `detail`."""
    size = ROWS // rounds
    ended = [
        ended_run(
            run_of(index, number, pool=pool, **extra),
            make_measured(4312.5 + index, index=index, batch_size=index + 1)
            if index % 2
            else Infeasible(index=index, batch_size=index + 1, reason="GpuOutOfMemory", detail=detail),
        )
        for number in range(1, rounds + 1)
        for index in range(size)
    ]
    opened = tuple(Round(pool=pool, number=number, identity=f"i{number}") for number in range(1, rounds + 1))
    return History(started_at=START, rounds=opened, ended=tuple(ended))


def with_extra_metrics(history: History, extra_metrics: Mapping[str, float | Missing]) -> History:
    """Return the history with the same extra metrics for each of its trials."""

    def figured(entry: EndedRun) -> EndedRun:
        known = {trial.index: extra_metrics for trial in entry.run.trials}
        return replace(entry, observation=replace(entry.observation, extra_metrics=known))

    return replace(history, ended=tuple(figured(entry) for entry in history.ended))


def large_status(*, worst: bool = True) -> StudyStatus:
    """Return the status of a study with 700 trials; with `worst`, every text is as long and odd as it may be."""
    pool, text = ("p" * 63, LONG) if worst else ("a100", REALISTIC)
    extra = {f"{letter * 64}": LONG for letter in "abcd"} if worst else {}
    metrics = {f"{letter * 32}": 42949672960.0 for letter in "abcdef"} if worst else {}
    history = with_extra_metrics(long_history(detail=text, pool=pool, **extra), metrics)
    waiting = [run_of(700 + number, 7, pool=pool, **extra) for number in range(64 if worst else 2)]
    history = replace(history, active=tuple(StartedRun(run=run, started_at=START) for run in waiting))
    observations = {run.name: Waiting(reason="Unschedulable", detail=text * 2) for run in waiting}
    problems = {f"{'q' * 60}{number}": PoolProblem(reason="NoMatchingNodes", message=text) for number in range(15)}
    status_context = StatusContext(generation=7, observations=observations, pool_problems=problems if worst else {})
    return to_status(_study(pool, worst=worst), decision_of(history, message=text), START, context=status_context)


def _study(pool: str, *, worst: bool) -> Study:
    arguments = {f"{letter * 63}{digit}": LONG for letter in "abcd" for digit in range(7)} if worst else {}
    parameters = tuple(ExtraParameter(name=letter * 64, values=(LONG,)) for letter in "abcd")
    return make_study(
        engine=EngineSpec(name="vllm", args=arguments),
        pools=(make_pool(name=pool, software="s" * 512 if worst else "vllm 0.32.0"),),
        space=SearchSpace(gpu_counts=(8,), batch_sizes=tuple(range(1, ROWS + 1)), extra=parameters if worst else ()),
    )


def states(status: StudyStatus) -> set[str]:
    """Return the states of the status rows."""
    return {row.state for row in status.trials} & {state.value for state in TrialState}
