"""Drive a study through `core.decide` on recorded landscapes: every run ends at once with the recorded numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from infpop_operator.core.decide import decide
from infpop_operator.core.model import EndedRun, Finished, History, PlannedTrial, Run
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.core.space import cells
from infpop_operator.core.study import (
    Algorithm,
    AlgorithmName,
    Auto,
    Budget,
    Configuration,
    Objective,
    Plateau,
    Pool,
    Retune,
    SearchSpace,
    Study,
)
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid
from infpop_operator.replay.played_run import Played, play
from infpop_operator.replay.subjects import engine_of_name, parameters_of_name
from infpop_runner.contract import (
    EngineSpec,
    MeasurementSpec,
    ModelFacts,
    ModelSpec,
    Provenance,
    RunResult,
    SimulationSpec,
    SyntheticSource,
    WorkloadSpec,
)

POOL = "pool"
START = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST_RUN = 720 * 3600.0  # seconds by the clock, the longest time-out of a study; what a run costs has no limit
GOOD_SHARE = 0.99  # of the optimum: within 1 % is a tie
SIMULATED = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One trial of a replay.

    `rate` is the recorded tokens/s of its configuration, None if it has none. `number` is what the study measured: the
    rate, with the noise of the replay. `gpu_seconds` is what the trial cost; the first one of a run pays for its load.
    `history` is that after the run.
    """

    configuration: Configuration
    rate: float | None
    number: float | None
    gpu_seconds: float
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """After how many trials, and GPU-seconds, a search had a configuration within 1 % of the optimum.

    If it never had one, `trials` is None and the GPU-seconds are those of the whole search.
    """

    trials: int | None
    gpu_seconds: float


def replayed_study(
    grid: Grid,
    algorithm: AlgorithmName,
    *,
    seed: int,
    max_trials: int | None = None,
    gpu_memory_mib: int | None = None,
    trials_per_run: int | Auto = 1,
    plateau: Plateau | None = None,
    costs: CostModel | None = None,
) -> Study:
    """Return the study that the operator would have for a grid; by default its budget covers the space.

    Its repeats together generate the workload of `costs`, which counts one pass, and it has the number of parameters
    that the model's name says. An engine that InfPop does not have is replayed as the simulated one.
    """
    measurement = MeasurementSpec(
        mode="adaptive" if costs is not None and costs.short else "full", min_repeat_seconds=0.0
    )
    costs = CostModel() if costs is None else costs
    pool = Pool(name=POOL, device="cuda", fingerprint=grid.gpu_model, gpu_memory_mib=gpu_memory_mib)
    parameters = parameters_of_name(grid.model)
    return Study(
        key="replay",
        namespace="",
        name="replay",
        model=ModelSpec(name=grid.model),
        engine=_engine(grid),
        workload=WorkloadSpec(
            source=SyntheticSource(prompt_tokens=1),
            samples=-(-costs.samples // measurement.repeats),
            max_new_tokens=costs.tokens(grid),
        ),
        space=grid.space,
        objective=Objective(),
        algorithm=Algorithm(name=algorithm, seed=seed, trials_per_run=trials_per_run),
        budget=Budget(
            max_trials=len(cells(grid.space)) if max_trials is None else max_trials,
            max_concurrent_gpus=max(grid.space.gpu_counts),
            plateau=plateau,
        ),
        measurement=measurement,
        pools=(replace(pool, gpu_model=grid.gpu_model),),
        model_fingerprint=grid.name,
        workload_fingerprint=grid.workload,
        model_facts=None if parameters is None else ModelFacts(parameters=parameters),
        retune=Retune(debounce=timedelta(0)),
    )


def replay(
    study: Study,
    grid: Grid,
    history: History | None = None,
    *,
    costs: CostModel,
    noise: float = 0.0,
) -> Iterator[Step]:
    """Yield the trials that `decide` starts, one after the other, until it starts no more.

    Args:
        study: from `replayed_study`.
        grid: what its runs find.
        history: of an earlier replay of the study, which goes on; None: a new study.
        costs: how long the runs live.
        noise: standard deviation of the logarithm of a measured number; the numbers follow from it and the seed.
    """
    history = History(started_at=START) if history is None else history
    now = max((entry.observation.ended_at for entry in history.ended), default=history.started_at)
    while (decision := decide(study, history, {}, now)).start:
        (run,) = decision.start
        planned = {trial.index: trial for trial in run.trials}
        order = [(planned[trial.index], trial.needs_tokens_per_second) for trial in build_run_spec(study, run).trials]
        played = play(order, grid, costs=costs, noise=noise, seed=study.algorithm.seed, attempts=_attempts(history))
        ended = now + min(LONGEST_RUN, sum(each.seconds for each in played)) * timedelta(seconds=1)
        entry = EndedRun(run=run, started_at=now, held_since=now, observation=_outcome(study, run, played, now, ended))
        history, now = replace(decision.history, ended=(*decision.history.ended, entry)), ended
        yield from (_step(each, planned[each.result.index], grid, history) for each in played if each.was_tried)


def reached(grid: Grid, found: Iterator[tuple[Configuration, float]]) -> Reached:
    """Return when a search is within 1 % of the optimum; it is not continued afterwards.

    Args:
        grid: with at least one configuration that works.
        found: the configurations that it tries, in order, each with its GPU-seconds.
    """
    target = GOOD_SHARE * max(grid.rates.values())
    spent = 0.0
    for number, (cell, gpu_seconds) in enumerate(found, start=1):
        spent += gpu_seconds
        if grid.rates.get(cell, 0.0) >= target:
            return Reached(trials=number, gpu_seconds=spent)
    return Reached(trials=None, gpu_seconds=spent)


def space_size(space: SearchSpace) -> int:
    """Return how many configurations a space has."""
    return len(cells(space))


def _engine(grid: Grid) -> EngineSpec:
    name = engine_of_name(grid.engine)
    if name is None:
        return EngineSpec(name=SIMULATED, simulation=SimulationSpec())
    return EngineSpec(name=name)


def _attempts(history: History) -> dict[Configuration, int]:
    """Return how often each configuration was measured."""
    attempts: dict[Configuration, int] = {}
    for entry in history.ended:
        for trial in entry.run.trials:
            attempts[trial.configuration] = attempts.get(trial.configuration, 0) + 1
    return attempts


def _step(played: Played, planned: PlannedTrial, grid: Grid, history: History) -> Step:
    cell = planned.configuration
    return Step(
        configuration=cell,
        rate=grid.rates.get(cell),
        number=played.number,
        gpu_seconds=played.seconds * cell.gpu_count,
        history=history,
    )


def _outcome(study: Study, run: Run, played: tuple[Played, ...], started_at: datetime, ended_at: datetime) -> Finished:
    result = RunResult(
        run=run.name,
        simulated=True,
        trials=tuple(each.result for each in played),
        load_seconds=played[0].load_seconds,
        provenance=Provenance(engine=study.engine.name, gpu_model=study.pools[0].gpu_model),
        started_at=started_at,
        ended_at=ended_at,
    )
    return Finished(result=result, ended_at=ended_at)
