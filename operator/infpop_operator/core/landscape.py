"""The landscape of one round: what is known at each GPU count and batch size.

Pure data; nothing is rendered here. If the search space has extra parameters, a cell represents several configurations
and shows the best of them, or the fastest if the objective is one of the study's own metrics. The field
`Landscape.collapsed_extra` names these parameters for the caption.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from infpop_operator.core.space import RuledOut
from infpop_operator.core.study import Configuration, Scalar, SearchSpace


class CellState(StrEnum):
    """The state of a cell; the first six are those of a trial."""

    MEASURED = "Measured"
    RACED_OUT = "RacedOut"
    INFEASIBLE = "Infeasible"
    INVALID = "Invalid"
    BROKEN = "Broken"
    RUNNING = "Running"
    RULED_OUT = "RuledOut"  # its outcome is certain without a trial
    UNTRIED = "Untried"
    OUTSIDE = "Outside"  # not in the search space; a baseline adds its row or column


@dataclass(frozen=True, slots=True, kw_only=True)
class LandscapeCell:
    """One cell of the landscape.

    Throughput and spread are set only for `MEASURED` cells, `at_most_tokens_per_second` only for `RACED_OUT` ones.
    `reason` is a reason of the contract, None where there is nothing to explain; `detail` is its message. `violations`
    are the constraints that a measured cell violates, `missing` the metrics without which it cannot be compared.
    `extra` are the extra parameters of the shown configuration. `reused_from` is the other study that measured it, None
    for this one. `variants` counts the configurations that the cell represents, `open_variants` those of them of which
    no trial has ended.
    """

    gpu_count: int
    batch_size: int
    state: CellState
    throughput_tokens_per_second: float | None = None
    at_most_tokens_per_second: float | None = None
    spread_ratio: float | None = None
    reason: str | None = None
    detail: str = ""
    violations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[tuple[str, Scalar], ...] = ()
    is_best: bool = False
    reused_from: str | None = None
    variants: int = 1
    open_variants: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """All cells of one pool's round: `rows[i][j]` is at `batch_sizes[i]` and `gpu_counts[j]`, both ascending."""

    gpu_counts: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    rows: tuple[tuple[LandscapeCell, ...], ...]
    collapsed_extra: tuple[str, ...] = ()

    @property
    def best(self) -> LandscapeCell | None:
        """The recommended cell, None while there is none."""
        return next((cell for row in self.rows for cell in row if cell.is_best), None)


def arrange(known: Iterable[LandscapeCell], *, collapsed_extra: tuple[str, ...] = ()) -> Landscape:
    """Return the cells in rows and columns; of several cells in one position the most informative one is shown."""
    at: dict[tuple[int, int], list[LandscapeCell]] = {}
    for cell in known:
        at.setdefault((cell.batch_size, cell.gpu_count), []).append(cell)
    batch_sizes = tuple(sorted({batch_size for batch_size, _ in at}))
    gpu_counts = tuple(sorted({gpu_count for _, gpu_count in at}))
    return Landscape(
        gpu_counts=gpu_counts,
        batch_sizes=batch_sizes,
        rows=tuple(
            tuple(_shown(gpus, batch, at.get((batch, gpus), ())) for gpus in gpu_counts) for batch in batch_sizes
        ),
        collapsed_extra=collapsed_extra,
    )


def collapsed(space: SearchSpace) -> tuple[str, ...]:
    """Return the parameters with several values, of which each cell of a landscape can show only one."""
    return tuple(sorted(entry.name for entry in space.extra if len(entry.values) > 1))


def open_cell(configuration: Configuration, excluded: RuledOut | None) -> LandscapeCell:
    """Return the cell of a configuration without a trial, with the reason if it was ruled out."""
    return LandscapeCell(
        gpu_count=configuration.gpu_count,
        batch_size=configuration.batch_size,
        state=CellState.UNTRIED if excluded is None else CellState.RULED_OUT,
        reason=None if excluded is None else excluded.reason,
        detail="" if excluded is None else excluded.detail,
        extra=configuration.extra,
    )


# Of several configurations in one position the most informative state is shown: a value, then open work, then failures.
_STATE_ORDER = tuple(
    CellState[name] for name in ("MEASURED", "RUNNING", "UNTRIED", "RACED_OUT", "INVALID", "BROKEN", "INFEASIBLE")
)


_OPEN = {CellState.RUNNING, CellState.UNTRIED, CellState.RULED_OUT}


def _shown(gpu_count: int, batch_size: int, here: Sequence[LandscapeCell]) -> LandscapeCell:
    outside = LandscapeCell(gpu_count=gpu_count, batch_size=batch_size, state=CellState.OUTSIDE)
    shown = min(here, key=_shown_first, default=outside)
    still_open = sum(cell.state in _OPEN for cell in here)
    return shown if len(here) < 2 else replace(shown, variants=len(here), open_variants=still_open)  # noqa: PLR2004


def _shown_first(cell: LandscapeCell) -> tuple[bool, int, bool, float]:
    state = _STATE_ORDER.index(cell.state) if cell.state in _STATE_ORDER else len(_STATE_ORDER)
    throughput = cell.throughput_tokens_per_second
    # At one GPU count the highest throughput is the best by every objective except the study's own metrics.
    cannot_be_best = bool(cell.violations or cell.missing)
    return (not cell.is_best, state, cannot_be_best, -throughput if throughput is not None else 0.0)
