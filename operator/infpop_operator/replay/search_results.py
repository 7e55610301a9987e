"""Summarise replayed searches: for each grid, for each engine, and for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import mean, median

from infpop_operator.core.study import Configuration
from infpop_operator.replay.grids import Grid
from infpop_operator.replay.search import SHARES, Course, Options
from infpop_operator.replay.subjects import engine_key
from infpop_operator.replay.world import space_size

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridResult:
    """The courses of a search on one grid, one for each seed, and those of the paper's search to compare with.

    `cap` is the most trials of a search: one that has not found a share counts with one more.
    """

    grid: Grid
    cap: int
    courses: tuple[Course, ...]
    paper: tuple[Course, ...]

    def trials(self, share: float) -> list[int]:
        """Return the trials of each seed until a share of the optimum."""
        return [_counted(course, share, self.cap) for course in self.courses]

    def seconds(self, share: float) -> float:
        """Return the mean GPU-seconds until a share of the optimum."""
        return mean(course.gpu_seconds[share] for course in self.courses)

    def cost_ratio(self, share: float) -> float:
        """Return the mean GPU-seconds until a share of the optimum, divided by those of the paper's search."""
        return self.seconds(share) / mean(course.gpu_seconds[share] for course in self.paper)

    def not_reached(self, share: float) -> list[int]:
        """Return the seeds that never found a share of the optimum."""
        return [seed for seed, course in enumerate(self.courses) if course.trials[share] is None]


def by_engine(results: Sequence[GridResult]) -> Mapping[str, Sequence[GridResult]]:
    """Return the results of all grids, then those of each engine."""
    keys = sorted(
        {engine_key(result.grid.engine) for result in results}, key=lambda key: (key != "vllm", key != "hf", key)
    )
    groups = {key: [each for each in results if engine_key(each.grid.engine) == key] for key in keys}
    return {ALL: results, **groups}


def to_document(
    algorithm: str, results: Sequence[GridResult], options: Options, *, left_out: Iterable[Grid] = ()
) -> dict[str, object]:
    """Return the results as JSON values; `left_out` are the grids on which nothing works."""
    costs = options.costs
    return {
        "algorithm": algorithm,
        "options": {
            "seeds": options.seeds,
            "max_trials": options.max_trials,
            "trials_per_run": options.trials_per_run,
            "noise": options.noise,
            "samples": costs.samples,
            "new_tokens": costs.new_tokens,
            "load_seconds": costs.load_seconds,
            "short_measurement": costs.short,
        },
        "summary": {key: summary(group) for key, group in by_engine(results).items()} if results else {},
        "grids": [_grid(result) for result in results],
        "left_out": [_place(grid) for grid in left_out],
    }


def summary(results: Sequence[GridResult]) -> dict[str, object]:
    """Return what a search amounts to on several grids, at least one.

    Trials are counted over all searches. GPU-seconds and their ratios are means of the seeds of each grid first: an
    arithmetic mean over grids is ruled by the slowest one, so there is a geometric mean as well.
    """
    courses = [course for result in results for course in result.courses]
    found: dict[str, object] = {"grids": len(results), "searches": len(courses)}
    for share in SHARES:
        name, seconds = percent(share), [result.seconds(share) for result in results]
        trials = [count for result in results for count in result.trials(share)]
        found[f"trials_to_{name}"] = _statistics(trials)
        found[f"gpu_seconds_to_{name}"] = {
            "mean": round(mean(seconds), 1),
            "geometric_mean": round(geometric_mean(seconds), 1),
        }
        missed = [(result, result.not_reached(share)) for result in results]
        found[f"not_reached_{name}"] = [{**_place(result.grid), "seeds": seeds} for result, seeds in missed if seeds]
    ratios = [result.cost_ratio(0.99) for result in results]
    worst = max(results, key=lambda result: result.cost_ratio(0.99))
    found["cost_ratio_to_paper"] = {
        "geometric_mean": round(geometric_mean(ratios), 4),
        "worst": round(max(ratios), 4),
        "worst_grid": _place(worst.grid),
    }
    found["best_so_far"] = [round(value, 4) for value in mean_curve(courses, max(result.cap for result in results))]
    found["failures"] = round(mean(course.failures for course in courses), 2)
    found["duplicates"] = round(mean(course.duplicates for course in courses), 2)
    return found


def mean_curve(courses: Sequence[Course], length: int) -> list[float]:
    """Return the mean share of the optimum after each trial; a search that has ended keeps its last share."""
    return [mean(course.curve[min(number, len(course.curve) - 1)] for course in courses) for number in range(length)]


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return exp(mean(log(value) for value in values))


def percent(share: float) -> str:
    """Return a share as in the names of the fields: `99` for 0.99."""
    return f"{100 * share:.0f}"


def p90(values: Sequence[float]) -> float:
    """Return the smallest value that at least 90 % of the values do not exceed."""
    ordered = sorted(values)
    return ordered[-(-9 * len(ordered) // 10) - 1]


def _statistics(trials: Sequence[int]) -> dict[str, float]:
    return {"mean": round(mean(trials), 3), "median": median(trials), "p90": p90(trials)}


def _counted(course: Course, share: float, cap: int) -> int:
    trials = course.trials[share]
    return cap + 1 if trials is None else trials


def _place(grid: Grid) -> dict[str, object]:
    place: dict[str, object] = {"gpu_model": grid.gpu_model, "engine": grid.engine, "model": grid.model}
    return {**place, "workload": grid.workload} if grid.workload else place


def _grid(result: GridResult) -> dict[str, object]:
    grid, best = result.grid, result.grid.optimum
    if best is None:
        raise ValueError(f"{grid.name} works nowhere on {grid.gpu_model}")
    found = {**_place(grid), "configurations": space_size(grid.space), "work": len(grid.rates)}
    found["optimum"] = {**_cell(best), "throughput": grid.rates[best]}
    for share in SHARES:
        name = percent(share)
        found[f"trials_to_{name}"] = _statistics(result.trials(share))
        found[f"gpu_seconds_to_{name}"] = round(result.seconds(share), 1)
        found[f"not_reached_{name}"] = result.not_reached(share)
    found["cost_ratio_to_paper"] = round(result.cost_ratio(0.99), 4)
    found["best_so_far"] = [round(value, 4) for value in mean_curve(result.courses, result.cap)]
    found["failures"] = round(mean(course.failures for course in result.courses), 2)
    found["duplicates"] = round(mean(course.duplicates for course in result.courses), 2)
    return found


def _cell(cell: Configuration) -> dict[str, object]:
    return {"gpu_count": cell.gpu_count, "batch_size": cell.batch_size}
