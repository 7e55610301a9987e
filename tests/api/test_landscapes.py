"""The landscape of a round built from a status equals the one built from its history."""

from dataclasses import replace
from datetime import datetime

import pytest

from factories.fake_executor import Played, play_landscape
from factories.studies import make_cell, make_pool
from infpop_operator.api.landscapes import to_landscape
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core import objective
from infpop_operator.core.constraints import violations
from infpop_operator.core.history import current_round, known_model_facts, trials_of
from infpop_operator.core.landscape import (
    CellState,
    Landscape,
    LandscapeCell,
    arrange,
    collapsed,
    open_cell,
)
from infpop_operator.core.metric_values import missing_metrics
from infpop_operator.core.model import Run, Trial
from infpop_operator.core.scalars import parse_scalar, scalar_text
from infpop_operator.core.scope import baseline_of, in_scope
from infpop_operator.core.space import cells, ruled_out
from infpop_operator.core.study import (
    Algorithm,
    Budget,
    Constraint,
    ExtraParameter,
    Objective,
    Pool,
    SearchSpace,
    Study,
)
from infpop_operator.local.snapshot import Snapshot
from infpop_runner.contract import Measured, RunSpec
from report.played_studies import breaking, snapshots

EXTRA = SearchSpace(
    gpu_counts=(1, 2),
    batch_sizes=(1, 8),
    extra=(ExtraParameter(name="enable_x", values=(True, False)), ExtraParameter(name="level", values=("a", 0.5))),
)
SMALL = SearchSpace(gpu_counts=(1, 4, 8), batch_sizes=(1, 2, 256))


def by_pool(run: Run, spec: RunSpec, now: datetime) -> Played:
    """Simulate twice the throughput on the pool b."""
    factor = 2.0 if run.pool == "b" else 1.0
    return play_landscape(lambda gpus, batch: factor * gpus * batch**0.5)(run, spec, now)


CHANGES: dict[str, dict[str, object]] = {
    "every kind of cell": {},
    "a budget that ends early": {"budget": Budget(max_trials=5)},
    "extra parameters": {"space": EXTRA, "play": by_pool},
    "a constraint": {"objective": Objective(constraints=(Constraint(metric="throughputPerGPU", maximum=5000.0),))},
    "a metric of unknown value": {"objective": Objective(metric="tokensPerJoule", power_metric="power")},
    "a baseline outside the space": {"baseline": make_cell(4, 24), "space": SMALL, "play": by_pool},
    "two pools": {"pools": (make_pool(name="a"), make_pool(name="b", device_count=4)), "space": SMALL, "play": by_pool},
    "shared loads": {"space": SMALL, "algorithm": Algorithm(name="grid", trials_per_run=3)},
}


def status_of(snapshot: Snapshot) -> StudyStatus:
    """Return the status at an instant as a client reads it."""
    status = to_status(snapshot.study, snapshot.decision, snapshot.now)
    return StudyStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))


def from_status(status: StudyStatus, study: Study | None, pool: str) -> Landscape | None:
    """Return the landscape that a client builds."""
    row = next(row for row in status.pools if row.name == pool)
    return to_landscape(status, row, study)


def from_history(snapshot: Snapshot, pool: Pool) -> Landscape | None:
    """Return the landscape that the trials themselves give, without going through a status."""
    history, study = snapshot.decision.history, snapshot.study
    newest = current_round(history, pool.name)
    if newest is None:
        return None
    trials = trials_of(history, pool.name, newest.number)
    excluded = ruled_out(study, pool, trials, known_model_facts(history))
    best = objective.best(study, pool, in_scope(study, trials, baseline_of(study, newest)))
    tried = {trial.configuration: cell_of(study, trial, is_best=trial == best) for trial in trials}
    untried = [open_cell(cell, excluded.get(cell)) for cell in cells(study.space) if cell not in tried]
    return arrange((*untried, *tried.values()), collapsed_extra=collapsed(study.space))


def cell_of(study: Study, trial: Trial, *, is_best: bool) -> LandscapeCell:
    """Return what a trial shows in its cell."""
    result = trial.result if isinstance(trial.result, Measured) else None
    gpus, wanted = trial.configuration.gpu_count, study.objective
    return LandscapeCell(
        gpu_count=gpus,
        batch_size=trial.configuration.batch_size,
        state=CellState(trial.state.value),
        throughput_tokens_per_second=result.throughput_tokens_per_second if result else None,
        spread_ratio=result.spread_ratio if result else None,
        reason=trial.reason,
        detail=trial.detail,
        violations=violations(study, result, gpus, trial.extra_metrics) if result else (),
        missing=missing_metrics(wanted, trial.extra_metrics) if result else (),
        extra=trial.configuration.extra,
        is_best=is_best,
    )


def comparable(cell: LandscapeCell) -> tuple[object, ...]:
    """Return what must be equal: everything except digits beyond the sixth and the end of long texts."""
    number = cell.throughput_tokens_per_second
    return (
        cell.gpu_count,
        cell.batch_size,
        cell.state,
        None if number is None else float(f"{number:.6g}"),
        cell.reason,
        cell.detail[:40],
        tuple(text[:40] for text in cell.violations),
        cell.missing,
        tuple(scalar_text(value) for _, value in cell.extra),
        cell.is_best,
    )


@pytest.mark.parametrize("name", CHANGES)
def test_a_status_gives_the_same_picture_as_its_history(name: str) -> None:
    """At every instant of a study, state, number, reason and best agree in every cell."""
    changes = dict(CHANGES[name])
    for snapshot in snapshots(changes.pop("play", breaking), **changes)[::7]:
        status = status_of(snapshot)
        for pool in snapshot.study.pools:
            expected = from_history(snapshot, pool)
            found = from_status(status, snapshot.study, pool.name)
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                assert (found.gpu_counts, found.batch_sizes) == (expected.gpu_counts, expected.batch_sizes)
                assert found.collapsed_extra == expected.collapsed_extra
                pairs = zip(found.rows, expected.rows, strict=True)
                for ours, theirs in ((ours, theirs) for pair in pairs for ours, theirs in zip(*pair, strict=True)):
                    assert comparable(ours) == comparable(theirs)


def test_without_a_spec_the_rows_alone_are_the_picture() -> None:
    """A spec that cannot be read hides only cells that were not tried."""
    end = snapshots(space=SMALL, play=by_pool)[-1]
    status = status_of(end)
    found = from_status(status, None, "a100")
    assert found is not None
    assert found.best is not None
    assert sum(cell.state is CellState.MEASURED for row in found.rows for cell in row) == len(status.trials)


def test_rows_of_older_rounds_are_left_out() -> None:
    """Only the newest round of a pool is drawn."""
    status = status_of(snapshots(space=SMALL, play=by_pool)[-1])
    old = [row.model_copy(update={"gpu_count": 64}) for row in status.trials]
    newer = [row.model_copy(update={"round": 2}) for row in status.trials]
    pools = [row.model_copy(update={"round": 2}) for row in status.pools]
    status = status.model_copy(update={"trials": [*old, *newer], "pools": pools})
    found = from_status(status, None, "a100")
    assert found is not None
    assert found.gpu_counts == (1, 4, 8)


def test_a_state_of_a_newer_version_is_neither_a_number_nor_a_crash() -> None:
    """An older command that reads a newer status reports the cell as not comparable."""
    status = status_of(snapshots(space=SMALL, play=by_pool)[-1])
    strange = [row.model_copy(update={"state": "Rumoured", "throughput": None}) for row in status.trials]
    found = from_status(status.model_copy(update={"trials": strange}), None, "a100")
    assert found is not None
    assert {cell.state for row in found.rows for cell in row} == {CellState.INVALID}


def test_places_without_a_cell_are_outside() -> None:
    """Rows and columns are complete: positions outside the space are marked as such."""
    cell = LandscapeCell(gpu_count=1, batch_size=8, state=CellState.UNTRIED)
    picture = arrange((cell, replace(cell, gpu_count=4, batch_size=2)))
    states = [[each.state for each in row] for row in picture.rows]
    assert states == [[CellState.OUTSIDE, CellState.UNTRIED], [CellState.UNTRIED, CellState.OUTSIDE]]


@pytest.mark.parametrize("value", [True, False, 8, 0.5, "eager"])
def test_a_value_is_written_as_it_is_read(value: str | float | bool) -> None:  # noqa: FBT001 - a value like the others
    """An argument's text in a row means the same in a study."""
    assert parse_scalar(scalar_text(value)) == value
