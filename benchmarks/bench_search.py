"""Replay published landscapes through `decide`: how good is the best after N trials, and how many trials find it?

    python benchmarks/bench_search.py --landscapes CSV [--seeds 5]

Columns of the CSV: gpu_model, engine, model, gpu_count, batch_size, outcome, throughput_tokens_per_second. Each
(gpu_model, engine, model) is one landscape; a cell that is missing or not "ok" runs out of memory. The tables have no
noise, so this shows how a search uses its trials and nothing about noisy measurements.

Two references in addition to InfPop's algorithms: Hyperopt as published (arXiv 2408.01050: `hp.choice`, 20 random
trials first, repeated cells allowed), and random order without repeats.

Not a held-out score: some settings of `tpe` (axis ends, start-up trials, retries) were chosen on published landscapes
of this kind. Expect less on others.
"""

import argparse
import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import Pool as ProcessPool
from pathlib import Path
from random import Random
from typing import cast, get_args

from hyperopt import STATUS_FAIL, STATUS_OK, Trials, fmin, hp, tpe
from hyperopt.exceptions import AllTrialsFailed
from numpy.random import default_rng

from infpop_operator.core.decide import decide
from infpop_operator.core.model import EndedRun, Finished, History, Run
from infpop_operator.core.space import cells
from infpop_operator.core.study import (
    Algorithm,
    AlgorithmName,
    Budget,
    Configuration,
    Objective,
    Pool,
    SearchSpace,
    Study,
)
from infpop_runner.contract import (
    EngineSpec,
    Infeasible,
    Measured,
    MeasurementSpec,
    ModelSpec,
    Provenance,
    RunResult,
    SimulationSpec,
    SyntheticSource,
    TrialResult,
    WorkloadSpec,
)

BUDGETS = (5, 10, 15, 20, 30, 44)
GOOD_SHARE = 0.99
START = datetime(2026, 1, 1, tzinfo=UTC)
RESULTS = Path(__file__).parent / "results" / "search.json"

Table = Mapping[Configuration, float]  # tokens/s of the cells that work
Search = Callable[["Landscape", int], list[Configuration]]  # landscape, seed -> cells in the order measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """One published grid."""

    gpu_model: str
    engine: str
    model: str
    space: SearchSpace
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The course of one search: share of the optimum after each trial, and trials until `GOOD_SHARE` (None: never)."""

    engine: str
    shares: tuple[float, ...]
    trials_to_good: int | None
    failures_in_20: int


def main() -> None:
    """Replay every landscape with every search, print the table and write it to `RESULTS`."""
    parser = argparse.ArgumentParser(description="Replay published landscapes through the search.")
    parser.add_argument("--landscapes", type=Path, required=True, help="CSV of measured cells")
    parser.add_argument("--seeds", type=int, default=5, help="searches per landscape and algorithm")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    landscapes = load_landscapes(arguments.landscapes)
    jobs = [(name, entry, seed) for name in SEARCHES for entry in landscapes for seed in range(arguments.seeds)]
    with ProcessPool(arguments.processes) as processes:
        curves = processes.starmap(run_search, jobs, chunksize=8)
    by_search: dict[str, list[Curve]] = defaultdict(list)
    for (name, _, _), curve in zip(jobs, curves, strict=True):
        by_search[name].append(curve)
    summary = {name: summarise(found) for name, found in by_search.items()}
    print(render_table(summary))
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"landscapes": len(landscapes), "seeds": arguments.seeds, "searches": summary}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


def load_landscapes(path: Path) -> list[Landscape]:
    """Return the landscapes of the CSV, all over the grid of values that occur in it."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    space = SearchSpace(gpu_counts=_column(rows, "gpu_count"), batch_sizes=_column(rows, "batch_size"))
    tables: dict[tuple[str, str, str], dict[Configuration, float]] = defaultdict(dict)
    for row in rows:
        table = tables[row["gpu_model"], row["engine"], row["model"]]
        if row["outcome"] == "ok":
            cell = Configuration(gpu_count=int(row["gpu_count"]), batch_size=int(row["batch_size"]))
            table[cell] = float(row["throughput_tokens_per_second"])
    return [
        Landscape(gpu_model=gpu, engine=engine, model=model, space=space, table=table)
        for (gpu, engine, model), table in sorted(tables.items())
    ]


def _column(rows: list[dict[str, str]], name: str) -> tuple[int, ...]:
    return tuple(sorted({int(row[name]) for row in rows}))


def run_search(name: str, landscape: Landscape, seed: int) -> Curve:
    """Return the result of the named search on one landscape."""
    order = SEARCHES[name](landscape, seed)
    optimum = max(landscape.table.values())
    shares: list[float] = []
    for cell in order[: BUDGETS[-1]]:
        shares.append(max(landscape.table.get(cell, 0.0) / optimum, shares[-1] if shares else 0.0))
    good = next((trial for trial, share in enumerate(shares, start=1) if share >= GOOD_SHARE), None)
    failures = sum(cell not in landscape.table for cell in order[:20])
    return Curve(engine=landscape.engine, shares=tuple(shares), trials_to_good=good, failures_in_20=failures)


def summarise(curves: list[Curve]) -> dict[str, object]:
    """Return mean shares at each budget, and median and 90th percentile of the trials to `GOOD_SHARE`."""
    never = BUDGETS[-1] + 1
    to_good = sorted(never if curve.trials_to_good is None else curve.trials_to_good for curve in curves)
    engines = sorted({curve.engine for curve in curves})
    return {
        "share": _shares(curves),
        "share_by_engine": {name: _shares([curve for curve in curves if curve.engine == name]) for name in engines},
        "trials_to_99_percent": {
            "median": statistics.median(to_good),
            "p90": to_good[int(0.9 * (len(to_good) - 1))],
            "never": sum(curve.trials_to_good is None for curve in curves),
        },
        "failures_in_20": round(statistics.mean(curve.failures_in_20 for curve in curves), 2),
    }


def _shares(curves: list[Curve]) -> dict[str, float]:
    """Return a search's shares; one that ended early, because nothing was left, keeps its last share."""
    return {
        str(budget): round(statistics.mean(curve.shares[min(budget, len(curve.shares)) - 1] for curve in curves), 4)
        for budget in BUDGETS
    }


def render_table(summary: Mapping[str, Mapping[str, object]]) -> str:
    """Return the summary as text, one line for each search."""
    lines = [f"{'search':28}" + "".join(f"{budget:>7}" for budget in BUDGETS) + "  to 99 %  fails in 20"]
    for name, entry in summary.items():
        shares = cast("Mapping[str, float]", entry["share"])
        to_good = cast("Mapping[str, float]", entry["trials_to_99_percent"])
        cells_ = "".join(f"{shares[str(budget)]:7.3f}" for budget in BUDGETS)
        lines.append(f"{name:28}{cells_}  {to_good['median']:>3g}/{to_good['p90']:<3g}  {entry['failures_in_20']:>6}")
    return "\n".join(lines)


def through_decide(algorithm: AlgorithmName) -> Search:
    """Return the search that asks `decide` for one run after another until there are no more."""

    def search(landscape: Landscape, seed: int) -> list[Configuration]:
        study = _study(landscape, Algorithm(name=algorithm, seed=seed))
        return [run.trials[0].configuration for run in _runs(study, landscape.table)]

    return search


def _runs(study: Study, table: Table) -> Iterator[Run]:
    history, now = History(started_at=START), START
    while (decision := decide(study, history, {}, now)).start:
        (run,) = decision.start
        yield run
        ended = EndedRun(run=run, started_at=now, observation=_outcome(run, table, now))
        history = replace(decision.history, ended=(*decision.history.ended, ended))
        now += timedelta(seconds=1)


def _outcome(run: Run, table: Table, now: datetime) -> Finished:
    (planned,) = run.trials
    result = RunResult(
        run=run.name,
        simulated=True,
        trials=(_result(planned.index, planned.configuration, table),),
        provenance=Provenance(engine="simulated"),
        started_at=now,
        ended_at=now,
    )
    return Finished(result=result, ended_at=now)


def _result(index: int, cell: Configuration, table: Table) -> TrialResult:
    if cell not in table:
        return Infeasible(index=index, batch_size=cell.batch_size, reason="GpuOutOfMemory")
    absent = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio")
    return Measured(
        index=index,
        batch_size=cell.batch_size,
        throughput_tokens_per_second=table[cell],
        spread_ratio=0.0,
        repeats=3,
        generated_tokens=1,
        measured_seconds=1.0,
        missing=dict.fromkeys(absent, "Simulated"),
    )


def _study(landscape: Landscape, algorithm: Algorithm) -> Study:
    return Study(
        key="bench",
        namespace="",
        name="bench",
        model=ModelSpec(name=landscape.model),
        engine=EngineSpec(name="simulated", simulation=SimulationSpec()),
        workload=WorkloadSpec(source=SyntheticSource(prompt_tokens=1), samples=1, max_new_tokens=5),
        space=landscape.space,
        objective=Objective(),
        algorithm=algorithm,
        budget=Budget(max_trials=len(cells(landscape.space))),
        measurement=MeasurementSpec(),
        pools=(Pool(name=landscape.gpu_model.lower(), device="cuda", fingerprint=landscape.gpu_model),),
        model_fingerprint="bench",
        workload_fingerprint="bench",
    )


def hyperopt_as_published(landscape: Landscape, seed: int) -> list[Configuration]:
    """Return the cells that `fmin` evaluates: unordered choices, 20 random trials first, repeats kept."""
    space = {
        "gpu_count": hp.choice("gpu_count", landscape.space.gpu_counts),
        "batch_size": hp.choice("batch_size", landscape.space.batch_sizes),
    }
    asked: list[Configuration] = []

    def evaluate(point: Mapping[str, int]) -> dict[str, object]:
        cell = Configuration(gpu_count=int(point["gpu_count"]), batch_size=int(point["batch_size"]))
        asked.append(cell)
        if cell not in landscape.table:
            return {"status": STATUS_FAIL}
        return {"status": STATUS_OK, "loss": -landscape.table[cell]}

    with suppress(AllTrialsFailed):  # raised at the end if none of the asks worked; they count all the same
        fmin(
            evaluate,
            space,
            algo=tpe.suggest,
            max_evals=BUDGETS[-1],
            trials=Trials(),
            rstate=default_rng(seed),
            show_progressbar=False,
            verbose=False,
        )
    return asked


def random_without_repeats(landscape: Landscape, seed: int) -> list[Configuration]:
    """Return all cells in random order."""
    order = list(cells(landscape.space))
    Random(f"{landscape.gpu_model} {landscape.engine} {landscape.model} {seed}").shuffle(order)
    return order


SEARCHES: Mapping[str, Search] = {
    "hyperopt as published": hyperopt_as_published,
    "random without repeats": random_without_repeats,
    **{f"infpop {name}": through_decide(name) for name in get_args(AlgorithmName)},
}

if __name__ == "__main__":
    main()
