"""The landscape table of a round."""

from hypothesis import given
from hypothesis import strategies as st

from factories.landscapes import landscape
from factories.studies import SPACE, make_cell, make_measured, make_pool, make_study, make_trials
from infpop_operator.core.landscape import CellState
from infpop_operator.core.model import TrialState
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, Constraint, ExtraParameter, Objective, SearchSpace
from infpop_runner.contract import EngineSpec, ModelFacts

SMALL = SearchSpace(gpu_counts=(1, 2), batch_sizes=(1, 2, 4))


def test_each_cell_shows_what_is_known_of_it() -> None:
    """It shows numbers with spread, failure reasons, ruled-out, running and open cells, and marks the best."""
    trials = make_trials(
        [
            (make_cell(2, 1), 100.0),
            (make_cell(1, 1), 60.0),
            (make_cell(1, 2), "GpuOutOfMemory"),
            (make_cell(2, 2), TrialState.RUNNING),
        ]
    )
    picture = landscape(make_study(space=SMALL), make_pool(), trials, None)
    assert (picture.gpu_counts, picture.batch_sizes) == ((1, 2), (1, 2, 4))
    assert [[(cell.state, cell.reason) for cell in row] for row in picture.rows] == [
        [(CellState.MEASURED, None), (CellState.MEASURED, None)],
        [(CellState.INFEASIBLE, "GpuOutOfMemory"), (CellState.RUNNING, None)],
        [(CellState.RULED_OUT, "GpuOutOfMemory"), (CellState.UNTRIED, None)],
    ]
    assert picture.rows[0][0].throughput_tokens_per_second == 60.0
    assert picture.rows[0][0].spread_ratio == 0.01
    assert picture.rows[1][0].throughput_tokens_per_second is None
    assert picture.best == picture.rows[0][1]
    assert picture.collapsed_extra == ()


def test_the_picture_has_no_best_before_the_first_number() -> None:
    """Nothing is marked before the first measurement; cells that the model's shape rules out are already shown."""
    study = make_study(space=SMALL, engine=EngineSpec(name="vllm"))
    picture = landscape(study, make_pool(), (), ModelFacts(attention_heads=3))
    assert picture.best is None
    assert {cell.state for row in picture.rows for cell in row if cell.gpu_count == 2} == {CellState.RULED_OUT}
    assert {cell.state for row in picture.rows for cell in row if cell.gpu_count == 1} == {CellState.UNTRIED}


def test_a_baseline_outside_the_space_has_its_own_row() -> None:
    """The baseline was measured, so it is shown; the rest of its row is not part of the search."""
    picture = landscape(make_study(space=SMALL), make_pool(), make_trials([(make_cell(2, 3), 70.0)]), None)
    assert picture.batch_sizes == (1, 2, 3, 4)
    assert [cell.state for cell in picture.rows[2]] == [CellState.OUTSIDE, CellState.MEASURED]


def test_extra_parameters_are_collapsed_to_the_best_of_each_cell() -> None:
    """Each cell shows the best of its configurations and names it, and the table names the hidden parameters."""
    modes = (ExtraParameter(name="mode", values=("slow", "fast")), ExtraParameter(name="fixed", values=(1,)))
    study = make_study(space=SearchSpace(gpu_counts=(1,), batch_sizes=(1, 2), extra=modes))
    trials = make_trials(
        [
            (make_cell(1, 1, mode="slow", fixed=1), 10.0),
            (make_cell(1, 1, mode="fast", fixed=1), 20.0),
            (make_cell(1, 2, mode="fast", fixed=1), "GpuOutOfMemory"),
        ]
    )
    picture = landscape(study, make_pool(), trials, None)
    assert picture.collapsed_extra == ("mode",)
    assert picture.rows[0][0].throughput_tokens_per_second == 20.0
    assert dict(picture.rows[0][0].extra)["mode"] == "fast"
    assert picture.rows[1][0].state is CellState.UNTRIED


def test_a_cell_that_breaks_a_constraint_says_so() -> None:
    """The cell shows the number and the broken constraint, and another cell is the best."""
    study = make_study(
        space=SMALL, objective=Objective(constraints=(Constraint(metric="batchSecondsP95", maximum=1.0),))
    )
    slow = make_measured(500.0, batch_seconds_p95=3.0)
    picture = landscape(study, make_pool(), make_trials([(make_cell(1, 4), slow), (make_cell(1, 1), 5.0)]), None)
    assert picture.rows[2][0].violations == ("batchSecondsP95 3 > 1",)
    assert picture.best is not None
    assert picture.best.batch_size == 1


def test_of_collapsed_configurations_one_that_keeps_to_the_constraints_is_shown() -> None:
    """If the faster of two breaks a constraint, the cell shows the other, even when the best lies elsewhere."""
    modes = (ExtraParameter(name="mode", values=("slow", "fast")),)
    study = make_study(
        space=SearchSpace(gpu_counts=(1,), batch_sizes=(1, 2), extra=modes),
        objective=Objective(constraints=(Constraint(metric="batchSecondsP95", maximum=1.0),)),
    )
    trials = make_trials(
        [
            (make_cell(1, 1, mode="fast"), make_measured(90.0, batch_seconds_p95=3.0)),
            (make_cell(1, 1, mode="slow"), 10.0),
            (make_cell(1, 2, mode="slow"), 50.0),
        ]
    )
    picture = landscape(study, make_pool(), trials, None)
    assert picture.rows[0][0].throughput_tokens_per_second == 10.0
    assert picture.best == picture.rows[1][0]


@given(st.lists(st.tuples(st.sampled_from(cells(SPACE)), st.floats(1, 1e6)), unique_by=lambda entry: entry[0]))
def test_the_picture_is_a_full_grid_with_at_most_one_best(entries: list[tuple[Configuration, float]]) -> None:
    """Every position has a cell with its own coordinates, every number appears once, and at most one cell is marked."""
    picture = landscape(make_study(), make_pool(), make_trials(entries), None)
    for batch, row in zip(picture.batch_sizes, picture.rows, strict=True):
        for gpus, cell in zip(picture.gpu_counts, row, strict=True):
            assert (cell.gpu_count, cell.batch_size) == (gpus, batch)
    shown = [cell for row in picture.rows for cell in row]
    assert sum(cell.state is CellState.MEASURED for cell in shown) == len(entries)
    assert sum(cell.is_best for cell in shown) == (1 if entries else 0)
