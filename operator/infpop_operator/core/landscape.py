"""The picture of one round: what is known at each GPU count and batch size, for terminals and reports to draw.

Pure data, nothing is rendered here. Where the space has extra parameters a cell stands for several configurations and
shows the best of them, or the fastest where a further metric decides (`Landscape.collapsed_extra` names the
parameters, so that a caption can say so).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from infpop_operator.core import objective
from infpop_operator.core.model import Configuration, Pool, Scalar, SearchSpace, Study, Trial
from infpop_operator.core.scope import in_scope
from infpop_operator.core.space import RuledOut, cells, ruled_out
from infpop_runner.contract import Measured, ModelFacts


class CellState(StrEnum):
    """What is known of a cell; the first five are the states of a trial."""

    MEASURED = "Measured"
    INFEASIBLE = "Infeasible"
    INVALID = "Invalid"
    BROKEN = "Broken"
    RUNNING = "Running"
    RULED_OUT = "RuledOut"  # certain without a trial
    UNTRIED = "Untried"
    OUTSIDE = "Outside"  # not in the search space; its row or column is there for a baseline's sake


@dataclass(frozen=True, slots=True, kw_only=True)
class LandscapeCell:
    """One place in the picture.

    Throughput and spread are set exactly for `MEASURED` cells. `reason` is short (a reason of the contract) and None
    where there is nothing to explain; `detail` is its sentence. `violations` are the constraints that a measured cell
    breaks, `missing` the further metrics without which it cannot be compared. `extra` are the further parameters of the
    configuration that is shown.
    """

    gpu_count: int
    batch_size: int
    state: CellState
    throughput_tokens_per_second: float | None = None
    spread_ratio: float | None = None
    reason: str | None = None
    detail: str = ""
    violations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[tuple[str, Scalar], ...] = ()
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """All cells of one pool's round: `rows[i][j]` is at `batch_sizes[i]` and `gpu_counts[j]`, both ascending."""

    gpu_counts: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    rows: tuple[tuple[LandscapeCell, ...], ...]
    collapsed_extra: tuple[str, ...] = ()

    @property
    def best(self) -> LandscapeCell | None:
        """The recommended cell, None when there is none yet."""
        return next((cell for row in self.rows for cell in row if cell.is_best), None)


def landscape(
    study: Study,
    pool: Pool,
    trials: tuple[Trial, ...],
    facts: ModelFacts | None,
    *,
    baseline: Configuration | None = None,
) -> Landscape:
    """Return the picture of one round on `pool`.

    Args:
        study: gives the axes, the objective and the constraints.
        pool: where the trials ran.
        trials: of the round, any order; one outside the space (a baseline) adds its row and column.
        facts: what runs reported about the model.
        baseline: the round's; outside the space it is the only configuration that can be the best.
    """
    view = _View(
        study=study,
        trials={trial.configuration: trial for trial in trials},
        excluded=ruled_out(study, pool, trials, facts),
        best=objective.best(study, pool, in_scope(study, trials, baseline)),
    )
    return arrange(
        (_cell(view, configuration) for configuration in _known(study, trials)),
        collapsed_extra=collapsed(study.space),
    )


def arrange(known: Iterable[LandscapeCell], *, collapsed_extra: tuple[str, ...] = ()) -> Landscape:
    """Return cells in rows and columns; of several in one place the one with the most to say is shown."""
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
    """Return the parameters of which a picture can show one value alone in each place."""
    return tuple(sorted(entry.name for entry in space.extra if len(entry.values) > 1))


def open_cell(configuration: Configuration, excluded: RuledOut | None) -> LandscapeCell:
    """Return a configuration that was not tried, with the reason why it need not be, where there is one."""
    return LandscapeCell(
        gpu_count=configuration.gpu_count,
        batch_size=configuration.batch_size,
        state=CellState.UNTRIED if excluded is None else CellState.RULED_OUT,
        reason=None if excluded is None else excluded.reason,
        detail="" if excluded is None else excluded.detail,
        extra=configuration.extra,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    study: Study
    trials: Mapping[Configuration, Trial]
    excluded: Mapping[Configuration, RuledOut]
    best: Trial | None


# Of several configurations in one place the one with the most to say is shown: a number, then work, then failures.
_TELLING = tuple(CellState[name] for name in ("MEASURED", "RUNNING", "UNTRIED", "INVALID", "BROKEN", "INFEASIBLE"))


def _known(study: Study, trials: Iterable[Trial]) -> tuple[Configuration, ...]:
    return tuple(dict.fromkeys((*cells(study.space), *(trial.configuration for trial in trials))))


def _shown(gpu_count: int, batch_size: int, here: Iterable[LandscapeCell]) -> LandscapeCell:
    outside = LandscapeCell(gpu_count=gpu_count, batch_size=batch_size, state=CellState.OUTSIDE)
    return min(here, key=_shown_first, default=outside)


def _shown_first(cell: LandscapeCell) -> tuple[bool, int, bool, float]:
    state = _TELLING.index(cell.state) if cell.state in _TELLING else len(_TELLING)
    throughput = cell.throughput_tokens_per_second
    # At one GPU count the highest throughput is the best by every objective that is not a further metric.
    cannot_be_best = bool(cell.violations or cell.missing)
    return (not cell.is_best, state, cannot_be_best, -throughput if throughput is not None else 0.0)


def _cell(view: _View, configuration: Configuration) -> LandscapeCell:
    trial = view.trials.get(configuration)
    return _tried(view, trial) if trial is not None else open_cell(configuration, view.excluded.get(configuration))


def _tried(view: _View, trial: Trial) -> LandscapeCell:
    result = trial.result if isinstance(trial.result, Measured) else None
    gpus, wanted = trial.configuration.gpu_count, view.study.objective
    return LandscapeCell(
        gpu_count=gpus,
        batch_size=trial.configuration.batch_size,
        state=CellState(trial.state.value),
        throughput_tokens_per_second=result.throughput_tokens_per_second if result else None,
        spread_ratio=result.spread_ratio if result else None,
        reason=trial.reason,
        detail=trial.detail,
        violations=objective.violations(wanted.constraints, result, gpus, trial.extra_metrics) if result else (),
        missing=objective.missing_metrics(wanted, trial.extra_metrics) if result else (),
        extra=trial.configuration.extra,
        is_best=view.best is not None and view.best.index == trial.index,
    )
