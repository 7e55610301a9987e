"""Compare all searches on recorded landscapes: trials and GPU time until each has found the best configuration.

    python benchmarks/bench_search.py LANDSCAPES.csv [--seeds 20] [--only NAME ...] [--output FILE]

`infpop_operator.replay.grids` says which columns the CSV has. The searches are those of `infpop replay search`, through
the decisions of the operator, and as references the paper's own search, a fixed order of configurations that was
learned from the other models of the file, and Optuna's samplers where Optuna is installed (InfPop does not need it).
`--only` replays some of them again and keeps the other results of the file.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import cast

import optuna_ask
from infpop_operator.core.space import cells
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.played_run import measured_number
from infpop_operator.replay.search import (
    PAPER,
    Attempt,
    Course,
    Job,
    Options,
    SearchName,
    alone,
    course,
    full_pass,
    run,
)
from infpop_operator.replay.search_results import ALL, GridResult, by_engine, summary

RESULTS = Path(__file__).parent / "results" / "search.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One line of the table. `name` is one of `infpop replay search`, or None for the function `order`."""

    name: SearchName | None = None
    order: Callable[[Grid, int, Sequence[Grid], Options], Iterator[Attempt]] | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    short: bool = False


def fixed_order(grid: Grid, seed: int, grids: Sequence[Grid], options: Options) -> Iterator[Attempt]:
    """Yield the configurations in the order that, on the other models, found the best ones soonest.

    Greedy: each next configuration is the one that raises the mean share of the optimum most, over the landscapes of
    the same engine. The seed makes no difference; without other models the order is that of the space.
    """
    del seed
    others = [other for other in grids if other.engine == grid.engine and other.model != grid.model and other.rates]
    shares = [{cell: rate / max(other.rates.values()) for cell, rate in other.rates.items()} for other in others]
    best = [0.0] * len(shares)
    left = list(cells(grid.space))
    while left:
        gains = {
            cell: sum(max(share.get(cell, 0.0) - was, 0.0) for share, was in zip(shares, best, strict=True))
            for cell in left
        }
        chosen = max(left, key=lambda cell: (gains[cell], sum(share.get(cell, 0.0) for share in shares)))
        best = [max(was, share.get(chosen, 0.0)) for share, was in zip(shares, best, strict=True)]
        left.remove(chosen)
        yield alone(grid, chosen, grid.rates.get(chosen), options.costs)


def optuna(sampler: str, grid: Grid, seed: int, grids: Sequence[Grid], options: Options) -> Iterator[Attempt]:
    """Yield what a sampler of Optuna asks for; what it asks for again is answered from memory, at no cost."""
    del grids
    measure = partial(measured_number, grid, noise=options.noise, seed=seed, attempt=0)
    for cell in optuna_ask.asked(sampler, grid.space, seed, options.cap(grid), measure):
        yield alone(grid, cell, measure(cell), options.costs)


SEARCHES: Mapping[str, Search] = {
    "infpop-paper": Search(name=PAPER),
    "random": Search(name="random"),
    "grid": Search(name="grid"),
    "anneal": Search(name="anneal"),
    "tpe": Search(name="tpe"),
    "optuna-tpe": Search(order=partial(optuna, "tpe")),
    "optuna-gp": Search(order=partial(optuna, "gp")),
    "fixed order of the other models": Search(order=fixed_order),
    "landscape": Search(name="landscape"),
    "tpe, short": Search(name="tpe", short=True),
    "landscape, short": Search(name="landscape", short=True),
    "landscape, short, auto": Search(name="landscape", short=True, changes={"trials_per_run": "auto"}),
    "landscape, auto": Search(name="landscape", changes={"trials_per_run": "auto"}),
}

SEEDLESS = {"grid", "fixed order of the other models"}  # every seed gives the same course


def main() -> None:
    """Replay every landscape with every search, write the results, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("landscapes", type=Path, help="CSV of measured cells")
    parser.add_argument("--seeds", type=int, default=20, help="searches per landscape and algorithm")
    parser.add_argument("--only", nargs="+", choices=SEARCHES, metavar="NAME", help=f"one of: {', '.join(SEARCHES)}")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    grids = [grid for grid in read_grids(arguments.landscapes) if grid.rates]
    options = Options(seeds=arguments.seeds)
    known = _read(arguments.output, len(grids))
    with ProcessPoolExecutor(arguments.processes) as pool:
        paper = _courses("infpop-paper", grids, options, pool)
        for name in arguments.only or SEARCHES:
            if name.startswith("optuna") and find_spec("optuna") is None:
                sys.stderr.write(f"{name} is left out: Optuna is not installed.\n")
                continue
            started = time.perf_counter()
            found = paper if name == "infpop-paper" else _courses(name, grids, options, pool)
            results = [
                GridResult(grid=grid, cap=options.cap(grid), courses=own, paper=reference)
                for grid, own, reference in zip(grids, found, paper, strict=True)
            ]
            known[name] = _entry(results)
            kept = {key: known[key] for key in SEARCHES if key in known}
            content = {"landscapes": len(grids), "searches": kept}
            arguments.output.write_text(json.dumps(content, indent=1) + "\n")
            sys.stderr.write(f"{name}: {time.perf_counter() - started:.0f} s\n")
    print(render_table(known))


def run_search(search: str, seed: int, grid: Grid, grids: Sequence[Grid], options: Options) -> Course:
    """Return the course of the named search on one landscape."""
    chosen = SEARCHES[search]
    options = replace(options, **chosen.changes, costs=replace(full_pass(options.costs), short=chosen.short))
    if chosen.name is not None:
        return run(Job(search=chosen.name, grid=grid, seed=seed), options)
    if chosen.order is None:
        raise ValueError(f"{search} has neither a name nor an order")
    return course(grid, chosen.order(grid, seed, grids, options))


def _courses(
    search: str, grids: Sequence[Grid], options: Options, pool: ProcessPoolExecutor
) -> list[tuple[Course, ...]]:
    """Return the courses of each landscape, in the order of the seeds."""
    seeds = 1 if search in SEEDLESS else options.seeds
    jobs = [(seed, grid) for grid in grids for seed in range(seeds)]
    ask = partial(_run_job, search, grids=grids, options=options)
    found = list(pool.map(ask, jobs, chunksize=seeds))
    return [tuple(found[start : start + seeds]) * (options.seeds // seeds) for start in range(0, len(found), seeds)]


def _run_job(search: str, job: tuple[int, Grid], *, grids: Sequence[Grid], options: Options) -> Course:
    return run_search(search, job[0], job[1], grids, options)


def _entry(results: Sequence[GridResult]) -> dict[str, object]:
    """Return the summaries of a search, and its mean trials to 99 % and cost ratio of each landscape."""
    return {
        "seeds": len(results[0].courses),
        "summary": {key: summary(group) for key, group in by_engine(results).items()},
        "grids": [
            {
                "gpu_model": result.grid.gpu_model,
                "engine": result.grid.engine,
                "model": result.grid.name,
                "trials_to_99": round(mean(result.trials(0.99)), 2),
                "cost_ratio_to_paper": round(result.cost_ratio(0.99), 3),
            }
            for result in results
        ],
    }


def _read(path: Path, grids: int) -> dict[str, dict[str, object]]:
    """Return the earlier results of as many landscapes; they are kept."""
    content = json.loads(path.read_text()) if path.exists() else {}
    return content["searches"] if content.get("landscapes") == grids else {}


def render_table(searches: Mapping[str, Mapping[str, object]]) -> str:
    """Return the results as Markdown, one line for each search, with columns for each engine."""
    lines: list[str] = []
    keys = next(iter(searches.values()))["summary"]
    for key in cast("Iterable[str]", keys):
        if key == ALL and len(cast("Mapping[str, object]", keys)) > 1:
            continue
        lines += [
            f"| {key} | seeds | mean | median | p90 | to 95 % | to 100 % | GPU-h | cost | worst |",
            "|---" * 10 + "|",
        ]
        for name in (name for name in SEARCHES if name in searches):
            lines.append(
                _line(name, cast("Mapping[str, Mapping[str, dict[str, float]]]", searches[name]["summary"])[key])
            )
        lines.append("")
    return "\n".join(lines)


def _line(name: str, found: Mapping[str, dict[str, float]]) -> str:
    trials, ratio = found["trials_to_99"], found["cost_ratio_to_paper"]
    texts = (
        name,
        f"{round(found['searches'] / found['grids'])}",
        f"{trials['mean']:.1f}",
        f"{trials['median']:g}",
        f"{trials['p90']:g}",
        f"{found['trials_to_95']['mean']:.1f}",
        f"{found['trials_to_100']['mean']:.1f}",
        f"{found['gpu_seconds_to_99']['geometric_mean'] / 3600:.2f}",
        f"{ratio['geometric_mean']:.3f}",
        f"{ratio['worst']:.2f}",
    )
    return f"| {' | '.join(texts)} |"


if __name__ == "__main__":
    main()
