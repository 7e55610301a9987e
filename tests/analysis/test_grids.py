"""A grid has one number for each configuration, and its error where that is known."""

from itertools import permutations

import pytest

from analysis.made_rows import make_row
from infpop_operator.analysis.grids import arrange_grids


def test_the_error_of_a_number_is_the_one_of_the_row_that_gave_it() -> None:
    """Of two trials of one study at a configuration, the faster one gives the number and its error."""
    slow = make_row(100.0, spread_ratio=0.5, repeats=4)
    fast = make_row(110.0, trial=1, spread_ratio=0.04, repeats=4)
    alone = arrange_grids([fast])[0].errors
    assert alone
    assert arrange_grids([slow, fast])[0].errors == alone


def test_the_median_of_several_studies_has_no_known_error() -> None:
    """The error of one study says nothing about how much the studies differ, even where it gives the median."""
    rows = [make_row(rate, study=f"study-{rate}", spread_ratio=0.04, repeats=4) for rate in (90.0, 100.0, 130.0)]
    grid = arrange_grids(rows)[0]
    assert list(grid.rates.values()) == [100.0]
    assert not grid.errors


def test_of_several_recommendations_the_confirmed_one_counts_then_the_fastest() -> None:
    """The order in which studies are read decides nothing."""
    slow, fast, confirmed = (
        make_row(rate, batch_size=batch, study=f"study-{batch}", is_best=True, confirmed_loads=loads)
        for batch, rate, loads in ((1, 100.0, None), (2, 120.0, None), (4, 110.0, 2))
    )
    for rows in permutations((slow, fast)):
        assert arrange_grids(rows)[0].recommended == (1, 2)
    for rows in permutations((slow, fast, confirmed)):
        (grid,) = arrange_grids(rows)
        assert (grid.recommended, grid.best) == ((1, 4), ((1, 4), 110.0))


@pytest.mark.parametrize(("objective", "best"), [("throughput", 900.0), ("costPerMillionTokens", 5000.0)])
def test_what_is_confirmed_for_another_metric_is_not_the_best_throughput(objective: str, best: float) -> None:
    """The cheapest configuration is confirmed as the cheapest: a faster one is still the fastest."""
    cheapest = make_row(900.0, is_best=True, confirmed_loads=2, objective=objective)
    (grid,) = arrange_grids([cheapest, make_row(5000.0, gpu_count=8, trial=1, objective=objective)])
    assert grid.recommended == (1, 1)
    assert grid.best is not None
    assert grid.best.rate == best


def test_the_best_is_the_confirmed_variant_where_another_one_was_faster_once() -> None:
    """A single measurement of other extra parameters in the same place does not replace the confirmed number."""
    confirmed = make_row(100.0, extra={"block": 16}, is_best=True, confirmed_loads=2)
    (grid,) = arrange_grids([confirmed, make_row(130.0, trial=1, extra={"block": 32})])
    assert grid.best == ((1, 1), 100.0)
