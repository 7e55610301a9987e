"""A grid has one number for each configuration, and its error where that is known."""

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
