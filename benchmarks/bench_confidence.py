"""Compare how sure the search says it is with how often it is right, on recorded landscapes.

    python benchmarks/bench_confidence.py LANDSCAPES.csv [--seeds 3] [--warm] [--output FILE]

After each trial the search `landscape` states the probability that the best so far is within 1 % of the optimum
(`core.search.confidence`, by which `budget.plateau.confidence` ends a round); the recorded landscape says if it is.
With `--warm` a study first measures all of the same model on the file's other GPU model, and then tunes it again.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from infpop_operator.core.history import current_round, next_index
from infpop_operator.core.model import History
from infpop_operator.core.plan_end import LEAST_MEASURED
from infpop_operator.core.plan_request import search_request
from infpop_operator.core.plan_view import view_of
from infpop_operator.core.search import confidence
from infpop_operator.core.study import Study
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.subjects import engine_key, memory_mib_of_name
from infpop_operator.replay.world import GOOD_SHARE, POOL, replay, replayed_study

RESULTS = Path(__file__).parent / "results" / "confidence.json"
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
COSTS = CostModel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """How sure the search was after a number of trials, of which `numbers` had one, and whether it was right."""

    trials: int
    numbers: int
    probability: float
    is_right: bool


def main() -> None:
    """Replay every landscape, and write the calibration for each engine."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("landscapes", type=Path, help="CSV of measured cells")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--warm", action="store_true", help="after a round on the other GPU model")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    grids = [grid for grid in read_grids(arguments.landscapes) if grid.rates]
    courses: dict[str, list[list[Stated]]] = {}
    for grid in grids:
        old = _other(grid, grids) if arguments.warm else None
        if arguments.warm and old is None:
            continue
        for seed in range(arguments.seeds):
            courses.setdefault(engine_key(grid.engine), []).append(list(course(grid, seed, old)))
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    known["warm" if arguments.warm else "cold"] = {
        "seeds": arguments.seeds,
        **{engine: calibration(own) for engine, own in sorted(courses.items())},
    }
    arguments.output.write_text(json.dumps(known, indent=1) + "\n")
    print(json.dumps(known, indent=1))


def course(grid: Grid, seed: int, old: Grid | None) -> Iterator[Stated]:
    """Yield what a search states after each trial, until nothing is left or it is as good as certain."""
    history = None if old is None else _first_round(old, seed)
    study = _study(grid, seed)
    good, best, numbers = GOOD_SHARE * max(grid.rates.values()), 0.0, 0
    for trials, step in enumerate(replay(study, grid, history, costs=COSTS), start=1):
        best, numbers = max(best, step.rate or 0.0), numbers + (step.rate is not None)
        probability = stated(study, step.history)
        if probability is not None:
            yield Stated(trials=trials, numbers=numbers, probability=probability, is_right=best >= good)
            if probability >= max(LEVELS) and numbers >= LEAST_MEASURED:
                return


def stated(study: Study, history: History) -> float | None:
    """Return how sure the search of the newest round is, as the product asks it."""
    newest = current_round(history, POOL)
    if newest is None:
        raise ValueError("the study has no round")
    view = view_of(study, study.pools[0], history)
    index = next_index(history, POOL, newest.number)
    return confidence(search_request(view, open_cells=view.open_cells, index=index))


def calibration(courses: Sequence[Sequence[Stated]]) -> dict[str, object]:
    """Return what stopping at each level would have given, and the share of right statements by what was stated."""
    everything = [each for own in courses for each in own]
    bins: list[dict[str, object]] = []
    for low, high in zip((0.0, *LEVELS), (*LEVELS, 1.01), strict=True):
        inside = [each for each in everything if low <= each.probability < high]
        if inside:
            bins.append(
                {
                    "stated": round(mean(each.probability for each in inside), 3),
                    "true": round(mean(each.is_right for each in inside), 3),
                    "statements": len(inside),
                }
            )
    return {"searches": len(courses), "bins": bins, "stops": [_stop(courses, level) for level in LEVELS]}


def _stop(courses: Sequence[Sequence[Stated]], level: float) -> dict[str, object]:
    ends = [
        next((each for each in own if each.probability >= level and each.numbers >= LEAST_MEASURED), own[-1])
        for own in courses
        if own
    ]
    return {
        "level": level,
        "right": round(mean(end.is_right for end in ends), 3),
        "trials": round(mean(end.trials for end in ends), 2),
    }


def _study(grid: Grid, seed: int) -> Study:
    return replayed_study(grid, "landscape", seed=seed, gpu_memory_mib=memory_mib_of_name(grid.gpu_model), costs=COSTS)


def _first_round(old: Grid, seed: int) -> History:
    """Return the history of a study that has measured all of the old landscape."""
    study = replayed_study(old, "grid", seed=seed, gpu_memory_mib=memory_mib_of_name(old.gpu_model), costs=COSTS)
    *_, last = replay(study, old, costs=COSTS)
    return last.history


def _other(grid: Grid, grids: Sequence[Grid]) -> Grid | None:
    """Return the landscape of the same engine, model and workload on another GPU model, None if there is none."""
    wanted = (grid.engine, grid.model, grid.workload)
    found = (each for each in grids if (each.engine, each.model, each.workload) == wanted)
    return next((each for each in found if each.gpu_model != grid.gpu_model), None)


if __name__ == "__main__":
    main()
