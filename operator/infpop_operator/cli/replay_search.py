"""The command `infpop replay search`."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import isfinite
from pathlib import Path

from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.replay_jobs import check_output, option_error, run_all, write_output
from infpop_operator.cli.replay_search_table import render_search
from infpop_operator.cli.terminal import console
from infpop_operator.core.errors import InfPopError
from infpop_operator.core.study import AUTO, Auto
from infpop_operator.replay import search
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import read_grids
from infpop_operator.replay.search_results import GridResult, to_document

_MOST_TRIALS_PER_RUN = 8
_MOST_NOISE = 1.0


def run(
    landscapes: Path,
    *,
    algorithm: str,
    seeds: int,
    max_trials: int | None,
    trials_per_run: str,
    noise: float,
    load_seconds: float | None,
    samples: int,
    new_tokens: int | None,
    short_measurement: bool,
    processes: int,
    output: Path | None,
) -> ExitCode:
    """Print how many trials and GPU-seconds a search needs on the recorded landscapes, and write it to `output`."""
    try:
        check_output(output)
        wanted = _algorithm(algorithm)
        options = search.Options(
            seeds=seeds,
            max_trials=max_trials,
            trials_per_run=_trials_per_run(trials_per_run),
            noise=_noise(noise),
            costs=CostModel(samples=samples, new_tokens=new_tokens, load_seconds=load_seconds, short=short_measurement),
        )
        grids = read_grids(landscapes)
        if not any(grid.rates for grid in grids):
            message = "has no configuration that works"
            raise option_error(str(landscapes), "", message, 'Name a file with outcome "ok" in some of its lines')
    except InfPopError as error:
        return print_error(f"{landscapes}: cannot be replayed.", error)
    jobs = search.jobs(grids, (wanted, search.PAPER), options)
    courses = run_all(partial(search.run, options=options), jobs, processes)
    results = list(_results(zip(jobs, courses, strict=True), wanted, options))
    left_out = [grid for grid in grids if not grid.rates]
    document = to_document(algorithm, results, options, left_out=left_out)
    console().print(render_search(algorithm, results, options, left_out), crop=False)
    return write_output(output, document)


def _results(
    found: Iterator[tuple[search.Job, search.Course]], wanted: search.SearchName, options: search.Options
) -> Iterator[GridResult]:
    by_grid: dict[int, list[tuple[search.Job, search.Course]]] = {}
    for job, course in found:
        by_grid.setdefault(id(job.grid), []).append((job, course))
    for own in by_grid.values():
        grid = own[0][0].grid
        yield GridResult(grid=grid, cap=options.cap(grid), courses=_of(own, wanted), paper=_of(own, search.PAPER))


def _of(own: Sequence[tuple[search.Job, search.Course]], name: search.SearchName) -> tuple[search.Course, ...]:
    return tuple(course for job, course in own if job.search == name)


def _algorithm(name: str) -> search.SearchName:
    found = next((known for known in search.SEARCHES if known == name), None)
    if found is None:
        raise option_error("--algorithm", name, "is not known", f"Use one of: {', '.join(search.SEARCHES)}")
    return found


def _trials_per_run(text: str) -> int | Auto:
    if text == AUTO:
        return AUTO
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= _MOST_TRIALS_PER_RUN:
        remedy = f"Write a number from 1 to {_MOST_TRIALS_PER_RUN}, or {AUTO}"
        raise option_error("--trials-per-run", text, "is not understood", remedy)
    return number


def _noise(noise: float) -> float:
    if not isfinite(noise) or not 0 <= noise <= _MOST_NOISE:
        remedy = f"Write a number from 0 to {_MOST_NOISE:g}, such as 0.02 for 2 %"
        raise option_error("--noise", str(noise), "is not a relative standard deviation", remedy)
    return noise
