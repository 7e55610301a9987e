"""Quantiles of Student's t distribution."""

import pytest
from scipy import stats

from infpop_runner.measure.student import t_quantile


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 8, 15, 30, 100, 1999])
@pytest.mark.parametrize("outside", [0.9, 0.05, 0.025, 0.0017, 1e-6])
def test_quantiles_are_those_of_scipy(degrees: int, outside: float) -> None:
    """The runner, which has no scipy, computes the same numbers."""
    assert t_quantile(degrees=degrees, outside=outside) == pytest.approx(stats.t.isf(outside / 2, degrees), rel=1e-7)


@pytest.mark.parametrize(("degrees", "outside"), [(0, 0.05), (3, 0.0), (3, 1.0)])
def test_what_has_no_quantile_is_refused(degrees: int, outside: float) -> None:
    """Numbers outside the distribution are an error that names both."""
    with pytest.raises(ValueError, match=f"got {degrees} and {outside}"):
        t_quantile(degrees=degrees, outside=outside)
