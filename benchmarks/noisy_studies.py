"""Drive studies through `core.decide` in a world with noisy engine loads, and judge what they publish by the truth.

Each load of a configuration has an error of its own that all its repeats share, and each repeat has one in addition.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import exp, log2
from random import Random
from statistics import median
from typing import Literal, get_args

from infpop_operator.core import objective
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision
from infpop_operator.core.model import EndedRun, Finished, History, PlannedTrial, Run, Trial
from infpop_operator.core.recommend import best_of_pool, trial_value
from infpop_operator.core.round_facts import baseline_outcome
from infpop_operator.core.space import cells
from infpop_operator.core.study import Algorithm, Budget, Configuration, Objective, Pool, SearchSpace, Study
from infpop_runner.contract import (
    EngineSpec,
    Measured,
    MeasurementSpec,
    ModelSpec,
    Provenance,
    RunResult,
    SimulationSpec,
    SyntheticSource,
    WorkloadSpec,
)

Shape = Literal["flat", "close", "smooth", "hopeless"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
_START = datetime(2026, 1, 1, tzinfo=UTC)
SPACE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=(8, 16, 32, 64, 128, 256))
_POOL = "pool"
_PEAK = 1000.0  # tokens/s
_LOAD_SECONDS = 60.0
_TOKENS = 5165  # 1,033 prompts with 5 new tokens
_REPEATS = 3
_REPEAT_SHARE = 1 / 3  # of the noise of a load: repeats of one load differ less than loads. Reasoned, not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyWorld:
    """The true tokens/s of each cell of a space, the relative standard deviation of a load, and a seed."""

    space: SearchSpace
    rates: Mapping[Configuration, float]
    baseline: Configuration
    noise: float
    seed: int

    def measure(self, run: Run, cell: Configuration) -> tuple[float, float]:
        """Return the throughput that one load measures, and the spread of its repeats."""
        chance = Random(f"{self.seed} {run.name}")
        load = 1 + chance.gauss(0, self.noise)
        repeats = [1 + chance.gauss(0, self.noise * _REPEAT_SHARE) for _ in range(_REPEATS)]
        middle = median(repeats)
        return (max(1e-3, self.rates[cell] * load * middle), (max(repeats) - min(repeats)) / middle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a study publishes, judged by the truth.

    `error` is the published number less the true one, in standard deviations of a load. `covered`: the published
    interval has the true number; None if there is no interval. `says_better` and `is_better` are about the baseline.
    `regret_ratio` is how much slower the published configuration is than the best.
    """

    error: float
    covered: bool | None
    half_width: float | None  # of the interval, in standard deviations of a load
    says_better: bool
    is_better: bool
    gain_ratio: float  # true gain over the baseline
    regret_ratio: float
    search_gpu_seconds: float
    again_gpu_seconds: float
    loads_again: int


def noisy_world(shape: Shape, *, noise: float, seed: int, space: SearchSpace = SPACE) -> NoisyWorld:
    """Return a random landscape.

    `flat`: all cells are equal, so that every difference is an error. `close`: random, with a standard deviation of
    3 %. `smooth`: it falls by 15 % for each doubling of the GPUs and by 8 % for each of the batch size away from its
    optimum. `hopeless` is the same with the optimum as the baseline: nothing is better. Else the baseline is any cell.
    """
    chance = Random(f"{shape} {seed}")
    known = cells(space)
    if shape == "flat":
        rates = dict.fromkeys(known, _PEAK)
    elif shape == "close":
        rates = {cell: _PEAK * exp(chance.gauss(0, 0.03)) for cell in known}
    else:
        gpus, batch = chance.uniform(0, 3), chance.uniform(3, 8)
        rates = {
            cell: _PEAK * exp(-0.15 * abs(log2(cell.gpu_count) - gpus) - 0.08 * abs(log2(cell.batch_size) - batch))
            for cell in known
        }
    baseline = max(known, key=lambda cell: rates[cell]) if shape == "hopeless" else chance.choice(known)
    return NoisyWorld(space=space, rates=rates, baseline=baseline, noise=noise, seed=seed)


def noisy_study(world: NoisyWorld, *, confirm: bool, max_trials: int = 20) -> Study:
    """Return a random search for the best throughput of a world."""
    return Study(
        key=f"noisy-{world.seed}",
        namespace="",
        name="noisy",
        model=ModelSpec(name="model"),
        engine=EngineSpec(name="simulated", simulation=SimulationSpec()),
        workload=WorkloadSpec(source=SyntheticSource(prompt_tokens=1), samples=1, max_new_tokens=1),
        space=world.space,
        objective=Objective(),
        algorithm=Algorithm(name="random", seed=world.seed),
        budget=Budget(max_trials=max_trials, confirm=confirm),
        measurement=MeasurementSpec(),
        pools=(Pool(name=_POOL, device="cuda", fingerprint="gpu"),),
        model_fingerprint="model",
        workload_fingerprint="workload",
        baseline=world.baseline,
    )


def searched(study: Study, world: NoisyWorld) -> History:
    """Return the history of a study whose random search is over: the baseline, then other cells in random order.

    The runs are those that `decide` would have started one after the other, without asking it.
    """
    history, now = decide(study, History(started_at=_START), {}, _START).history, _START
    others = [cell for cell in cells(study.space) if cell != world.baseline]
    Random(f"order {world.seed}").shuffle(others)
    ended: list[EndedRun] = []
    for index, cell in enumerate([world.baseline, *others][: study.budget.max_trials]):
        trials = (PlannedTrial(index=index, configuration=cell),)
        run = Run(name=f"{study.name}-{index}", pool=_POOL, round=1, attempt=1, trials=trials)
        ended.append(_ended(world, run, now))
        now = ended[-1].observation.ended_at
    return replace(history, ended=tuple(ended))


def drive_to_end(study: Study, world: NoisyWorld, history: History | None = None) -> Decision:
    """Return the last decision about a study whose runs are made one after the other.

    Args:
        study: from `noisy_study`.
        world: what its runs find.
        history: from `searched`; None: the search is driven as well.
    """
    history = History(started_at=_START) if history is None else history
    now = max((entry.observation.ended_at for entry in history.ended), default=_START)
    while (decision := decide(study, history, {}, now)).start:
        (run,) = decision.start
        ended = _ended(world, run, now)
        history, now = replace(decision.history, ended=(*decision.history.ended, ended)), ended.observation.ended_at
    return decision


def published(study: Study, world: NoisyWorld, decision: Decision) -> Published:
    """Return what a study that has ended says about its best, with the truth about it.

    Raises:
        ValueError: it has no best, which no noise explains.
    """
    (pool,), history = study.pools, decision.history
    best = best_of_pool(study, pool, history)
    if best is None:
        raise ValueError("the study has no best")
    truth, was = world.rates[best.configuration], world.rates[world.baseline]
    number, runs = trial_value(study, pool, best), history.ended
    again = [entry for entry in runs if entry.run.confirms]
    interval = best.result.interval_tokens_per_second if isinstance(best.result, Measured) else None
    return Published(
        error=(number - truth) / (truth * world.noise),
        covered=None if interval is None else interval[0] <= truth <= interval[1],
        half_width=None if interval is None else (interval[1] - interval[0]) / 2 / (truth * world.noise),
        says_better=_says_better(study, pool, history, best),
        is_better=truth > was,
        gain_ratio=truth / was - 1,
        regret_ratio=1 - truth / max(world.rates.values()),
        search_gpu_seconds=sum(entry.gpu_seconds for entry in runs if not entry.run.confirms),
        again_gpu_seconds=sum(entry.gpu_seconds for entry in again),
        loads_again=len(again),
    )


def _says_better(study: Study, pool: Pool, history: History, best: Trial) -> bool:
    outcome = baseline_outcome(study, pool, history, history.rounds[-1])
    old = None if outcome is None else outcome.measured
    if old is None or old.configuration == best.configuration:
        return False
    return objective.is_clearly_better(study, (pool, best), (pool, old))


def _ended(world: NoisyWorld, run: Run, now: datetime) -> EndedRun:
    (planned,) = run.trials
    rate, spread = world.measure(run, planned.configuration)
    absent = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio")
    measured = Measured(
        index=planned.index,
        batch_size=planned.configuration.batch_size,
        throughput_tokens_per_second=rate,
        spread_ratio=spread,
        repeats=_REPEATS,
        generated_tokens=_TOKENS,
        measured_seconds=_TOKENS / rate,
        missing=dict.fromkeys(absent, "Simulated"),
    )
    ends = now + timedelta(seconds=_LOAD_SECONDS + _TOKENS / rate)
    result = RunResult(
        run=run.name,
        simulated=True,
        trials=(measured,),
        load_seconds=_LOAD_SECONDS,
        provenance=Provenance(engine="simulated"),
        started_at=now,
        ended_at=ends,
    )
    return EndedRun(run=run, started_at=now, held_since=now, observation=Finished(result=result, ended_at=ends))
