"""How the search `landscape` does on models that its prior has never seen, and with priors that are wrong on purpose.

    python benchmarks/bench_landscape.py CSV [--seeds 10] [--case left-out ...] [--parameters vllm/Phi-1=1.3e9]

For each model of the CSV the prior is fitted on all the others (`fit_landscape_prior.py`), and the model's grids are
searched through `decide`, as `infpop replay search` does it. The cases:

- `left-out`: that prior; with a bootstrap over models, and for the stop rule how often it was right.
- `other-engine`: the same, but each engine has what was learned of the other one.
- `mirrored`: the same, but the surfaces are turned upside down around their mean.
- `nothing-known`: no prior at all, only the generic belief.
- `tpe`: the search to compare with.

The file `results/landscape-lomo.json` keeps the cases that are not run again.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean

from fit_landscape_prior import Subjects, fit
from infpop_operator.core.search.landscape.knowledge import EngineKnowledge, Knowledge, instead, parse
from infpop_operator.core.study import Plateau
from infpop_operator.replay import search
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.search_results import GridResult, by_engine, summary
from infpop_operator.replay.subjects import memory_mib_of_name
from infpop_operator.replay.world import GOOD_SHARE, replay, replayed_study

RESULTS = Path(__file__).parent / "results" / "landscape-lomo.json"
CONFIDENCE = 0.9  # at which the stop rule is judged
DRAWS = 10_000  # of the bootstrap


def main() -> None:
    """Run the chosen cases, print and write them."""
    parser = argparse.ArgumentParser(description="Search left-out models with the search `landscape`.")
    parser.add_argument("csv", type=Path, help="CSV of measured cells")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--case", action="append", choices=CASES, help="default: left-out")
    parser.add_argument("--parameters", action="append", default=[], metavar="[ENGINE/]MODEL=1.3e9")
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    grids = [grid for grid in read_grids(arguments.csv) if grid.rates]
    sizes = {name: float(size) for name, _, size in (each.partition("=") for each in arguments.parameters)}
    options = search.Options(seeds=arguments.seeds)
    priors = {model: _without(grids, model, Subjects(parameters=sizes)) for model in {grid.model for grid in grids}}
    document = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    paper = [tuple(course(search.PAPER, grid, options)) for grid in grids]
    for name in arguments.case or ["left-out"]:
        results, stops = _case(name, grids, priors, options, paper)
        document[name] = to_document(results, stops, arguments.seeds)
        print(name, json.dumps(document[name]["summary"], indent=1))
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def _without(grids: Sequence[Grid], model: str, subjects: Subjects) -> Knowledge:
    return parse(fit([grid for grid in grids if grid.model != model], subjects, source="", made=""))


def _case(
    name: str,
    grids: Sequence[Grid],
    priors: Mapping[str, Knowledge],
    options: search.Options,
    paper: Sequence[tuple[search.Course, ...]],
) -> tuple[list[GridResult], dict[str, list[tuple[int, bool]]]]:
    """Return the results of a case, and of the left-out models when the stop rule ends a search."""
    change, algorithm = CASES[name]
    results: list[GridResult] = []
    stops: dict[str, list[tuple[int, bool]]] = {}
    for grid, published in zip(grids, paper, strict=True):
        with nullcontext() if change is None else instead(change(priors[grid.model])):
            courses = tuple(course(algorithm, grid, options))
            results.append(GridResult(grid=grid, cap=options.cap(grid), courses=courses, paper=published))
            if name == "left-out":
                stops.setdefault(grid.engine, []).extend(stop(grid, seed) for seed in range(options.seeds))
    return results, stops


def to_document(
    results: Sequence[GridResult], stops: Mapping[str, Sequence[tuple[int, bool]]], seeds: int
) -> dict[str, object]:
    """Return the results of a case as JSON values."""
    found: dict[str, object] = {
        "seeds": seeds,
        "summary": {key: _short(summary(own)) for key, own in by_engine(results).items()},
        "bootstrap_over_models": {key: _bootstrap(own) for key, own in by_engine(results).items()},
        "grids": [
            {
                "gpu_model": each.grid.gpu_model,
                "engine": each.grid.engine,
                "model": each.grid.model,
                "trials_to_99": mean(each.trials(GOOD_SHARE)),
                "cost_ratio_to_paper": round(each.cost_ratio(GOOD_SHARE), 4),
            }
            for each in results
        ],
    }
    if stops:
        found["stop_rule"] = {
            key: {
                "confidence": CONFIDENCE,
                "trials": round(mean(trials for trials, _ in own), 2),
                "right": round(mean(right for _, right in own), 3),
            }
            for key, own in stops.items()
        }
    return found


def course(name: search.SearchName, grid: Grid, options: search.Options) -> Iterator[search.Course]:
    """Yield the courses of a search on a grid, one for each seed."""
    for seed in range(options.seeds):
        yield search.run(search.Job(search=name, grid=grid, seed=seed), options)


def stop(grid: Grid, seed: int) -> tuple[int, bool]:
    """Return after how many trials the stop rule ends a search, and whether its best was within 1 % of the optimum."""
    options = search.Options()
    study = replayed_study(
        grid,
        "landscape",
        seed=seed,
        gpu_memory_mib=memory_mib_of_name(grid.gpu_model),
        plateau=Plateau(confidence=CONFIDENCE),
        costs=options.costs,
    )
    rates = [step.rate or 0.0 for step in replay(study, grid, costs=options.costs)]
    return len(rates), max(rates) >= GOOD_SHARE * max(grid.rates.values())


def _short(found: Mapping[str, object]) -> dict[str, object]:
    wanted = ("grids", "trials_to_99", "gpu_seconds_to_99", "not_reached_99", "cost_ratio_to_paper", "failures")
    return {name: found[name] for name in wanted}


def _bootstrap(results: Sequence[GridResult]) -> dict[str, list[float]]:
    """Return the 95 % intervals of the mean trials to 99 % and of the mean logarithmic cost ratio, by model."""
    models = sorted({each.grid.model for each in results})
    trials = {
        name: [count for each in results if each.grid.model == name for count in each.trials(0.99)] for name in models
    }
    ratios = {name: [each.cost_ratio(0.99) for each in results if each.grid.model == name] for name in models}
    random, means, costs = Random(0), [], []
    for _ in range(DRAWS):
        drawn = random.choices(models, k=len(models))
        means.append(mean(mean(trials[name]) for name in drawn))
        costs.append(mean(mean(ratios[name]) for name in drawn))
    return {"trials_to_99": _interval(means), "mean_cost_ratio": _interval(costs)}


def _interval(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [round(ordered[int(share * (len(ordered) - 1))], 3) for share in (0.025, 0.975)]


def _as_fitted(knowledge: Knowledge) -> Knowledge:
    return knowledge


def _other_engine(knowledge: Knowledge) -> Knowledge:
    names = list(knowledge)
    return {name: knowledge[other] for name, other in zip(names, reversed(names), strict=True)}


def _mirrored(knowledge: Knowledge) -> Knowledge:
    def upside_down(entry: EngineKnowledge) -> EngineKnowledge:
        return replace(entry, mean=2 * entry.mean.mean() - entry.mean)

    return {name: upside_down(entry) for name, entry in knowledge.items()}


def _nothing(knowledge: Knowledge) -> Knowledge:
    del knowledge
    return {}


CASES: Mapping[str, tuple[Callable[[Knowledge], Knowledge] | None, search.SearchName]] = {
    "left-out": (_as_fitted, "landscape"),
    "other-engine": (_other_engine, "landscape"),
    "mirrored": (_mirrored, "landscape"),
    "nothing-known": (_nothing, "landscape"),
    "tpe": (None, "tpe"),
}

if __name__ == "__main__":
    main()
