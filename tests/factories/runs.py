"""Steps of a study for stores and executors to handle."""

from datetime import timedelta

from factories.studies import START, make_cell, make_measured
from infpop_operator.core.model import (
    EndedRun,
    EngineSettings,
    Finished,
    Lost,
    Missing,
    PlannedTrial,
    Round,
    Run,
    StartedRun,
)
from infpop_runner.contract import Infeasible, Provenance, RunResult

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


def make_run(name: str = "study-1", *, index: int = 0, batch_sizes: tuple[int, ...] = (8, 16)) -> Run:
    """Return a run of one GPU with a trial for each batch size; the extras cover every type of argument."""
    trials = tuple(
        PlannedTrial(index=index + offset, configuration=make_cell(1, batch, a=1, b=0.5, c=True, d="text"))
        for offset, batch in enumerate(batch_sizes)
    )
    return Run(name=name, pool="a100", round=1, attempt=1, trials=trials)


def make_started(name: str = "study-1", *, index: int = 0) -> StartedRun:
    """Return a run that was started a second after the study."""
    return StartedRun(run=make_run(name, index=index), started_at=START + timedelta(seconds=1))


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
