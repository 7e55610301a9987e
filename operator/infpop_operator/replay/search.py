"""Replay a search on recorded landscapes: after how many trials, and GPU-seconds, it has found a good configuration.

The searches are those of the operator, through its own decisions, and Hyperopt as the paper ran it. With noise, a
search has found what it would recommend: the configuration with the highest number measured so far. It is judged by
what is recorded for that configuration, so that luck is no success. Without noise that is simply the best it has tried.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from infpop_operator.core.study import AlgorithmName, Auto, Configuration
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid
from infpop_operator.replay.played_run import measured_number
from infpop_operator.replay.published import hyperopt_as_published
from infpop_operator.replay.subjects import memory_mib_of_name
from infpop_operator.replay.world import replay, replayed_study, space_size

SearchName = Literal["landscape", "tpe", "anneal", "random", "grid", "infpop-paper"]
PAPER: SearchName = "infpop-paper"
SEARCHES: tuple[SearchName, ...] = (*get_args(AlgorithmName), PAPER)
SHARES = (0.95, 0.99, 1.0)  # of the optimum


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to replay. `max_trials` is the budget of a search, None for as many trials as the grid has configurations.

    `noise` is the standard deviation of the logarithm of a measured number.
    """

    seeds: int = 10
    max_trials: int | None = None
    trials_per_run: int | Auto = 1
    noise: float = 0.0
    costs: CostModel = field(default_factory=CostModel)

    def cap(self, grid: Grid) -> int:
        """Return the most trials of a search on a grid."""
        return space_size(grid.space) if self.max_trials is None else self.max_trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One trial: the recorded and the measured tokens/s, None if it has none, and what it cost."""

    configuration: Configuration
    rate: float | None
    number: float | None
    gpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The course of one search, until it had found the optimum or ended.

    `curve` is the share of the optimum that it had found after each trial. `trials` and `gpu_seconds` are those until
    it had found each of `SHARES`; where it never did, trials are None and GPU-seconds those of the whole search.
    `failures` are the trials without a number until 99 %, `duplicates` those of a configuration tried before.
    """

    curve: tuple[float, ...]
    trials: Mapping[float, int | None]
    gpu_seconds: Mapping[float, float]
    failures: int
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One search of one grid with one seed; jobs are independent of each other."""

    search: SearchName
    grid: Grid
    seed: int


def jobs(grids: Sequence[Grid], searches: Iterable[SearchName], options: Options) -> tuple[Job, ...]:
    """Return all searches to replay, grid by grid; only grids on which something works."""
    return tuple(
        Job(search=search, grid=grid, seed=seed)
        for grid in grids
        if grid.rates
        for search in dict.fromkeys(searches)
        for seed in range(options.seeds)
    )


def run(job: Job, options: Options) -> Course:
    """Return the course of one search; equal arguments give the same course."""
    if job.search == "infpop-paper":
        attempts = as_published(job.grid, job.seed, options)
    else:
        attempts = _through_decide(job.search, job.grid, job.seed, options)
    return course(job.grid, attempts, noisy=options.noise > 0)


def course(grid: Grid, attempts: Iterable[Attempt], *, noisy: bool = False) -> Course:
    """Return the course of any search; without noise it is not continued once it has found the optimum."""
    optimum = max(grid.rates.values())
    curve: list[float] = []
    trials: dict[float, int | None] = dict.fromkeys(SHARES)
    seconds = dict.fromkeys(SHARES, 0.0)
    tried: set[Configuration] = set()
    best = share = 0.0
    failures = duplicates = 0
    for attempt in attempts:
        if attempt.number is not None and attempt.rate is not None and attempt.number > best:
            best, share = attempt.number, attempt.rate / optimum
        if trials[0.99] is None:
            failures += attempt.number is None
            duplicates += attempt.configuration in tried
        tried.add(attempt.configuration)
        curve.append(share)
        for wanted in SHARES:
            if trials[wanted] is None:
                seconds[wanted] += attempt.gpu_seconds
                trials[wanted] = len(curve) if share >= wanted else None
        if share >= 1 and not noisy:
            break
    return Course(curve=tuple(curve), trials=trials, gpu_seconds=seconds, failures=failures, duplicates=duplicates)


def as_published(grid: Grid, seed: int, options: Options) -> Iterator[Attempt]:
    """Yield the trials of the paper's search: each loads the engine, and measures a full pass, again if repeated."""
    times: dict[Configuration, int] = {}
    numbers: list[float | None] = []

    def number(cell: Configuration) -> float | None:
        times[cell] = times.get(cell, -1) + 1
        numbers.append(measured_number(grid, cell, noise=options.noise, seed=seed, attempt=times[cell]))
        return numbers[-1]

    asked = hyperopt_as_published(grid, seed, trials=options.cap(grid), number=number)
    for cell, measured in zip(asked, numbers, strict=True):
        yield alone(grid, cell, measured, full_pass(options.costs))


def alone(grid: Grid, cell: Configuration, number: float | None, costs: CostModel) -> Attempt:
    """Return a trial that has an engine load of its own."""
    rate = grid.rates.get(cell)
    seconds = costs.alone(grid, cell.batch_size, rate)
    return Attempt(configuration=cell, rate=rate, number=number, gpu_seconds=seconds * cell.gpu_count)


def full_pass(costs: CostModel) -> CostModel:
    """Return the same costs with full measurements."""
    return CostModel(
        samples=costs.samples,
        new_tokens=costs.new_tokens,
        load_seconds=costs.load_seconds,
        failure_seconds=costs.failure_seconds,
    )


def _through_decide(algorithm: AlgorithmName, grid: Grid, seed: int, options: Options) -> Iterator[Attempt]:
    study = replayed_study(
        grid,
        algorithm,
        seed=seed,
        max_trials=options.cap(grid),
        gpu_memory_mib=memory_mib_of_name(grid.gpu_model),
        trials_per_run=options.trials_per_run,
        costs=options.costs,
    )
    for step in replay(study, grid, costs=options.costs, noise=options.noise):
        yield Attempt(
            configuration=step.configuration, rate=step.rate, number=step.number, gpu_seconds=step.gpu_seconds
        )
