"""All figures of a report: what can be drawn, under which name, and who draws it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infpop_operator.analysis.comparable import hardware_of
from infpop_operator.analysis.paired_cells import PairedCells
from infpop_operator.analysis.result_landscapes import ResultLandscape, to_picture
from infpop_operator.analysis.tradeoffs import tradeoffs
from infpop_operator.report.figures.comparisons import (
    across,
    save_alternatives,
    save_batch_curves,
    save_gpu_scaling,
    save_pairs,
)
from infpop_operator.report.figures.heatmap import save_heatmap, title_of
from infpop_operator.report.report_content import ReportContent
from infpop_operator.report.report_files import file_names

FOLDER = "figures"
FORMATS = (".png", ".svg")
MOST_LANDSCAPES = 100  # each takes about two seconds of processor time for its figures


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFigure:
    """A figure: `name` is relative to the report and has no suffix, `draw` writes it in the format of a suffix."""

    name: str
    draw: Callable[[Path], None]


def plan_figures(content: ReportContent, batch_size: int) -> tuple[PlannedFigure, ...]:
    """Return the figures of a report; those of landscapes for the first `MOST_LANDSCAPES` of them.

    Args:
        content: of the report.
        batch_size: at which GPU counts are compared.
    """
    found = [
        *_of_landscapes(content.newest[:MOST_LANDSCAPES]),
        *_of_scaling(content.newest, batch_size),
        *_of_pairs("hardware", content.hardware),
        *_of_pairs("engines", content.engines),
    ]
    names = file_names(parts for parts, _ in found)
    return tuple(
        PlannedFigure(name=f"{FOLDER}/{name}", draw=draw) for name, (_, draw) in zip(names, found, strict=True)
    )


_Found = tuple[tuple[str, ...], Callable[[Path], None]]


def _of_landscapes(landscapes: tuple[ResultLandscape, ...]) -> Iterator[_Found]:
    for each in landscapes:
        row = each.first
        parts = (row.model, row.engine, hardware_of(row))
        title = title_of(each)
        yield ("landscape", *parts), partial(_heatmap, each, title)
        if each.best is None:
            continue
        if len(each.batch_sizes) > 1:
            yield ("batch-size", *parts), partial(save_batch_curves, each, title=title)
        yield ("alternatives", *parts), partial(_alternatives, each, title)


def _heatmap(landscape: ResultLandscape, title: str, path: Path) -> None:
    save_heatmap(to_picture(landscape), path, title=title, devices=f"{landscape.first.device}s")


def _alternatives(landscape: ResultLandscape, title: str, path: Path) -> None:
    rows = tuple(landscape.cells.values())
    save_alternatives(rows, tradeoffs(rows).front, path, title=title)


def _of_scaling(landscapes: tuple[ResultLandscape, ...], batch_size: int) -> Iterator[_Found]:
    groups: dict[tuple[str, str, str], list[ResultLandscape]] = {}
    for each in landscapes:
        row = each.first
        if len(across(each, batch_size)) > 1:
            groups.setdefault((row.engine, hardware_of(row), row.workload or ""), []).append(each)
    for (engine, hardware, _), found in groups.items():
        title = f"{engine} on {hardware}, batch size {batch_size}"
        yield ("gpu-scaling", engine, hardware), partial(_scaling, found, batch_size, title)


def _scaling(landscapes: list[ResultLandscape], batch_size: int, title: str, path: Path) -> None:
    save_gpu_scaling(landscapes, batch_size, path, title=title)


def _of_pairs(name: str, pairs: tuple[PairedCells, ...]) -> Iterator[_Found]:
    groups: dict[tuple[str, str, str], list[PairedCells]] = {}
    for pair in pairs:
        groups.setdefault((pair.other, pair.first, pair.second), []).append(pair)
    for (other, first, second), found in groups.items():
        title = f"{other}: {second} against {first} at the same configuration"
        yield (name, other, first, second), partial(save_pairs, found, title=title)
