"""Replay published landscapes with two metrics: how much of the Pareto front has a search after N trials?

    python benchmarks/bench_pareto.py --landscapes CSV [--seeds 5] [--algorithms landscape tpe]

The first metric is the throughput. The second one is `throughputPerGPU`, or `secondsPerOutputToken`, which the tables
do not have: in a full batch every sequence gets a token per step, so it is taken to be batch size / throughput. Each
search runs twice: for the throughput alone, and for both (`objective.secondMetric`).

The figure is the share of the hypervolume: the area that the measured configurations beat, over the same area of all
configurations of the grid, both in logarithms of the metrics, down to 10 % beyond the ends of the true front. Beside it
the cost of looking for two things: trials until the throughput is within 1 % of its optimum.

Not a held-out score: `landscape` has learned from published tables, and the weights of both metrics were chosen on a
quarter of these grids. The two searches of a row know the same, so their difference is fair; its size is optimistic.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from math import log
from multiprocessing import Pool as ProcessPool
from pathlib import Path
from typing import Any, cast, get_args

from infpop_operator.core.decide import decide
from infpop_operator.core.model import EndedRun, Finished, History
from infpop_operator.core.study import AlgorithmName, Configuration, Objective, SecondMetric, Study
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.played_run import play
from infpop_operator.replay.world import GOOD_SHARE, START, replayed_study
from infpop_runner.contract import Measured, Provenance, RunResult

COSTS = CostModel()
BUDGETS = (4, 6, 8, 12, 16, 20)
SECONDS = ("throughputPerGPU", "secondsPerOutputToken")
MARGIN = 1.1  # the reference point lies this far beyond the ends of the true front
RESULTS = Path(__file__).parent / "results" / "pareto.json"

Point = tuple[float, float]  # logarithms of both metrics, larger is better


def main() -> None:
    """Replay every landscape, print the tables and write them to `RESULTS`."""
    parser = argparse.ArgumentParser(description="Replay published landscapes with two metrics.")
    parser.add_argument("--landscapes", type=Path, required=True, help="CSV of measured cells")
    parser.add_argument("--seeds", type=int, default=5, help="searches per landscape and algorithm")
    parser.add_argument("--every", type=int, default=1, help="replay one of this many landscapes")
    parser.add_argument("--algorithms", nargs="+", default=["landscape", "tpe"], choices=get_args(AlgorithmName))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    grids = [grid for grid in read_grids(arguments.landscapes) if len(grid.rates) > 1][:: arguments.every]
    jobs = [
        (grid, name, second, both, seed)
        for grid in grids
        for name in arguments.algorithms
        for second in SECONDS
        for both in (False, True)
        for seed in range(arguments.seeds)
    ]
    with ProcessPool(arguments.processes) as processes:
        found = processes.starmap(run, jobs, chunksize=4)
    document = {"landscapes": len(grids), "seeds": arguments.seeds}
    document |= summary([(*job[1:4], *each) for job, each in zip(jobs, found, strict=True)])
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    for row in cast("list[dict[str, Any]]", document["searches"]):
        shares = "  ".join(f"{count}: {share:.3f}" for count, share in row["hypervolume_share"].items())
        print(f"{row['algorithm']:10} {row['second']:22} {row['search']:10} {shares}  99 %: {row['trials_to_99']:.2f}")


def run(grid: Grid, name: AlgorithmName, second: SecondMetric, both: bool, seed: int) -> tuple[list[float], int]:  # noqa: FBT001 - one of a job
    """Return the share of the hypervolume after each budget, and the trials to 99 % of the best throughput."""
    study = replayed_study(grid, name, seed=seed, max_trials=max(BUDGETS))
    study = replace(study, objective=Objective(second_metric=second if both else None))
    tried = list(_tried(study, grid))
    points = {cell: _point(cell, rate, second) for cell, rate in grid.rates.items()}
    ends = _ends(list(points.values()))
    whole = hypervolume(list(points.values()), *ends)
    shares = [
        hypervolume([points[cell] for cell in tried[:count] if cell in points], *ends) / whole for count in BUDGETS
    ]
    target = GOOD_SHARE * max(grid.rates.values())
    good = (number for number, cell in enumerate(tried, start=1) if grid.rates.get(cell, 0.0) >= target)
    return shares, next(good, max(BUDGETS) + 1)


def _tried(study: Study, grid: Grid) -> Iterator[Configuration]:
    """Yield the configurations in the order in which the operator's decisions try them."""
    history, now = History(started_at=START), START
    while (decision := decide(study, history, {}, now)).start:
        (started,) = decision.start
        played = play([(trial, None) for trial in started.trials], grid, costs=COSTS)
        tokens = study.workload.max_new_tokens
        results = tuple(
            _with_times(each.result, tokens) if isinstance(each.result, Measured) else each.result for each in played
        )
        ended = now + timedelta(seconds=1)
        result = RunResult(
            run=started.name,
            simulated=True,
            trials=results,
            load_seconds=played[0].load_seconds,
            provenance=Provenance(engine=study.engine.name),
            started_at=now,
            ended_at=ended,
        )
        observation = Finished(result=result, ended_at=ended)
        entry = EndedRun(run=started, started_at=now, held_since=now, observation=observation)
        history, now = replace(decision.history, ended=(*decision.history.ended, entry)), ended
        yield from (trial.configuration for trial in started.trials)


def _with_times(measured: Measured, tokens: int) -> Measured:
    seconds = measured.batch_size * tokens / measured.throughput_tokens_per_second
    missing = {name: reason for name, reason in measured.missing.items() if name != "batch_seconds_p50"}
    return measured.model_copy(update={"batch_seconds_p50": seconds, "missing": missing})


def _point(cell: Configuration, rate: float, second: SecondMetric) -> Point:
    other = rate / (cell.gpu_count if second == "throughputPerGPU" else cell.batch_size)
    return (log(rate), log(other))


def _ends(points: Sequence[Point]) -> tuple[Point, Point]:
    """Return the best of each metric, and the reference point."""
    best = (max(point[0] for point in points), max(point[1] for point in points))
    front = [each for each in points if not any(_beats(other, each) for other in points)]
    worst = (min(point[0] for point in front), min(point[1] for point in front))
    reference = tuple(top - MARGIN * max(top - low, 0.01) for top, low in zip(best, worst, strict=True))
    return best, cast("Point", reference)


def _beats(one: Point, other: Point) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]


def hypervolume(points: Sequence[Point], best: Point, reference: Point) -> float:
    """Return the area that the points beat above the reference point, in units of the area up to `best`."""
    area, reached = 0.0, reference[1]
    for first, second in sorted(points, reverse=True):
        if first > reference[0] and second > reached:
            area += (first - reference[0]) * (second - reached)
            reached = second
    return area / ((best[0] - reference[0]) * (best[1] - reference[1]))


def summary(rows: Sequence[tuple[str, str, bool, list[float], int]]) -> dict[str, object]:
    """Return the means over all grids and seeds."""
    groups: dict[tuple[str, str, bool], list[tuple[list[float], int]]] = defaultdict(list)
    for name, second, both, shares, trials in rows:
        groups[name, second, both].append((shares, trials))
    return {
        "searches": [
            {
                "algorithm": name,
                "second": second,
                "search": "both" if both else "first only",
                "hypervolume_share": {
                    str(count): round(statistics.mean(shares[place] for shares, _ in found), 4)
                    for place, count in enumerate(BUDGETS)
                },
                "trials_to_99": round(statistics.mean(trials for _, trials in found), 3),
            }
            for (name, second, both), found in groups.items()
        ],
    }


if __name__ == "__main__":
    main()
