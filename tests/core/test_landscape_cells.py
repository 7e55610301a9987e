"""One cell of the landscape of a round: each of its fields, and which configuration it shows."""

from dataclasses import replace
from itertools import pairwise

import pytest

from factories.landscapes import landscape
from factories.studies import make_cell, make_measured, make_pool, make_study, make_trial, make_trials
from infpop_operator.core.landscape import (
    CellState,
    Landscape,
    LandscapeCell,
    arrange,
    collapsed,
    open_cell,
)
from infpop_operator.core.model import Missing, Trial, TrialState
from infpop_operator.core.space import RuledOut
from infpop_operator.core.study import Constraint, ExtraParameter, Objective, SearchSpace, Study
from infpop_runner.contract import EngineSpec, ModelFacts

MODES = ExtraParameter(name="mode", values=("slow", "fast"))
SPACE = SearchSpace(gpu_counts=(1, 2), batch_sizes=(8, 16), extra=(MODES,))
BOUND = Constraint(metric="spread", maximum=0.1)
STUDY = make_study(space=SPACE, objective=Objective(metric="queue", goal="Maximize", constraints=(BOUND,)))
PLACE = make_cell(2, 8, mode="fast")


def shown(*trials: Trial, study: Study = STUDY) -> LandscapeCell:
    """Return what the landscape shows at two GPUs and a batch size of eight."""
    picture = landscape(study, make_pool(), trials, None)
    return picture.rows[picture.batch_sizes.index(8)][picture.gpu_counts.index(2)]


def make_shown(**changes: object) -> LandscapeCell:
    """Return a measured cell at that position."""
    cell = LandscapeCell(gpu_count=2, batch_size=8, state=CellState.MEASURED, throughput_tokens_per_second=100.0)
    return replace(cell, **changes)


def test_a_measured_cell_has_every_field_of_its_trial() -> None:
    """Numbers, broken bounds, missing metrics and extra parameters are the trial's own."""
    result = make_measured(100.0, spread_ratio=0.25)
    trial = replace(make_trial(PLACE, result), extra_metrics={"queue": Missing(reason="Stale")})
    assert shown(trial) == LandscapeCell(
        gpu_count=2,
        batch_size=8,
        state=CellState.MEASURED,
        throughput_tokens_per_second=100.0,
        spread_ratio=0.25,
        violations=("spread 0.25 > 0.1; queue missing: Stale",),
        extra=(("mode", "fast"),),
        variants=2,
        open_variants=1,
    )


@pytest.mark.parametrize("state", [TrialState.INFEASIBLE, TrialState.INVALID, TrialState.BROKEN, TrialState.RUNNING])
def test_a_cell_without_a_number_has_a_reason(state: TrialState) -> None:
    """Reason and detail are the trial's; the cell has no bounds and no metrics."""
    outcome = replace(make_trial(PLACE, TrialState.BROKEN), state=state, reason="Why", detail="because")
    only = replace(SPACE, extra=(replace(MODES, values=("fast",)),))
    cell = shown(outcome, study=replace(STUDY, space=only))
    assert (cell.state, cell.reason, cell.detail) == (CellState(state.value), "Why", "because")
    assert cell.extra == (("mode", "fast"),)
    assert (cell.throughput_tokens_per_second, cell.spread_ratio, cell.violations, cell.missing) == (None, None, (), ())


def test_an_open_cell_says_whether_it_is_ruled_out() -> None:
    """The cell has the reason, its message and its extra parameters."""
    assert open_cell(PLACE, None) == LandscapeCell(
        gpu_count=2, batch_size=8, state=CellState.UNTRIED, extra=(("mode", "fast"),)
    )
    assert open_cell(PLACE, RuledOut(reason="GpuOutOfMemory", detail="why")) == LandscapeCell(
        gpu_count=2,
        batch_size=8,
        state=CellState.RULED_OUT,
        reason="GpuOutOfMemory",
        detail="why",
        extra=(("mode", "fast"),),
    )


# The configuration that is shown comes before those that it hides.
RANKED = (
    make_shown(state=CellState.BROKEN, throughput_tokens_per_second=None, is_best=True),
    make_shown(throughput_tokens_per_second=50.0),
    make_shown(throughput_tokens_per_second=40.0),
    make_shown(throughput_tokens_per_second=90.0, violations=("spread 1 > 0.1",)),
    make_shown(throughput_tokens_per_second=80.0, missing=("queue missing: Stale",)),
    make_shown(state=CellState.RUNNING, throughput_tokens_per_second=None),
    make_shown(state=CellState.UNTRIED, throughput_tokens_per_second=None),
    make_shown(state=CellState.INVALID, throughput_tokens_per_second=None),
    make_shown(state=CellState.BROKEN, throughput_tokens_per_second=None),
    make_shown(state=CellState.INFEASIBLE, throughput_tokens_per_second=None),
    make_shown(state=CellState.RULED_OUT, throughput_tokens_per_second=None),
)


@pytest.mark.parametrize(("first", "second"), list(pairwise(RANKED)))
def test_of_several_configurations_the_one_with_the_most_to_say_is_shown(
    first: LandscapeCell, second: LandscapeCell
) -> None:
    """The best comes first, then comparable numbers from the highest down, then running trials, then failures."""
    still_open = sum(
        cell.state in {CellState.RUNNING, CellState.UNTRIED, CellState.RULED_OUT} for cell in (first, second)
    )
    for cells in ((first, second), (second, first)):
        assert arrange(cells).rows == ((replace(first, variants=2, open_variants=still_open),),)


def test_cells_are_sorted_by_row_and_column() -> None:
    """A position without a cell is marked as outside the space."""
    cells = [replace(make_shown(), gpu_count=gpus, batch_size=batch) for gpus, batch in ((4, 8), (1, 32), (4, 16))]
    picture = arrange(cells, collapsed_extra=("mode",))
    assert (picture.gpu_counts, picture.batch_sizes, picture.collapsed_extra) == ((1, 4), (8, 16, 32), ("mode",))
    outside = [cell for row in picture.rows for cell in row if cell.state is CellState.OUTSIDE]
    assert [(cell.gpu_count, cell.batch_size) for cell in outside] == [(1, 8), (1, 16), (4, 32)]
    assert picture.rows[0][1] == cells[0]
    assert arrange(()) == Landscape(gpu_counts=(), batch_sizes=(), rows=())


def test_a_parameter_with_a_choice_is_collapsed() -> None:
    """Parameters with one value hide nothing; the others are listed by name."""
    parameters = [
        ExtraParameter(name=name, values=values) for name, values in (("b", (1, 2)), ("c", (1,)), ("a", (1, 2)))
    ]
    assert collapsed(replace(SPACE, extra=tuple(parameters))) == ("a", "b")


def test_the_best_cell_is_the_one_that_is_marked() -> None:
    """The best is marked wherever it lies; without a best no cell is marked."""
    best = replace(make_shown(is_best=True), gpu_count=4, batch_size=16)
    assert arrange([make_shown(), best, replace(make_shown(), batch_size=16)]).best == best
    assert arrange([make_shown()]).best is None


def test_only_a_baseline_can_be_the_best_outside_the_space() -> None:
    """A number of a configuration that left the space is shown and not marked."""
    study = make_study(space=replace(SPACE, extra=()))
    trials = make_trials([(make_cell(4, 64), 900.0), (make_cell(1, 8), 100.0)])
    alone = landscape(study, make_pool(), trials, None)
    assert alone.best is not None
    assert (alone.best.gpu_count, alone.gpu_counts) == (1, (1, 2, 4))
    compared = landscape(study, make_pool(), trials, None, baseline=make_cell(4, 64))
    assert compared.best is not None
    assert compared.best.gpu_count == 4
    assert sum(cell.is_best for row in compared.rows for cell in row) == 1


def test_what_a_run_said_of_the_model_is_seen() -> None:
    """A cell that the model's shape forbids is ruled out, for the pool of the landscape."""
    study = make_study(space=replace(SPACE, extra=()), engine=EngineSpec(name="vllm"))
    states = [
        [cell.state for cell in landscape(study, pool, (), facts).rows[0]]
        for pool, facts in (
            (make_pool(), ModelFacts(attention_heads=3)),
            (make_pool(device_count=1), None),
            (make_pool(), None),
        )
    ]
    untried, ruled_out = CellState.UNTRIED, CellState.RULED_OUT
    assert states == [[untried, ruled_out], [untried, ruled_out], [untried, untried]]


def test_every_state_of_a_trial_is_one_of_a_cell() -> None:
    """A new trial state needs a cell state here."""
    without_trial = {CellState.RULED_OUT, CellState.UNTRIED, CellState.OUTSIDE}
    assert {state.value for state in TrialState} == {state.value for state in set(CellState) - without_trial}
