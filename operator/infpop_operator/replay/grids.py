"""Read recorded landscapes from a CSV file: one grid for each GPU model, engine, model and workload in it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from infpop_operator.analysis.landscape_csv import RecordedCell, cell_error, parse_landscape
from infpop_operator.core.errors import Problem, ReplayError, ResultError
from infpop_operator.core.study import Configuration, SearchSpace

_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One recorded landscape; `rates` are the tokens/s of the configurations that work.

    `silent` are those that were recorded with 0 tokens/s: they ran, and generated nothing. `failed` are those that were
    recorded to fail. They are taken to run out of memory, and so are those of `space` that the file does not have.
    """

    gpu_model: str
    engine: str
    model: str
    workload: str
    space: SearchSpace
    rates: Mapping[Configuration, float]
    new_tokens: int | None = None  # of each prompt, None where the file does not say
    silent: frozenset[Configuration] = frozenset()
    failed: frozenset[Configuration] = frozenset()

    @property
    def name(self) -> str:
        """The model, and its workload where the file has several."""
        return f"{self.model} ({self.workload})" if self.workload else self.model

    @property
    def optimum(self) -> Configuration | None:
        """The fastest configuration, None if none works; equal ones go to fewer GPUs, then to the smaller batch."""
        return min(self.rates, key=lambda cell: (-self.rates[cell], cell), default=None)


def read_grids(path: Path) -> tuple[Grid, ...]:
    """Return the grids of a file, sorted. Their space has all GPU counts and batch sizes of the file.

    A configuration that the file has several times gets the median of its tokens/s.

    Raises:
        ReplayError: the file cannot be read or lacks a column, or a line cannot be understood or contradicts another.
    """
    try:
        cells = parse_landscape(path.read_text(encoding="utf-8-sig"), str(path))
    except ResultError as error:
        raise ReplayError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise _error(path, None, what, "Name a CSV file of recorded cells") from error
    by_grid: dict[tuple[str, str, str, str], list[RecordedCell]] = defaultdict(list)
    for cell in cells:
        by_grid[cell.key].append(cell)
    space = _space(cells)
    return tuple(_grid(path, space, by_grid[key]) for key in sorted(by_grid))


def on(grids: Iterable[Grid], gpu_model: str) -> tuple[Grid, ...]:
    """Return the grids of a GPU model; upper and lower case do not matter.

    Raises:
        ReplayError: there is none.
    """
    grids = tuple(grids)
    found = tuple(grid for grid in grids if grid.gpu_model.casefold() == gpu_model.casefold())
    if found:
        return found
    known = sorted({grid.gpu_model for grid in grids})
    more = ", ..." if len(known) > _SHOWN else ""
    remedy = f"Choose one of: {', '.join(known[:_SHOWN])}{more}" if known else "Name a file with recorded cells"
    message = "the file has no cells of this GPU model"
    raise ReplayError(str(Problem(field="gpu_model", value=gpu_model, message=message, remedy=remedy)))


def _space(cells: Iterable[RecordedCell]) -> SearchSpace:
    places = {(cell.gpu_count, cell.batch_size) for cell in cells}
    return SearchSpace(
        gpu_counts=tuple(sorted({gpu_count for gpu_count, _ in places})),
        batch_sizes=tuple(sorted({batch_size for _, batch_size in places})),
    )


def _grid(path: Path, space: SearchSpace, cells: Sequence[RecordedCell]) -> Grid:
    grid = Grid(
        gpu_model=cells[0].gpu_model,
        engine=cells[0].engine,
        model=cells[0].model,
        workload=cells[0].workload,
        space=space,
        rates={},
        new_tokens=cells[0].new_tokens,
    )
    medians = dict(_medians(path, cells))
    return replace(
        grid,
        rates={cell: rate for cell, rate in medians.items() if rate},
        silent=frozenset(cell for cell, rate in medians.items() if rate == 0),
        failed=frozenset(_configuration(cell) for cell in cells if cell.outcome == "infeasible"),
    )


def _configuration(cell: RecordedCell) -> Configuration:
    return Configuration(gpu_count=cell.gpu_count, batch_size=cell.batch_size)


def _medians(path: Path, cells: Iterable[RecordedCell]) -> Iterator[tuple[Configuration, float | None]]:
    at: dict[Configuration, list[RecordedCell]] = defaultdict(list)
    for cell in cells:
        at[_configuration(cell)].append(cell)
    for place, same in at.items():
        rates = [cell.rate for cell in same if cell.rate is not None]
        if rates and len(rates) < len(same):
            other = next(cell for cell in same if cell.rate is None)
            works = next(cell for cell in same if cell.rate is not None)
            message = f"contradicts line {works.line}: the same cell works there"
            raise _error(path, other.line, message, "Remove one of the two lines")
        yield (place, median(rates) if rates else None)


def _error(path: Path, line: int | None, message: str, remedy: str) -> ReplayError:
    return ReplayError(str(cell_error(str(path), line, "" if line is None else "outcome", "", message, remedy)))
