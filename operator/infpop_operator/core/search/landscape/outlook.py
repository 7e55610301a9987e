"""The outlook of a request: landscapes drawn over its open and pending cells, with the best that is known.

Equal requests give equal outlooks: the random numbers come from the study's seed and the trial's index.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from infpop_operator.core.search.landscape import earlier, surfaces
from infpop_operator.core.search.landscape.knowledge import EngineKnowledge, knowledge_of
from infpop_operator.core.search.landscape.limits import WARM, Limits, LoadKey
from infpop_operator.core.search.landscape.posterior import (
    Known,
    Points,
    Posterior,
    chances,
    draw,
    marginal,
    posterior,
)
from infpop_operator.core.search.landscape.subject import Subject, subject_of
from infpop_operator.core.search.landscape.surfaces import Belief
from infpop_operator.core.search.landscape.values import NOISE, Values, values_of
from infpop_operator.core.search.request import SearchRequest
from infpop_operator.core.search.surface import Axes
from infpop_operator.core.study import Configuration

Array = NDArray[np.float64]

DRAWS = 400
TOLERANCE = 0.01  # of the value: a smaller gain is a tie (`objective.TIE_RATIO`)
LEARNED = 0.8  # chance of the learned belief, against the generic one, before any trial
# Whatever the trials say, the generic belief keeps this share: landscapes surprise. Without, it needed 3.5 trials on
# vLLM instead of 3.35 (leave one model out).
LEAST_GENERIC = 0.2
# Most cells that are drawn together: the time of a draw grows with their third power, and 150 take about 5 ms.
MOST_CELLS = 150
_REACH = 3.0  # standard errors to either side within which a measured cell may be the best
_MOST_RIVALS = 50  # measured cells that are drawn as well
_STREAM = 8  # tells these random numbers from those of other algorithms
HOPELESS = -1e9  # the value of a cell that does not work, in a drawn landscape


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Landscapes over `cells`: `values` has shape (draws, cells), a cell that does not work has `HOPELESS`.

    `is_open` says which cells are open, the others are pending. `works` is the chance that a cell works, `expected` its
    mean value where it does. `best` is the best measured value, with its noise, None before the first. `rivals`, shape
    (draws, rivals), are the drawn values of the measured cells that may be the best, that with the value `best` first;
    none if the noise of all of them is unknown or 0.
    """

    cells: tuple[Configuration, ...]
    is_open: NDArray[np.bool_]
    values: Array
    works: Array
    expected: Array
    best: float | None
    rivals: Array
    scale: Values
    tolerance: float = TOLERANCE

    @cached_property
    def known(self) -> Array:
        """The best value in each landscape that is measured, or is being measured, shape (draws,)."""
        pending = self.values[:, ~self.is_open].max(axis=1, initial=-np.inf)
        return np.asarray(np.maximum(pending, -np.inf if self.best is None else self.best), dtype=np.float64)

    @cached_property
    def top(self) -> Array:
        """The best value in each landscape, shape (draws,)."""
        return np.asarray(np.maximum(self.values.max(axis=1, initial=-np.inf), self.known), dtype=np.float64)

    def only(self, draws: NDArray[np.intp]) -> "Outlook":
        """Return some of the landscapes."""
        return replace(self, values=self.values[draws], rivals=self.rivals[draws])

    def after(self, measured: Sequence[int]) -> "Outlook":
        """Return the outlook in which the cells at these positions are being measured."""
        is_open = self.is_open.copy()
        is_open[list(measured)] = False
        return replace(self, is_open=is_open)


def outlook(request: SearchRequest, *, keep: LoadKey | None = None) -> Outlook:
    """Return the outlook of a request with at least one open or pending cell.

    Where a space has too many cells, it has the most promising ones; all cells of the load `keep` are among them. The
    last few are remembered: a proposal, its companions and the confidence ask for the same one.
    """
    waiting = sum(trial.state == "pending" for trial in request.trials)
    has_all = len(request.open_cells) + waiting <= MOST_CELLS
    known = knowledge_of(request.facts.engine)
    # True equals 1, but an engine argument `true` is not the argument `1`: their texts tell such spaces apart.
    return _outlook(request, None if has_all else keep, known, repr((request.space, request.open_cells)))


@lru_cache(maxsize=8)
def _outlook(request: SearchRequest, keep: LoadKey | None, published: EngineKnowledge | None, _text: str) -> Outlook:
    axes, subject = Axes(request.space), subject_of(request.facts)
    known_cells = [trial for trial in request.trials if trial.loss is not None and axes.of(trial.configuration)]
    pending = tuple(trial.configuration for trial in request.trials if trial.state == "pending")
    opened, waiting = (
        tuple(cell for cell in each if axes.of(cell) is not None) for each in (request.open_cells, pending)
    )
    asked = (*opened, *waiting)
    limits = Limits(request, subject, published, asked)
    errors = [trial.error_ratio for trial in known_cells]
    scale = values_of([trial.loss for trial in known_cells if trial.loss is not None], errors)
    known = Known(
        points=_points(axes, limits, [trial.configuration for trial in known_cells]),
        values=scale.values,
        noise=scale.noise,
        bounded=np.array([trial.state == "bounded" for trial in known_cells], dtype=np.bool_),
    )
    measured = scale.values[~known.bounded]
    beliefs = _beliefs(axes, subject, request, scale, published)
    kept = [place >= len(opened) or cell.load_key == keep for place, cell in enumerate(asked)]
    chosen = _promising(beliefs, known, axes, limits, asked, np.array(kept, dtype=np.bool_))
    cells = tuple(asked[place] for place in chosen)
    rivals = _rivals(scale, known, errors)
    wanted = _points(axes, limits, (*cells, *(known_cells[place].configuration for place in rivals)))
    found = [posterior(belief, known, wanted) for belief in beliefs]
    shares = chances(beliefs, found, least_last=LEAST_GENERIC * (1.0 if request.prior is None else 1.0 - WARM))
    values, drawn = _drawn(request, found, shares, wanted, limits, cells)
    # The posterior takes a noise of at least `NOISE` for granted; where it is less, the drawn value is as much nearer.
    trust = np.array([min(1.0, (errors[place] or 0.0) / NOISE) for place in rivals])
    shown = scale.values[rivals]
    return Outlook(
        cells=cells,
        is_open=np.array(chosen) < len(opened),
        values=values,
        works=limits.works(cells),
        expected=np.asarray(shares @ np.array([each.mean[: len(cells)] for each in found]), dtype=np.float64),
        best=float(measured.max()) if measured.size else None,
        rivals=np.asarray(shown + trust * (drawn - shown), dtype=np.float64),
        scale=scale,
        tolerance=max(TOLERANCE, _typical([error for error in errors if error is not None])),
    )


def _beliefs(
    axes: Axes, subject: Subject, request: SearchRequest, scale: Values, published: EngineKnowledge | None
) -> tuple[Belief, ...]:
    """Return the beliefs, the generic one last; their chances add up to 1."""
    facts = request.facts
    powers = facts.divided_by
    if not scale.are_logarithms:
        return (surfaces.generic(axes, subject.engine, None, chance=1.0),)
    warm = earlier.beliefs(axes, request, chance=WARM)
    known = published if powers is not None else None
    cold = 1.0 - WARM if warm else 1.0
    learned = (
        ()
        if known is None or powers is None
        else (surfaces.learned(axes, subject, known, powers, chance=LEARNED * cold),)
    )
    share = cold * (1.0 - LEARNED) if learned else cold
    return (*warm, *learned, surfaces.generic(axes, subject.engine, powers, chance=share))


def _rivals(scale: Values, known: Known, errors: Sequence[float | None]) -> NDArray[np.intp]:
    """Return the positions of the measured values that may be the best but for their noise, the best one first."""
    noise = np.array([error or 0.0 for error in errors], dtype=np.float64)
    order = np.argsort(-scale.values, kind="stable")
    order = order[~known.bounded[order]][:_MOST_RIVALS]
    if not (len(order) and scale.are_logarithms):
        return order[:0]
    reach = _REACH * noise
    is_near = scale.values[order] + reach[order] >= scale.values[order[0]] - reach[order[0]]
    near: NDArray[np.intp] = order[is_near]
    return near if noise[near].any() else near[:0]


def _typical(errors: Sequence[float]) -> float:
    return float(np.median(errors)) if errors else 0.0


def _points(axes: Axes, limits: Limits, cells: Sequence[Configuration]) -> Points:
    found = [axes.of(cell) for cell in cells]
    at = np.array(found, dtype=np.float64).reshape(len(cells), len(axes.is_word))
    return Points(at=at, loads=limits.rows(cells), is_last=limits.is_last(cells))


def _promising(  # noqa: PLR0917 - one for each part
    beliefs: Sequence[Belief],
    known: Known,
    axes: Axes,
    limits: Limits,
    cells: tuple[Configuration, ...],
    kept: NDArray[np.bool_],
) -> list[int]:
    """Return the positions of the cells to draw: all of them, or those that may be the best, and all pending ones."""
    if len(cells) <= MOST_CELLS:
        return list(range(len(cells)))
    points, works = _points(axes, limits, cells), limits.works(cells)
    hope = np.full(len(cells), -np.inf)
    for belief in beliefs:
        mean, deviation = marginal(belief, known, points)
        hope = np.maximum(hope, mean + 2 * deviation + np.log(np.maximum(works, 1e-12)))
    hope[kept] = np.inf
    order = np.argsort(-np.round(hope, 9), kind="stable")[:MOST_CELLS]
    return sorted(int(place) for place in order)


def _drawn(  # noqa: PLR0917 - one for each part
    request: SearchRequest,
    found: Sequence[Posterior],
    shares: Array,
    wanted: Points,
    limits: Limits,
    cells: tuple[Configuration, ...],
) -> tuple[Array, Array]:
    """Return landscapes, each from one of the posteriors, in the shares of their chances.

    The second array has the values of the other wanted points, which have been measured.
    """
    count = len(cells)
    own = count + len(np.unique(wanted.loads[:count]))
    generator = np.random.default_rng(np.random.SeedSequence([request.seed, request.index, _STREAM]))
    normal = generator.standard_normal((DRAWS, own))
    uniform = generator.random((DRAWS, len(limits.keys)))
    chi_square = generator.chisquare(found[0].freedom, DRAWS) / found[0].freedom
    more = generator.standard_normal((DRAWS, len(found[0].mean) - own))
    normal = np.concatenate([normal[:, :count], more, normal[:, count:]], axis=1)
    ends = np.round(np.cumsum(shares) * DRAWS).astype(int)
    starts = np.concatenate([[0], ends[:-1]])
    parts = [
        draw(each, normal[start:end], chi_square[start:end])
        for each, start, end in zip(found, starts, ends, strict=True)
    ]
    drawn = np.concatenate(parts)
    surface, jumps = drawn[:, : len(wanted.at)], drawn[:, len(wanted.at) :]
    jumps = jumps[:, np.searchsorted(np.unique(wanted.loads), wanted.loads)]
    last, places = limits.drawn(uniform)[:, wanted.loads[:count]], limits.places(cells)
    is_last = (places + 1 == last) & (last < limits.count)
    values = surface[:, :count] + is_last * jumps[:, :count]
    # As the trials were taken into account: with the chance of each to be the last that works.
    measured = surface[:, count:] + wanted.is_last[count:] * jumps[:, count:]
    return np.where(places < last, values, HOPELESS), measured
