"""Learn the prior of the search `landscape` from recorded landscapes, and write it as its data file.

    python benchmarks/fit_landscape_prior.py CSV --source "arXiv 2408.01050" --parameters vllm/Phi-1=1.3e9
        [--gpu-memory A100=40GiB] [--out FILE]

`infpop_operator.replay.grids` says which columns the CSV has. It fits on all models of that file and on nothing else;
`bench_landscape.py` leaves models out.

For each engine the surfaces (logarithms of tokens/s) of all grids are one Gaussian: a table of means, a table of slopes
by the size of the model, a slope by how tightly the weights fill the GPUs, a jump of the last batch that fits, and a
covariance within each grid. The covariance is a sum of Matérn terms whose deviations and lengths maximise the penalised
likelihood; then it moves towards the covariance of the grids themselves (expectation maximisation, `KERNEL_WEIGHT`).
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from math import hypot, log2
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from infpop_operator.core.search.landscape import kernels, knowledge, surfaces
from infpop_operator.core.search.landscape.kernels import Terms
from infpop_operator.core.search.landscape.knowledge import Jump
from infpop_operator.core.search.landscape.subject import memory_mib_of
from infpop_operator.core.search.surface import Axes
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.subjects import engine_of_name, parameters_of_name

Array = NDArray[np.float64]

OUT = Path(knowledge.__file__).parent / knowledge.FILE
CENTRE_SIZE = 3.0  # log2 of billions of parameters
KERNEL_WEIGHT = 20.0  # grids that the Matérn covariance counts for against those of the file
EM_STEPS = 15
NOISE = 0.01  # relative error of a recorded number
DIGITS = 1  # decimals of the recorded numbers
# Before the fit: what terms are expected, and how far (in units of the logarithm) they may be from it.
FIRST = Terms(
    level=0.4,
    gpus=0.2,
    batch=0.2,
    both=0.15,
    own_level=0.1,
    own_batch=0.08,
    roughness=0.02,
    gpus_length=2.0,
    batch_length=4.0,
    both_gpus_length=2.0,
    both_batch_length=4.0,
    own_batch_length=3.0,
)
PENALTY = 0.7
STEP = 1e-5  # of numerical slopes
# The tables of means and slopes are surfaces as well, around the generic mean and 0.
MEANS = replace(FIRST, level=5.0, gpus=0.5, batch=0.5, both=0.4, own_level=0.1, own_batch=0.05, roughness=0.05)
SLOPES = replace(FIRST, level=0.6, gpus=0.2, batch=0.1, both=0.1, own_level=0.03, own_batch=0.02, roughness=0.01)
FILL_SLOPE_DEVIATION = 0.7
# The likelihood takes the jumps of most loads for roughness, so they are set: in the published landscapes
# the last batch size before memory ends is on average 16 % faster than the trend of the others.
JUMPS = {"hf-pipeline": Jump(mean=0.15, shared=0.1, own=0.15), "vllm": Jump(mean=0.0, shared=0.05, own=0.05)}
ROUGHNESS = 0.03  # that is added in the end: the left-out models were rougher than the others say


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """The cells of one grid that work: places in the table, values, variances of noise, and which are the last."""

    places: NDArray[np.intp]
    values: Array
    noise: Array
    is_last: Array
    loads: NDArray[np.intp]
    size: float
    fill: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """What the names in the file do not say: MiB by GPU model, and parameters by model, or by engine/model."""

    memory: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)


def main() -> None:
    """Fit, and write the file."""
    parser = argparse.ArgumentParser(description="Learn the prior of the search `landscape`.")
    parser.add_argument("csv", type=Path, help="CSV of measured cells")
    parser.add_argument("--source", default="", help="where the cells were published")
    parser.add_argument("--gpu-memory", action="append", default=[], metavar="GPU=40GiB", help="default: by its name")
    parser.add_argument(
        "--parameters", action="append", default=[], metavar="[ENGINE/]MODEL=1.3e9", help="default: by its name"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    grids = [grid for grid in read_grids(arguments.csv) if grid.rates]
    memory = dict(parse_memory(each) for each in arguments.gpu_memory)
    sizes = {name: float(size) for name, _, size in (each.partition("=") for each in arguments.parameters)}
    today = date.today().isoformat()  # noqa: DTZ011 - a label
    document = fit(grids, Subjects(memory=memory, parameters=sizes), source=arguments.source, made=today)
    arguments.out.write_text(render(document))
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


def parse_memory(text: str) -> tuple[str, int]:
    """Return a GPU model and its MiB from "A100=40GiB"."""
    name, _, size = text.partition("=")
    found = re.fullmatch(r"(\d+)(GiB|MiB)", size)
    if not name or not found:
        raise SystemExit(f"--gpu-memory {text}: write it as A100=40GiB")
    return name, int(found[1]) * (1024 if found[2] == "GiB" else 1)


def fit(grids: Sequence[Grid], subjects: Subjects, *, source: str, made: str) -> dict[str, Any]:
    """Return the document of the prior, fitted on all grids of engines that InfPop has."""
    by_engine: dict[str, list[Grid]] = defaultdict(list)
    for grid in grids:
        name = engine_of_name(grid.engine)
        if name is not None and grid.rates:
            by_engine[name].append(grid)
    return {
        "format": knowledge.FORMAT,
        "source": source,
        "script": "benchmarks/fit_landscape_prior.py",
        "date": made,
        "models": sorted({grid.model for grid in grids}),
        "gpu_models": sorted({grid.gpu_model for grid in grids}),
        "engines": {name: _engine(name, own, subjects) for name, own in sorted(by_engine.items())},
    }


def render(document: Mapping[str, Any]) -> str:
    """Return the document as JSON, long lists of numbers in one line."""
    text = json.dumps(document, indent=1)
    return re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", lambda found: "[" + re.sub(r"\s+", "", found[1]) + "]", text) + "\n"


def _engine(name: str, grids: Sequence[Grid], subjects: Subjects) -> dict[str, Any]:
    space = grids[0].space
    at = np.array([(log2(gpus), log2(size)) for gpus in space.gpu_counts for size in space.batch_sizes])
    known = [_surface(grid, subjects) for grid in grids]
    base = surfaces.generic(Axes(space), None, (0.0, 0.0), chance=1.0).mean(at)
    jump = JUMPS[name]
    terms = _terms(known, at, base, jump)
    means, slopes, fill_slope = _tables(known, at, base, terms, jump)
    spread = _spread(known, at, means, slopes, fill_slope, terms, jump) + ROUGHNESS**2 * np.eye(len(at))
    terms = replace(terms, roughness=hypot(terms.roughness, ROUGHNESS))
    rows, columns = np.tril_indices(len(at))
    return {
        "grids": len(grids),
        "gpu_counts": list(space.gpu_counts),
        "batch_sizes": list(space.batch_sizes),
        "mean": _short(means),
        "slope": _short(slopes),
        "fill_slope": round(fill_slope, 4),
        "centre_size": CENTRE_SIZE,
        "centre_fill": round(float(np.mean([each.fill for each in known])), 3),
        "covariance": _short(spread[rows, columns], 6),
        "terms": _rounded(asdict(terms)),
        "jump": asdict(jump),
        "limits": [each for grid in grids for each in _limits(grid, subjects)],
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _short(values: Array, digits: int = 4) -> list[float]:
    return [round(float(value), digits) for value in values]


def size_of(grid: Grid, subjects: Subjects) -> float:
    """Return log2 of the billions of parameters of a grid's model; the centre if they are unknown."""
    stated = subjects.parameters.get(f"{grid.engine}/{grid.model}", subjects.parameters.get(grid.model))
    parameters = stated or parameters_of_name(grid.model)
    return CENTRE_SIZE if parameters is None else log2(parameters / 1e9)


def fill_of(grid: Grid, subjects: Subjects) -> float:
    """Return log2 of 16-bit weights / memory of one GPU."""
    mib = subjects.memory.get(grid.gpu_model) or memory_mib_of(grid.gpu_model)
    if mib is None:
        raise SystemExit(f"--gpu-memory {grid.gpu_model}=...: its name says nothing about its memory")
    return size_of(grid, subjects) + log2(2e9 / (mib * 2**20))


def _surface(grid: Grid, subjects: Subjects) -> Surface:
    space = grid.space
    ends = {each["gpus"]: each for each in _limits(grid, subjects)}
    rows = [(gpus, size) for gpus in space.gpu_counts for size in space.batch_sizes]
    rates = {(cell.gpu_count, cell.batch_size): rate for cell, rate in grid.rates.items()}
    own = [(place, row) for place, row in enumerate(rows) if row in rates]
    values = np.array([rates[row] for _, row in own])

    def is_last(gpus: int, size: int) -> bool:
        end = ends[log2(gpus)]
        return end["last"] == log2(size) and not end["is_open"]

    return Surface(
        places=np.array([place for place, _ in own], dtype=np.intp),
        values=np.log(values),
        noise=NOISE**2 + (10.0**-DIGITS / values) ** 2 / 12,
        is_last=np.array([float(is_last(*row)) for _, row in own]),
        loads=np.array([space.gpu_counts.index(row[0]) for _, row in own], dtype=np.intp),
        size=size_of(grid, subjects) - CENTRE_SIZE,
        fill=fill_of(grid, subjects),
    )


def _limits(grid: Grid, subjects: Subjects) -> list[dict[str, Any]]:
    found = []
    for gpus in grid.space.gpu_counts:
        works = [cell.batch_size for cell in grid.rates if cell.gpu_count == gpus]
        last = max(works, default=None)
        found.append(
            {
                "gpus": log2(gpus),
                "fill": round(fill_of(grid, subjects) - log2(gpus), 3),
                "last": None if last is None else log2(last),
                "is_open": last == max(grid.space.batch_sizes),
            }
        )
    return found


def _within(surface: Surface, spread: Array, jump: Jump) -> Array:
    """Return the covariance of the values of one grid, with jumps and noise."""
    same = surface.loads[:, None] == surface.loads[None, :]
    jumps = np.outer(surface.is_last, surface.is_last) * (jump.shared**2 + jump.own**2 * same)
    return np.asarray(spread[np.ix_(surface.places, surface.places)] + jumps + np.diag(surface.noise))


def _joint(known: Sequence[Surface], at: Array, terms: Terms, jump: Jump) -> Array:
    """Return the covariance of all values of all grids, where the tables are unknown."""
    places, sizes, tight = _stacked(known, at)
    grid = np.ix_(places, places)
    total = kernels.covariance(MEANS, at, at)[grid] + np.outer(sizes, sizes) * kernels.covariance(SLOPES, at, at)[grid]
    total += FILL_SLOPE_DEVIATION**2 * np.outer(tight, tight)
    spread, start = kernels.covariance(terms, at, at), 0
    for each in known:
        end = start + len(each.places)
        total[start:end, start:end] += _within(each, spread, jump)
        start = end
    return np.asarray(total)


def _stacked(known: Sequence[Surface], at: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """Return the place, the model's size, and the tightness of all values of all grids."""
    places = np.concatenate([each.places for each in known])
    sizes = np.concatenate([np.full(len(each.places), each.size) for each in known])
    return places, sizes, np.concatenate([surfaces.tightness(each.fill, at[each.places, 0]) for each in known])


def _residual(known: Sequence[Surface], base: Array, jump: Jump) -> Array:
    return np.concatenate([each.values - base[each.places] - jump.mean * each.is_last for each in known])


def _by_cell(known: Sequence[Surface], joint: Array, count: int) -> Array:
    """Return what a joint matrix has within grids, added up by pairs of cells."""
    total, start = np.zeros((count, count)), 0
    for each in known:
        end = start + len(each.places)
        total[np.ix_(each.places, each.places)] += joint[start:end, start:end]
        start = end
    return total


def _terms(known: Sequence[Surface], at: Array, base: Array, jump: Jump) -> Terms:
    """Return the terms with the greatest penalised likelihood."""
    names = [each.name for each in fields(Terms)]
    first = np.log([getattr(FIRST, name) for name in names])
    residual = _residual(known, base, jump)

    def unpack(logs: Array) -> Terms:
        return Terms(**dict(zip(names, (float(value) for value in np.exp(logs)), strict=True)))

    def loss(logs: Array) -> tuple[float, Array]:
        terms = unpack(logs)
        factor = cho_factor(_joint(known, at, terms, jump), lower=True)
        solved = cho_solve(factor, residual)
        away = (logs - first) / PENALTY
        value = residual @ solved / 2 + np.log(np.diag(factor[0])).sum() + away @ away / 2
        by_cell = _by_cell(known, cho_solve(factor, np.eye(len(residual))) - np.outer(solved, solved), len(at))
        here = kernels.covariance(terms, at, at)
        slopes = [
            ((kernels.covariance(unpack(logs + step), at, at) - here) * by_cell).sum() / STEP
            for step in STEP * np.eye(len(first))
        ]
        return float(value), np.array(slopes) / 2 + away / PENALTY

    bounds = [(value - 3, value + 3) for value in first]
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60, "ftol": 1e-6})
    return unpack(np.asarray(found.x))


def _tables(known: Sequence[Surface], at: Array, base: Array, terms: Terms, jump: Jump) -> tuple[Array, Array, float]:
    """Return the expected tables of means and slopes, and the slope by tightness."""
    solved = np.linalg.solve(_joint(known, at, terms, jump), _residual(known, base, jump))
    places, sizes, tight = _stacked(known, at)
    means = base + kernels.covariance(MEANS, at, at)[:, places] @ solved
    slopes = kernels.covariance(SLOPES, at, at)[:, places] @ (sizes * solved)
    return means, slopes, FILL_SLOPE_DEVIATION**2 * float(tight @ solved)


def _spread(  # noqa: PLR0917 - one for each part
    known: Sequence[Surface], at: Array, means: Array, slopes: Array, fill_slope: float, terms: Terms, jump: Jump
) -> Array:
    """Return the covariance between the Matérn one and that of the grids."""
    smooth = kernels.covariance(terms, at, at)
    spread = smooth
    for _ in range(EM_STEPS):
        total = KERNEL_WEIGHT * smooth
        for each in known:
            tight = surfaces.tightness(each.fill, at[:, 0])
            expected = (means + slopes * each.size + fill_slope * tight)[each.places] + jump.mean * each.is_last
            cross = spread[:, each.places]
            gain = np.linalg.solve(_within(each, spread, jump), cross.T).T
            mean = gain @ (each.values - expected)
            total = total + np.outer(mean, mean) + spread - gain @ cross.T
        spread = total / (KERNEL_WEIGHT + len(known))
        spread = (spread + spread.T) / 2
    return np.asarray(spread)


if __name__ == "__main__":
    main()
