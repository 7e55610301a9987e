"""The tables of `infpop replay search`: a row for each landscape, and one for each engine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from rich.console import Group, RenderableType
from rich.text import Text

from infpop_operator.replay.grids import Grid
from infpop_operator.replay.search import Options
from infpop_operator.replay.search_results import ALL, GridResult, by_engine, summary
from infpop_operator.report.name_table import NameTable
from infpop_operator.report.words import on_one_line

_SHARES = ("95", "99", "100")


def render_search(
    algorithm: str, results: Sequence[GridResult], options: Options, left_out: Sequence[Grid]
) -> RenderableType:
    """Return a table of the landscapes of each engine, a table of the engines, and what the numbers mean."""
    return Group(*_parts(algorithm, results, options, left_out))


def _parts(
    algorithm: str, results: Sequence[GridResult], options: Options, left_out: Sequence[Grid]
) -> Iterator[RenderableType]:
    groups = by_engine(results)
    for key, group in groups.items():
        if key != ALL:
            yield Text(f"{algorithm} on {key}", style="bold")
            yield _landscapes(group)
    yield Text("Summary", style="bold")
    yield _engines({key: group for key, group in groups.items() if key == ALL or len(groups) > 2})  # noqa: PLR2004
    yield from _missed(results)
    if left_out:
        names = ", ".join(f"{grid.name} on {grid.gpu_model} ({grid.engine})" for grid in left_out)
        yield Text(f"Left out, because nothing works there: {names}")
    yield Text("")
    yield Text(_note(options), style="dim")


def _landscapes(results: Sequence[GridResult]) -> NameTable:
    headings = ("work", "best", "95 %", "99 %", "100 %", "p90", "GPU-h", "cost")
    return NameTable(name="landscape", headings=headings, rows=tuple(_landscape(result) for result in results))


def _landscape(result: GridResult) -> tuple[Text, tuple[Text, ...]]:
    best = result.grid.optimum
    trials = [sum(counts) / len(counts) for counts in (result.trials(share) for share in (0.95, 0.99, 1.0))]
    ninety = cast("Mapping[str, float]", summary([result])["trials_to_99"])["p90"]
    return _row(
        f"{result.grid.gpu_model} {result.grid.name}",
        str(len(result.grid.rates)),
        "" if best is None else f"{best.gpu_count} x {best.batch_size}",
        *(f"{value:.1f}" for value in trials),
        f"{ninety:g}",
        _hours(result.seconds(0.99)),
        _ratio(result.cost_ratio(0.99)),
    )


def _engines(groups: Mapping[str, Sequence[GridResult]]) -> NameTable:
    headings = ("95 %", "99 %", "100 %", "median", "p90", "GPU-h", "cost", "worst", "fails", "again")
    return NameTable(name="engine", headings=headings, rows=tuple(_engine(key, group) for key, group in groups.items()))


def _engine(key: str, group: Sequence[GridResult]) -> tuple[Text, tuple[Text, ...]]:
    found = summary(group)
    trials = {share: cast("Mapping[str, float]", found[f"trials_to_{share}"]) for share in _SHARES}
    seconds = cast("Mapping[str, float]", found["gpu_seconds_to_99"])
    ratio = cast("Mapping[str, float]", found["cost_ratio_to_paper"])
    return _row(
        f"{key} ({len(group)})",
        *(f"{trials[share]['mean']:.1f}" for share in _SHARES),
        f"{trials['99']['median']:g}",
        f"{trials['99']['p90']:g}",
        _hours(seconds["geometric_mean"]),
        _ratio(ratio["geometric_mean"]),
        _ratio(ratio["worst"]),
        f"{found['failures']:.1f}",
        f"{found['duplicates']:.1f}",
    )


def _row(name: str, *cells: str) -> tuple[Text, tuple[Text, ...]]:
    return Text(on_one_line(name)), tuple(Text(cell) for cell in cells)


def _missed(results: Sequence[GridResult]) -> Iterator[RenderableType]:
    """Yield the landscapes on which some search never came within 1 % of the optimum."""
    for result in results:
        seeds = result.not_reached(0.99)
        if seeds:
            where = f"{result.grid.name} on {result.grid.gpu_model} ({result.grid.engine})"
            yield Text(f"99 % not reached: {where}, {len(seeds)} of {len(result.courses)} searches")


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.0f}" if hours >= 100 else f"{hours:.3g}"  # noqa: PLR2004 - three digits


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"  # noqa: PLR2004 - as above


def _note(options: Options) -> str:
    how = "short" if options.costs.short else "full"
    noise = f"{100 * options.noise:g} %"
    judged = f" With noise of {noise}, what counts is what is recorded for the best number." if options.noise else ""
    return (
        "95, 99, 100 %: mean trials to that share of the best throughput; one that is never found counts as one trial "
        "more than there may be. Median, p90: of the trials to 99 %. Work: configurations that work. Best: GPUs x "
        f"batch size. GPU-h: GPU-hours to 99 % with {how} measurements, in the summary the geometric mean. Cost: the "
        "same divided by that of the search of arXiv 2408.01050 with full measurements. Fails, again: trials without a "
        f"number, and of a configuration tried before, until 99 %.{judged} Numbers are replayed from the file; nothing "
        "was measured."
    )
