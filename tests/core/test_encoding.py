"""The search space as Hyperopt receives it, position by position, and the order of the grid search."""

from dataclasses import replace

import pytest

from factories.studies import make_cell
from infpop_operator.core.search import SearchRequest, SearchTrial, grid
from infpop_operator.core.search.encoding import Axis, axes, decode, encode
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, ExtraParameter, SearchSpace

MODES = ExtraParameter(name="mode", values=("slow", "fast"))
SIZES = ExtraParameter(name="batchSize", values=(0.5, 2, 8))
FIXED = ExtraParameter(name="fixed", values=(7,))
SPACE = SearchSpace(gpu_counts=(1, 4), batch_sizes=(8, 16, 32), extra=(SIZES, MODES, FIXED))
CELL = make_cell(4, 16, mode="fast", batchSize=8, fixed=7)


def test_each_dimension_with_a_choice_is_an_axis() -> None:
    """Numbers are ordinal; an argument named like one of InfPop's own dimensions is kept apart from it."""
    assert axes(SPACE) == (
        Axis(label="gpuCount", values=(1, 4), ordinal=True),
        Axis(label="batchSize", values=(8, 16, 32), ordinal=True),
        Axis(label="extra.batchSize", values=(0.5, 2, 8), ordinal=True),
        Axis(label="extra.mode", values=("slow", "fast"), ordinal=False),
    )
    assert axes(SearchSpace(gpu_counts=(1,), batch_sizes=(8,), extra=(FIXED,))) == ()


@pytest.mark.parametrize(
    ("values", "ordinal"),
    [((1, 2), True), ((1, 2.5), True), ((True, False), False), ((1, True), False), ((1, "a"), False)],
)
def test_only_numbers_alone_have_neighbours(values: tuple[object, ...], *, ordinal: bool) -> None:
    """One word or boolean among the values makes the whole dimension categorical."""
    space = replace(SPACE, extra=(ExtraParameter(name="a", values=values),))
    assert axes(space)[-1] == Axis(label="extra.a", values=values, ordinal=ordinal)


def test_a_configuration_is_known_by_its_positions() -> None:
    """Encoding and decoding agree; a dimension with one value has no position."""
    positions = {"gpuCount": 1, "batchSize": 1, "extra.batchSize": 2, "extra.mode": 1}
    assert encode(SPACE, CELL) == positions
    assert decode(SPACE, positions) == CELL
    assert decode(SPACE, {}) == make_cell(1, 8, mode="slow", batchSize=0.5, fixed=7)


@pytest.mark.parametrize(
    "cell",
    [
        make_cell(2, 16, mode="fast", batchSize=8, fixed=7),
        make_cell(4, 64, mode="fast", batchSize=8, fixed=7),
        make_cell(4, 16, mode="other", batchSize=8, fixed=7),
        make_cell(4, 16, mode="fast", batchSize=8, fixed=8),
        make_cell(4, 16, mode="fast", batchSize=8),
        make_cell(4, 16, mode="fast", batchSize=8, fixed=7, more=1),
    ],
)
def test_a_configuration_outside_the_space_has_no_positions(cell: Configuration) -> None:
    """This covers another value and another set of arguments."""
    assert encode(SPACE, cell) is None


def ask(*pending: Configuration, state: str = "pending", opened: tuple[Configuration, ...] | None = None) -> object:
    """Return what the grid search proposes while these cells are pending."""
    records = tuple(
        SearchTrial(configuration=cell, state=state, loss=1.0 if state == "measured" else None) for cell in pending
    )
    left = tuple(cell for cell in cells(SPACE) if cell not in pending) if opened is None else opened
    question = SearchRequest(space=SPACE, trials=records, open_cells=left, index=0, seed=0, algorithm="grid")
    return grid.propose(question)


def test_the_grid_takes_one_load_after_another() -> None:
    """Most GPUs first, then the arguments in the order of the study, then ascending batch sizes."""
    left, order = list(cells(SPACE)), []
    while left:
        order.append(ask(opened=tuple(reversed(left))))
        left.remove(order[-1])
    assert order == [
        make_cell(gpus, batch, batchSize=size, mode=mode, fixed=7)
        for gpus in (4, 1)
        for size in (0.5, 2, 8)
        for mode in ("slow", "fast")
        for batch in (8, 16, 32)
    ]
    assert ask(opened=()) is None


@pytest.mark.parametrize(("state", "busy"), [("pending", True), ("measured", False), ("failed", False)])
def test_the_grid_passes_a_load_over_only_while_it_is_pending(state: str, *, busy: bool) -> None:
    """Other arguments mean another engine load; where every load is pending, the first one continues."""
    first = make_cell(4, 8, batchSize=0.5, mode="slow", fixed=7)
    expected = replace(first, extra=make_cell(4, 8, batchSize=0.5, mode="fast", fixed=7).extra)
    assert ask(first, state=state) == (expected if busy else replace(first, batch_size=16))
    only = tuple(replace(first, batch_size=batch) for batch in (32, 16))
    assert ask(first, state=state, opened=only) == only[1]
