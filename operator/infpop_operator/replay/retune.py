"""Replay a change of hardware: a study on the old GPUs, then the same study once its pool has the new ones.

The first round runs on the landscape of the old hardware. Then the pool's fingerprint changes, and `decide` opens the
second round by itself: it measures the best of the first round first, and searches on from there. Two references search
the new hardware without knowing the old one: a fresh study, and Hyperopt as the paper ran it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Literal

from infpop_operator.core.history import current_round
from infpop_operator.core.load_memory import OUT_OF_MEMORY
from infpop_operator.core.model import History
from infpop_operator.core.study import AlgorithmName, Configuration
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid
from infpop_operator.replay.published import hyperopt_as_published
from infpop_operator.replay.world import POOL, Reached, reached, replay, replayed_study, space_size

Search = Literal["warm", "cold", "infpop-paper"]
SEARCHES: tuple[Search, ...] = ("warm", "cold", "infpop-paper")
NO_GAIN_RATIO = 0.01  # a smaller gain is a tie


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to replay. `algorithm` is that of the study, warm and cold.

    `first_trials` is the budget of the first round; None: all of the old landscape is known, as after the paper's 100
    evaluations of 44 configurations. `gpu_memory_mib` is the memory of a GPU by its model as the file names it; without
    it nothing is skipped as `Inherited`.
    """

    seeds: int = 10
    first_trials: int | None = None
    gpu_memory_mib: tuple[tuple[str, int], ...] = ()
    algorithm: AlgorithmName = "tpe"
    costs: CostModel = field(default_factory=CostModel)

    def memory_of(self, grid: Grid) -> int | None:
        """Return the memory of the GPUs of a grid, None if it is not known."""
        known = {name.casefold(): mib for name, mib in self.gpu_memory_mib}
        return known.get(grid.gpu_model.casefold())


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One search of one pair of grids with one seed; jobs are independent of each other."""

    search: Search
    old: Grid
    new: Grid
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retuned:
    """What a job found: when it reached the optimum and, if it was warm, which baseline it started with."""

    reached: Reached
    baseline: Configuration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """What retuning gains for one model on one engine, and what each search needs for it.

    The baseline is the best of the first round (that of the first seed where they differ). Its rate on the new hardware
    is None if it does not work there, or was not recorded: `baseline_reason` says which. Counts and costs are means
    over the seeds; a search that never came within 1 % of the optimum counts as one trial more than the space has
    configurations.
    """

    model: str
    engine: str
    baseline: Configuration
    old_rate: float
    baseline_rate: float | None
    baseline_reason: str | None
    best: Configuration
    best_rate: float
    trials_to_99: dict[Search, float] = field(default_factory=dict)
    gpu_seconds_to_99: dict[Search, float] = field(default_factory=dict)
    never: dict[Search, int] = field(default_factory=dict)

    @property
    def improvement_percent(self) -> float | None:
        """How much faster the new best is than the baseline on the new hardware, None if the baseline has no number."""
        return None if self.baseline_rate is None else (self.best_rate / self.baseline_rate - 1) * 100


def pairs(old: Sequence[Grid], new: Sequence[Grid]) -> tuple[tuple[Grid, Grid], ...]:
    """Return the grids that both GPU models have and that work on both, by engine, model and workload."""
    by_key = {(grid.engine, grid.model, grid.workload): grid for grid in new}
    found = ((grid, by_key.get((grid.engine, grid.model, grid.workload))) for grid in old)
    return tuple((was, now) for was, now in found if now is not None and was.rates and now.rates)


def jobs(found: Sequence[tuple[Grid, Grid]], options: Options) -> tuple[Job, ...]:
    """Return all searches to replay; the order does not matter."""
    return tuple(
        Job(search=search, old=old, new=new, seed=seed)
        for old, new in found
        for search in SEARCHES
        for seed in range(options.seeds)
    )


def run(job: Job, options: Options) -> Retuned:
    """Return the result of one search; equal arguments give the same result."""
    match job.search:
        case "warm":
            return _warm(job, options)
        case "cold":
            study = replayed_study(
                job.new,
                options.algorithm,
                seed=job.seed,
                gpu_memory_mib=options.memory_of(job.new),
                costs=options.costs,
            )
            steps = replay(study, job.new, costs=options.costs)
            return Retuned(reached=reached(job.new, ((step.configuration, step.gpu_seconds) for step in steps)))
        case "infpop-paper":
            asked = hyperopt_as_published(job.new, job.seed, trials=space_size(job.new.space))
            return Retuned(reached=reached(job.new, ((cell, _cost(job.new, cell, options)) for cell in asked)))


def summarise(found: Sequence[tuple[Job, Retuned]], old: Grid, new: Grid) -> ModelResult:
    """Return the result of one pair of grids from those of its jobs, at least one of them warm."""
    own = [(job, result) for job, result in found if (job.old, job.new) == (old, new)]
    baseline = next(result.baseline for job, result in own if job.search == "warm" and result.baseline is not None)
    best = new.optimum
    if best is None:
        raise ValueError(f"{new.name} works nowhere on {new.gpu_model}")
    result = ModelResult(
        model=new.name,
        engine=new.engine,
        baseline=baseline,
        old_rate=old.rates[baseline],
        baseline_rate=new.rates.get(baseline),
        baseline_reason=None if baseline in new.rates else _why_not(new, baseline),
        best=best,
        best_rate=new.rates[best],
    )
    for search in SEARCHES:
        ends = [each.reached for job, each in own if job.search == search]
        never = space_size(new.space) + 1
        result.trials_to_99[search] = mean(never if end.trials is None else end.trials for end in ends)
        result.gpu_seconds_to_99[search] = mean(end.gpu_seconds for end in ends)
        result.never[search] = sum(end.trials is None for end in ends)
    return result


def to_document(results: Sequence[ModelResult], old: str, new: str) -> dict[str, object]:
    """Return the results as JSON values: a summary by engine, and each model."""
    engines = sorted({result.engine for result in results})
    return {
        "from": old,
        "to": new,
        "summary": {engine: _summary([each for each in results if each.engine == engine]) for engine in engines},
        "models": [_model(result) for result in results],
    }


def _first_round(job: Job, options: Options) -> History:
    """Return the history of the study on the old hardware."""
    known = options.first_trials
    study = replayed_study(
        job.old,
        "grid" if known is None else options.algorithm,
        seed=job.seed,
        max_trials=known,
        gpu_memory_mib=options.memory_of(job.old),
        costs=options.costs,
    )
    history = None
    for step in replay(study, job.old, costs=options.costs):
        history = step.history
    if history is None:
        raise ValueError(f"no trial of {job.old.name} on {job.old.gpu_model}")
    return history


def _warm(job: Job, options: Options) -> Retuned:
    """Return the result of the second round of a study that `decide` tunes again."""
    first = _first_round(job, options)
    study = replayed_study(
        job.new, options.algorithm, seed=job.seed, gpu_memory_mib=options.memory_of(job.new), costs=options.costs
    )
    baselines: list[Configuration | None] = []

    def trials() -> Iterator[tuple[Configuration, float]]:
        for step in replay(study, job.new, first, costs=options.costs):
            newest = current_round(step.history, POOL)
            baselines.append(None if newest is None else newest.baseline)
            yield (step.configuration, step.gpu_seconds)

    end = reached(job.new, trials())
    return Retuned(reached=end, baseline=baselines[0] if baselines else None)


def _cost(grid: Grid, cell: Configuration, options: Options) -> float:
    return options.costs.alone(grid, cell.batch_size, grid.rates.get(cell)) * cell.gpu_count


def _why_not(grid: Grid, cell: Configuration) -> str:
    return OUT_OF_MEMORY if cell in grid.failed else "NotRecorded"


def _summary(results: Sequence[ModelResult]) -> dict[str, object]:
    gains = [gain for each in results if (gain := each.improvement_percent) is not None]
    return {
        "models": len(results),
        "mean_improvement_percent": round(mean(gains), 2) if gains else None,
        "median_improvement_percent": round(median(gains), 2) if gains else None,
        "no_gain": sum(gain < NO_GAIN_RATIO * 100 for gain in gains),
        "baseline_infeasible": len(results) - len(gains),
        "trials_to_99": {search: round(mean(each.trials_to_99[search] for each in results), 2) for search in SEARCHES},
    }


def _model(result: ModelResult) -> dict[str, object]:
    gain = result.improvement_percent
    return {
        "model": result.model,
        "engine": result.engine,
        "baseline": {
            **_cell(result.baseline),
            "old_throughput": result.old_rate,
            "throughput": result.baseline_rate,
            "reason": result.baseline_reason,
        },
        "best": {**_cell(result.best), "throughput": result.best_rate},
        "improvement_percent": None if gain is None else round(gain, 2),
        "trials_to_99": {search: round(value, 2) for search, value in result.trials_to_99.items()},
        "gpu_seconds_to_99": {search: round(value) for search, value in result.gpu_seconds_to_99.items()},
        "never": dict(result.never),
    }


def _cell(cell: Configuration) -> dict[str, object]:
    return {"gpu_count": cell.gpu_count, "batch_size": cell.batch_size}
